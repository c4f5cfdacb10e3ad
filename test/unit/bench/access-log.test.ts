import assert from 'node:assert/strict';
import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AccessLog, kindOfRequest, noRequests, type RequestKind } from '../../../bench/access-log.js';

const line = (request: string) => `127.0.0.1 - - [05/Jan/2026:10:00:00 +0000] "${request} HTTP/1.1" 200 -`;

test('each request is counted as what it asks of the service', () => {
  const cases: [string, RequestKind][] = [
    ["GET /devstoreaccount1/UnderstudyState(PartitionKey='v-1',RowKey='item!2')?$format=x", 'table get'],
    ['GET /devstoreaccount1/UnderstudyState()?$filter=PartitionKey%20eq%20%27v%27', 'table query'],
    ['POST /devstoreaccount1/$batch', 'table write'],
    ['POST /devstoreaccount1/UnderstudyInstances', 'table write'],
    ["PUT /devstoreaccount1/UnderstudyInstances(PartitionKey='a',RowKey='s')", 'table write'],
    ['PUT /replicas/understudy-replicas/6a1f/d15c.vhd?comp=page', 'blob write'],
    ['HEAD /replicas/understudy-transfer/6a1f/1/cycle/0001/d15c/x', 'blob read'],
    ['GET /replicas/understudy-transfer?restype=container&comp=list', 'blob read'],
    ['PUT /devstoreaccount1/azure-webjobs-hosts/locks/understudy/devhost-writer?comp=lease', 'blob write'],
  ];
  for (const [request, kind] of cases) assert.equal(kindOfRequest(line(request)), kind, request);
  assert.equal(kindOfRequest('Azurite Blob service is starting at http://127.0.0.1:10000'), undefined);
});

test('a look counts what came since the last one, and a line that is half written with the next', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-log-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'azurite.log');
  const write = line('POST /devstoreaccount1/$batch');
  await appendFile(file, `${write}\n${write}\n${write.slice(0, 60)}`);
  const log = new AccessLog(file);
  assert.deepEqual(await log.take(), { ...noRequests(), 'table write': 2 });
  await appendFile(file, `${write.slice(60)}\n`);
  assert.deepEqual(await log.take(), { ...noRequests(), 'table write': 1 });
  assert.deepEqual(await log.take(), noRequests());
});
