import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { socketsMax } from '../../../providers/azure-storage/connections.js';
import { openReplicaStore } from '../../../providers/azure-storage/replica-store.js';
import { openTransferStore } from '../../../providers/azure-storage/transfer-store.js';
import { uploadBlocks } from '../../../providers/azure-storage/upload.js';
import { startAzurite, type Azurite } from '../../support/azurite.js';
import { replicaStoreConformance } from '../../support/conformance/replica-store.js';
import { transferStoreConformance } from '../../support/conformance/transfer-store.js';
import { inPieces } from '../../support/in-pieces.js';
import { startLossyProxy } from '../../support/lossy-proxy.js';
import { InMemoryCloudInventory } from '../../support/in-memory/cloud-inventory.js';

let azurite: Azurite;
let inventory: InMemoryCloudInventory;
let storageAccountId: string;
before(async () => {
  azurite = await startAzurite();
  inventory = InMemoryCloudInventory.ofAzurite(azurite);
  storageAccountId = (await inventory.storageAccounts())[0]?.armId ?? '';
});
after(() => azurite.stop());

replicaStoreConformance('page blobs', async () => ({ store: await openReplicaStore({ inventory }), storageAccountId }));

// Azurite's copies alias their snapshot; all else about them is as in Azure.
replicaStoreConformance('page blobs copied on the store’s side', async () => ({
  store: await openReplicaStore({ inventory, copiesFromSnapshotsAreIndependent: true }),
  storageAccountId,
}));

transferStoreConformance('block blobs', async () => {
  const store = openTransferStore({ inventory });
  const put = async (blobName: string, data: Buffer) => {
    const url = async () => (await store.grantUpload(storageAccountId, blobName, 60)).url;
    return uploadBlocks({
      url: await url(),
      renew: url,
      chunks: inPieces(data),
      blockBytes: 256 * 1024,
      concurrency: 3,
    });
  };
  return { store, storageAccountId, put };
});

test('the emulator is recognised: its copies are not taken for independent ones', async () => {
  const store = await openReplicaStore({ inventory });
  assert.equal(store.capabilities.copiesFromSnapshotsAreIndependent, false);
  const account = (await inventory.storageAccounts())[0];
  assert(account);
  const azure = new InMemoryCloudInventory([{ ...account, blobEndpoint: 'https://replicas.blob.core.windows.net' }]);
  assert.equal((await openReplicaStore({ inventory: azure })).capabilities.copiesFromSnapshotsAreIndependent, true);
});

test('a read grant reads its snapshot, and neither the disk of today nor another snapshot', async () => {
  const store = await openReplicaStore({ inventory });
  const blob = { storageAccountId, container: 'understudy-replicas', blobName: `grants/${randomUUID()}.vhd` };
  const fence = { epoch: 1, cycle: 1 };
  await store.createDisk(blob, 4096);
  await store.raiseFence(blob, fence);
  const snapshotOf = async (fill: number): Promise<string> => {
    await store.writePages(blob, 0, Buffer.alloc(4096, fill), fence);
    const ifMatch = (await store.properties(blob))?.etag ?? '';
    return (await store.createSnapshot(blob, { ifMatch, fence })).snapshotId;
  };
  const first = await snapshotOf(1);
  // Snapshots are told apart by their time.
  await new Promise((resolve) => setTimeout(resolve, 5));
  const second = await snapshotOf(2);
  const grant = await store.grantRead(blob, first, 60);
  const answer = await fetch(grant.url);
  assert.equal(answer.status, 200);
  assert(Buffer.from(await answer.arrayBuffer()).equals(Buffer.alloc(4096, 1)));
  assert(Date.parse(grant.expiresAt) <= Date.now() + 60_000);

  const withoutSnapshot = new URL(grant.url);
  withoutSnapshot.searchParams.delete('snapshot');
  assert.equal((await fetch(withoutSnapshot)).status, 403);
  const write = await fetch(grant.url, { method: 'PUT', body: 'x', headers: { 'x-ms-blob-type': 'BlockBlob' } });
  assert(write.status >= 400);
  const other = new URL(grant.url);
  other.searchParams.set('snapshot', second);
  // Azurite does not sign the snapshot's time; Azure does, and answers 403.
  assert([200, 403].includes((await fetch(other)).status));
});

test('many calls at once share a bounded number of connections, and the next calls reuse them', async () => {
  const [account] = await inventory.storageAccounts();
  assert(account);
  const proxy = await startLossyProxy(azurite.ports.blob, () => 'forward');
  try {
    const proxied = new InMemoryCloudInventory([{ ...account, blobEndpoint: proxy.through(account.blobEndpoint) }]);
    const store = openTransferStore({ inventory: proxied });
    const { url } = await store.grantUpload(storageAccountId, 'connections/log', 60);
    await fetch(url, { method: 'PUT', headers: { 'x-ms-blob-type': 'BlockBlob' }, body: 'x' });
    const round = (count: number) =>
      Promise.all(Array.from({ length: count }, () => store.stat(storageAccountId, 'connections/log')));
    await round(100);
    // The proxy may not have noticed yet that a connection was closed whose place another took; a hundred would be no bound.
    const peakMax = socketsMax + 8;
    assert(proxy.connections.peak > 1 && proxy.connections.peak <= peakMax, `${proxy.connections.peak} at once`);
    const { opened } = proxy.connections;
    for (let index = 0; index < 10; index++) await round(1);
    assert.equal(proxy.connections.opened, opened);
  } finally {
    await proxy.stop();
  }
});
