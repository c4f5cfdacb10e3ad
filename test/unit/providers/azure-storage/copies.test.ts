import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { ReplicaStore } from '../../../../core/ports/replica-store.js';
import { openReplicaStore } from '../../../../providers/azure-storage/replica-store.js';
import { InMemoryCloudInventory } from '../../../support/in-memory/cloud-inventory.js';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const answer =
  (statusCode: number, headers: Record<string, string> = {}): Answer =>
  (_request, response) =>
    response.writeHead(statusCode, headers).end();
const refused = (statusCode: number, code: string) => answer(statusCode, { 'x-ms-error-code': code });
const page = (copyStatus: string, description = '') =>
  answer(200, {
    'x-ms-copy-status': copyStatus,
    'x-ms-copy-status-description': description,
    'x-ms-copy-id': 'copy-1',
    'x-ms-blob-type': 'PageBlob',
  });

/** A store on a blob service that gives these answers, in this order; the local emulator makes no such copies. */
async function withService(
  answers: Record<string, Answer>[],
  work: (store: ReplicaStore, to: { storageAccountId: string; container: string; blobName: string }) => Promise<void>,
): Promise<string[]> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    const comp = /[?&]comp=([a-z]+)/.exec(request.url ?? '')?.[1];
    const isContainer = (request.url ?? '').includes('restype=container');
    const asked = `${request.method}${comp === undefined ? '' : ` ${comp}`}`;
    if (isContainer) return void answer(201)(request, response);
    const copied = request.headers['x-ms-copy-source'];
    seen.push(typeof copied === 'string' ? `${asked} from ${copied}` : asked);
    const next = answers.shift()?.[asked];
    if (next) next(request, response);
    else response.writeHead(500).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const account = {
      armId: 'account',
      name: 'account',
      kind: 'standard' as const,
      blobEndpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/account`,
      credential: { kind: 'sharedKey' as const, accountName: 'account', accountKey: 'a2V5' },
    };
    const store = await openReplicaStore({
      inventory: new InMemoryCloudInventory([account]),
      copiesFromSnapshotsAreIndependent: true,
    });
    await work(store, { storageAccountId: 'account', container: 'understudy-replicas', blobName: 'export.vhd' });
  } finally {
    server.closeAllConnections();
    server.close();
  }
  assert.deepEqual(answers, []);
  return seen;
}

const url = 'https://md-1.blob.storage.azure.net/x/abcd?sig=secret';

test('a copy from a URL is started once, looked in on, and where it failed it says so and is begun anew', async () => {
  let asked = 0;
  const grantSource = async () => {
    asked++;
    return url;
  };
  const absent = refused(404, 'BlobNotFound');
  const started = answer(202, { 'x-ms-copy-status': 'pending', 'x-ms-copy-id': 'copy-1' });
  const begun = [{ HEAD: absent }, { PUT: started }, { HEAD: page('pending') }];
  const seen = await withService(
    [
      ...begun,
      { HEAD: page('pending') },
      ...[{ HEAD: page('failed', '403 Forbidden') }, { DELETE: answer(202) }],
      ...[{ HEAD: absent }, { PUT: started }, { HEAD: page('pending') }],
      { HEAD: page('success') },
    ],
    async (store, to) => {
      const copy = () => store.copyFromUrl(grantSource, to);
      assert.deepEqual([await copy(), await copy()], [{ finished: false }, { finished: false }]);
      await assert.rejects(copy(), { code: 'US6027', retry: 'later', message: /403 Forbidden/ });
      assert.deepEqual([await copy(), await copy()], [{ finished: false }, { finished: true }]);
    },
  );
  assert.equal(asked, 2);
  assert.equal(seen.filter((call) => call === `PUT from ${url}`).length, 2);
});

test('a blob is deleted also while it is copied to', async () => {
  const pending = refused(409, 'PendingCopyOperation');
  const seen = await withService(
    [
      ...[{ DELETE: pending }, { HEAD: page('pending') }, { 'PUT copy': answer(204) }, { DELETE: answer(202) }],
      ...[{ DELETE: pending }, { HEAD: page('success') }],
      ...[{ 'PUT copy': refused(409, 'NoPendingCopyOperation') }, { DELETE: answer(202) }],
    ],
    async (store, to) => {
      await store.deleteDisk(to);
      await store.deleteDisk(to);
    },
  );
  assert.deepEqual(seen.slice(0, 4), ['DELETE', 'HEAD', 'PUT copy', 'DELETE']);
});
