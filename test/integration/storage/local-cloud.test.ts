import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { CloudInventory } from '../../../core/ports/cloud-inventory.js';
import { openReplicaStore } from '../../../providers/azure-storage/replica-store.js';
import { openTableStateTable } from '../../../providers/azure-storage/state-table.js';
import { openTransferStore } from '../../../providers/azure-storage/transfer-store.js';
import { openLocalAzure, seedLocalAzure } from '../../../providers/local-azure/local-azure.js';
import { openLocalCompute } from '../../../providers/local-compute/local-compute.js';
import { azuriteAccount, azuriteKey, startAzurite, type Azurite } from '../../support/azurite.js';

const group = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers';
const accounts = ['replicas', 'premium'].map((name) => ({ name, key: randomBytes(64).toString('base64') }));
let azurite: Azurite;
let folder: string;
let inventory: CloudInventory;

before(async () => {
  const all = [{ name: azuriteAccount, key: azuriteKey }, ...accounts];
  process.env.AZURITE_ACCOUNTS = all.map(({ name, key }) => `${name}:${key}`).join(';');
  azurite = await startAzurite();
  delete process.env.AZURITE_ACCOUNTS;
  folder = await mkdtemp(join(tmpdir(), 'understudy-local-cloud-'));
  const path = join(folder, 'azure.json');
  await seedLocalAzure(path, { blobEndpointBase: `http://127.0.0.1:${azurite.ports.blob}`, accounts });
  inventory = openLocalAzure(path);
});
after(async () => {
  await azurite.stop();
  await rm(folder, { recursive: true, force: true });
});

test('the seeded accounts hold replicas and transfer logs, each its own', async () => {
  const replicas = await openReplicaStore({ inventory });
  assert.equal(replicas.capabilities.copiesFromSnapshotsAreIndependent, false);
  const transfers = openTransferStore({ inventory });
  for (const { name } of accounts) {
    const storageAccountId = `${group}/Microsoft.Storage/storageAccounts/${name}`;
    const blob = { storageAccountId, container: 'understudy-replicas', blobName: 'disk' };
    assert.equal(await replicas.properties(blob), undefined);
    await replicas.createDisk(blob, 1024);
    const { url } = await transfers.grantUpload(storageAccountId, 'log', 60);
    const put = { method: 'PUT', headers: { 'x-ms-blob-type': 'BlockBlob' }, body: name };
    assert.equal((await fetch(url, put)).status, 201);
    assert.equal((await transfers.stat(storageAccountId, 'log'))?.lengthBytes, name.length);
  }
});

test('a VM comes up in the local cloud on a page blob, and goes with it', async () => {
  const replicas = await openReplicaStore({ inventory });
  const { connectionString } = azurite;
  const records = openTableStateTable({ connectionString, tableName: 'localcompute' });
  const compute = openLocalCompute({ inventory, replicas, records });
  const storageAccountId = `${group}/Microsoft.Storage/storageAccounts/replicas`;
  const blob = { storageAccountId, container: 'understudy-failover', blobName: 'web-01/os.vhd' };
  await replicas.createDisk(blob, 64 * 1024 * 1024 + 512);
  const vmArmId = `${group}/Microsoft.Compute/virtualMachines/web-01`;
  const created = await compute.createVm({
    vmArmId,
    name: 'web-01',
    size: 'Standard_D2s_v3',
    generation: 1,
    osType: 'Linux',
    networkId: `${group}/Microsoft.Network/virtualNetworks/prod`,
    nics: [{ subnetName: 'backend' }],
    disks: [{ name: 'os', lun: 0, isOsDisk: true, blob, sizeBytes: 64 * 1024 * 1024 }],
    tags: {},
  });
  assert.equal(created.nics[0]?.privateIpAddress, '10.10.1.4');
  assert.equal((await compute.startVm(vmArmId)).powerState, 'running');
  // Another process sees the same VM.
  const other = openLocalCompute({
    inventory,
    replicas,
    records: openTableStateTable({ connectionString, tableName: 'localcompute' }),
  });
  assert.equal((await other.getVm(vmArmId))?.powerState, 'running');
  await other.deleteVm(vmArmId, { deleteDisks: true });
  assert.equal(await compute.getVm(vmArmId), undefined);
  assert.equal(await replicas.properties(blob), undefined);
});
