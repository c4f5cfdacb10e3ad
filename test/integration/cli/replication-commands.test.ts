import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { Harness } from '../../support/api/harness.js';
import { ReplicatedItem } from '../../support/api/replicated-items.js';

const run = promisify(execFile);

/** The app's doors on a loopback port, over the in-memory table, and the operator's command line. */
async function open(context: TestContext) {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await ReplicatedItem.put(harness, relay);
  const server = createServer((request, response) => {
    void (async () => {
      const body = (await buffer(request)).toString('utf8');
      const answer = await harness.arm(request.method ?? 'GET', request.url ?? '/', body, {
        host: request.headers.host ?? '',
      });
      response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
      response.end(answer.body === undefined ? '' : JSON.stringify(answer.body));
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const understudy = async (...words: string[]) =>
    (await run(process.execPath, ['dist/cli/main.js', '--endpoint', endpoint, ...words])).stdout;
  return { harness, item, understudy };
}

test('an operator sees health, pauses, resumes, changes the settings, resynchronizes and reads what was told', async (context) => {
  const { harness, item, understudy } = await open(context);
  assert.match(await understudy('health', '--item', 'sql-01'), /health +Normal\n/);
  assert.match(await understudy('pause', '--item', 'SQL-01'), /SQL-01 +paused/);
  const paused = await understudy('health', '--item', 'sql-01');
  assert.match(paused, /Warning US3052 +.*Resume replication/);
  harness.now = harness.now.add({ seconds: 1 });
  assert.match(await understudy('resume', '--item', 'sql-01'), /not paused/);

  const [heading = '', newest = ''] = (await understudy('events', '--item', 'sql-01')).split('\n');
  assert.match(heading, /^TIME +VM +SEVERITY +CODE +EVENT +WHAT TO DO$/);
  assert.match(newest, /^2026-01-05 10:00:01 +sql-01 +OK +VmHealth +Virtual machine health is OK$/);
  const warnings = JSON.parse(await understudy('--json', 'events', '--severity', 'Warning')) as {
    properties: { eventCode: string; timeOfOccurrence: string };
  }[];
  assert.deepEqual(
    warnings.map(({ properties }) => properties.eventCode),
    ['VmHealth', 'US3052'],
  );

  assert.match(await understudy('settings'), /window +18:30-06:00 +of the site +2 +1800/);
  const changed = /manual +18:30-05:00 +Europe\/Berlin +2 +900/;
  const words = ['--mode', 'manual', '--window-end', '05:00', '--time-zone', 'Europe/Berlin', '--rpo-threshold', '900'];
  assert.match(await understudy('settings', ...words), changed);
  assert.match(await understudy('settings'), changed);
  assert.match(await understudy('settings', '--time-zone', 'site'), /05:00 +of the site/);
  await assert.rejects(understudy('settings', '--time-zone', 'Europe/Atlantis'), /IANA time zone/);

  const [jobName] = /[0-9a-f-]{36}/.exec(await understudy('resync', '--item', 'sql-01')) ?? [];
  assert.equal((await item.now()).replication.resync?.jobName, jobName);
  await assert.rejects(understudy('resync', '--item', 'sql-01'), /must wait: job/);
  assert.match(await understudy('items'), /sql-01 +Resynchronization in progress +Critical/);
});
