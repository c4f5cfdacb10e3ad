import assert from 'node:assert/strict';
import { test } from 'node:test';
import { usableAddresses } from '../../../providers/local-compute/addresses.js';
import { openLocalCompute } from '../../../providers/local-compute/local-compute.js';
import { cloudComputeConformance } from '../../support/conformance/cloud-compute.js';
import { InMemoryCloudInventory } from '../../support/in-memory/cloud-inventory.js';
import { InMemoryReplicaStore } from '../../support/in-memory/replica-store.js';
import { InMemoryStateTable } from '../../support/in-memory/state-table.js';

const network = {
  armId: '/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/prod',
  name: 'prod',
  subnets: [
    { name: 'frontend', addressPrefix: '10.1.0.0/28' },
    { name: 'backend', addressPrefix: '10.1.1.0/28' },
  ],
};

cloudComputeConformance('local compute', async () => {
  const replicas = new InMemoryReplicaStore();
  const inventory = new InMemoryCloudInventory([], [network]);
  const compute = openLocalCompute({ inventory, replicas, records: new InMemoryStateTable() });
  return { compute, replicas, storageAccountId: 'account', network };
});

test('the addresses of a subnet leave out those that Azure keeps', () => {
  assert.deepEqual([...usableAddresses('10.1.0.0/29')], ['10.1.0.4', '10.1.0.5', '10.1.0.6']);
  assert.deepEqual([...usableAddresses('192.168.1.255/24')].length, 251);
  assert.equal([...usableAddresses('192.168.1.7/24')][0], '192.168.1.4');
  assert.deepEqual([...usableAddresses('10.0.0.0/30')], []);
  for (const bad of ['10.1.0.0', '10.1.0/24', '10.1.0.256/24', '10.1.0.0/33', 'x']) {
    assert.throws(() => [...usableAddresses(bad)]);
  }
});
