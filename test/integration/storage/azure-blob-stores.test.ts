import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openReplicaStore } from '../../../providers/azure-storage/replica-store.js';
import { openTransferStore } from '../../../providers/azure-storage/transfer-store.js';
import { uploadBlocks } from '../../../providers/azure-storage/upload.js';
import { startAzurite, type Azurite } from '../../support/azurite.js';
import { replicaStoreConformance } from '../../support/conformance/replica-store.js';
import { transferStoreConformance } from '../../support/conformance/transfer-store.js';
import { inPieces } from '../../support/in-pieces.js';
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
    return uploadBlocks({ url, renew: url, chunks: inPieces(data), blockBytes: 256 * 1024, concurrency: 3 });
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
