import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asJobName } from '../../../core/domain/ids.js';
import {
  allowedOperations,
  protectionStates,
  type ProtectionOperation,
} from '../../../core/domain/protected-item/state-table.js';
import { Harness } from '../../support/api/harness.js';
import { ReplicatedItem } from '../../support/api/replicated-items.js';

const details = { instanceType: 'HyperVReplicaAzure' };
const there = { failoverDirection: 'PrimaryToRecovery', providerSpecificDetails: details };
const back = {
  failoverDirection: 'RecoveryToPrimary',
  providerSpecificDetails: { instanceType: 'HyperVReplicaAzureFailback', dataSyncOption: 'ForDownTime' },
};

/** What an operator may ask of an item, by HTTP. A change of point and a clean-up need more than a state. */
const calls: [ProtectionOperation, string, object][] = [
  ['TestFailover', 'testFailover', { networkType: 'NoNetworkAttachAsInput', providerSpecificDetails: details }],
  ['PlannedFailover', 'plannedFailover', there],
  ['UnplannedFailover', 'unplannedFailover', there],
  ['Commit', 'failoverCommit', {}],
  ['Failback', 'plannedFailover', back],
  ['ReverseReplicate', 'reProtect', {}],
  ['RepairReplication', 'repairReplication', {}],
  ['TestFailoverCleanup', 'testFailoverCleanup', { comments: '' }],
  ['CompleteMigration', 'remove', { disableProtectionReason: 'MigrationComplete' }],
  ['DisableProtection', 'remove', {}],
];

test('every state × operation over HTTP: taken, or 409 with what is allowed, and then no row has changed', async () => {
  let refusals = 0;
  for (const state of protectionStates) {
    for (const isBusy of [false, true]) {
      for (const [operation, path, properties] of calls) {
        const harness = new Harness();
        const relay = await harness.registeredRelay();
        const activeJob = { jobName: asJobName('j'), scenarioName: 's', startedAt: harness.now.toString() };
        const item = await ReplicatedItem.put(harness, relay, { state, ...(isBusy ? { activeJob } : {}) });
        const before = await item.now();
        const { status, body } = await harness.arm('POST', `${item.armId}/${path}`, { properties });
        const allowed = allowedOperations(before);
        const what = `${operation} in ${state}${isBusy ? ', busy' : ''}: ${JSON.stringify(body)}`;
        if (allowed.includes(operation)) {
          assert.equal(status, 202, what);
          assert.equal(harness.started.length, 1, what);
          continue;
        }
        refusals++;
        assert.equal(status, 409, what);
        const [detail] = (body as { error: { details: { code: string; evidence: { allowedOperations: string[] } }[] } })
          .error.details;
        assert.deepEqual(
          [detail?.code, detail?.evidence.allowedOperations],
          [isBusy ? 'US1008' : 'US1007', allowed],
          what,
        );
        assert.deepEqual(await item.now(), before, what);
        assert.deepEqual(harness.started, []);
      }
    }
  }
  assert.ok(refusals > 300);
});

test('failoverCancel asks the job that runs to take everything back; where none does it is told', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await ReplicatedItem.put(harness, relay, { state: 'Protected' });
  const none = await harness.arm('POST', `${item.armId}/failoverCancel`);
  assert.deepEqual([none.status, JSON.stringify(none.body).includes('US1036')], [409, true]);
  assert.equal((await harness.arm('POST', `${item.armId}/plannedFailover`, { properties: there })).status, 202);
  const cancelled = await harness.arm('POST', `${item.armId}/failoverCancel`);
  assert.equal(cancelled.status, 200, JSON.stringify(cancelled.body));
  assert.equal((cancelled.body as { name: string }).name, item.first.itemName);
  const [job] = await harness.jobs();
  assert.ok(job?.cancelRequestedAt);
  assert.deepEqual(harness.rung, [job.jobName]);
  assert.equal((await harness.arm('POST', `${item.armId}/failoverCancel`)).status, 409);
});
