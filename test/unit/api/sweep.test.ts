import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asVaultId } from '../../../core/domain/ids.js';
import { insert } from '../../../core/records/access.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import { sweep } from '../../../functions/timers/sweep.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { sampleItem, sampleProgress } from '../../support/sample-item.js';

const vaultId = asVaultId(vaultPath);
const policyBody = { properties: { providerSpecificInput: { instanceType: 'HyperVReplicaAzure' } } };

test('the sweep starts a job whose start was lost, once', async () => {
  const harness = new Harness();
  await harness.putVault();
  harness.startFails = true;
  await harness.arm('PUT', `${vaultPath}/replicationPolicies/gold`, policyBody);
  assert.equal(harness.started.length, 0);
  for (let repeat = 0; repeat < 2; repeat++) await sweep(harness.app);
  assert.equal(harness.started.length, 1);
  assert.equal(harness.started.at(0)?.orchestrator, 'runOperation');
});

test('the sweep starts what the rows of the items ask for, and one failure stops nothing else', async () => {
  const harness = new Harness();
  await harness.putVault();
  const items = [1, 2].map((number) =>
    sampleItem({
      itemId: String(number).repeat(32) as never,
      protectionId: `6a1f6a3e-0000-4000-8000-00000000000${number}` as never,
      replication: sampleProgress({ phase: 'delta' }),
    }),
  );
  await harness.table.transact(
    vaultPartition(vaultId),
    items.map((item) => insert(rows.item(vaultId, item.itemId), item)),
  );
  const ensure = harness.app.workflows.ensure.bind(harness.app.workflows);
  let calls = 0;
  harness.app.workflows.ensure = async (...parameters) => {
    if (++calls === 1) throw new Error('the engine hiccups');
    return ensure(...parameters);
  };
  await sweep(harness.app);
  assert.equal(harness.started.length, 1);
  await sweep(harness.app);
  assert.deepEqual(new Set(harness.started.map(({ orchestrator }) => orchestrator)), new Set(['replicationLoop']));
  assert.equal(harness.started.length, 2);
});
