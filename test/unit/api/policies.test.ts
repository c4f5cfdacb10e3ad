import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asVaultId } from '../../../core/domain/ids.js';
import { read } from '../../../core/records/access.js';
import { timingOf } from '../../../core/records/item-surroundings.js';
import { rows } from '../../../core/records/rows.js';
import { Harness, vaultPath } from '../../support/api/harness.js';

const vaultId = asVaultId(vaultPath);
const row = rows.policy(vaultId, 'gold');

test('a policy remembers since when its interval holds, whatever else is edited', async () => {
  const harness = new Harness();
  await harness.putVault();
  const put = async (replicationInterval: number, applicationConsistentSnapshotFrequencyInHours: number) => {
    const providerSpecificInput = {
      instanceType: 'HyperVReplicaAzure',
      replicationInterval,
      applicationConsistentSnapshotFrequencyInHours,
    };
    await harness.arm('PUT', `${vaultPath}/replicationPolicies/gold`, { properties: { providerSpecificInput } });
    const stored = await read(harness.table, row);
    assert(stored);
    return timingOf({ policy: stored.value }).intervalEditedAt;
  };
  assert.equal(await put(900, 1), undefined);
  harness.now = harness.now.add({ minutes: 10 });
  assert.equal(await put(900, 2), undefined);
  assert.equal(await put(30, 2), '2026-01-05T10:10:00Z');
  harness.now = harness.now.add({ minutes: 10 });
  assert.equal(await put(30, 1), '2026-01-05T10:10:00Z');
});
