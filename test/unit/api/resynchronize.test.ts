import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asJobName } from '../../../core/domain/ids.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { scheduleResyncs } from '../../../functions/timers/schedule-resyncs.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem, vaultId } from '../../support/api/replicated-items.js';
import { Temporal } from 'temporal-polyfill';

const mark = { reason: 'logTooLarge', message: 'the logs reached half of the disks', at: '2026-01-05T09:00:00Z' };
const codeOf = (answer: ApiResponse) =>
  (answer.body as { error: { details: { code: string }[] } }).error.details[0]?.code;
const settings = (harness: Harness, resync: object) =>
  harness.arm('PUT', `/understudy/v1/replicationSettings?vaultId=${vaultPath}`, { resync });

async function world(changes: Partial<ProtectedItem> = {}, progress = {}) {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await ReplicatedItem.put(harness, relay, changes, progress);
  const repair = () => harness.arm('POST', `${item.armId}/repairReplication`);
  return { harness, relay, item, repair };
}

test('a request marks the item and writes the job in one transaction, and leaves a failover allowed', async () => {
  const { harness, item, repair } = await world({}, { resyncRequired: { ...mark, failedAttempts: 2 } });
  const answer = await repair();
  assert.equal(answer.status, 202, JSON.stringify(answer.body));
  const [job] = await harness.jobs();
  assert(job);
  const { jobName, scenarioName, state, targetResourceId, tasks } = job;
  assert.deepEqual([scenarioName, state, targetResourceId], ['Resynchronize', 'NotStarted', item.armId]);
  assert(tasks.length > 0);
  const { itemId, protectionId } = item.first;
  assert.deepEqual(harness.started, [
    {
      orchestrator: 'resynchronize',
      instanceId: jobName,
      input: { vaultId, itemId, protectionId, jobName, compareAll: false },
    },
  ]);
  const now = await item.now();
  assert.equal(now.state, 'Resynchronizing');
  assert.equal(now.activeJob, undefined);
  assert.deepEqual(now.replication.resync, {
    jobName,
    startedAt: harness.now.toString(),
    failedAttempts: 2,
    cause: 'logTooLarge',
  });
  const { properties } = (await harness.arm('GET', item.armId)).body as {
    properties: { allowedOperations: string[]; currentScenario: object; replicationHealth: string };
  };
  assert.deepEqual(properties.allowedOperations, ['UnplannedFailover', 'DisableProtection']);
  assert.deepEqual(properties.currentScenario, {
    scenarioName: 'Resynchronize',
    jobId: `${vaultPath}/replicationJobs/${jobName}`,
    startTime: harness.now.toString(),
  });
  assert.equal(properties.replicationHealth, 'Critical');
});

test('a healthy item is compared whole, since who asks does not trust what is recorded of it', async () => {
  const { harness, item, repair } = await world();
  assert.equal((await repair()).status, 202);
  assert.equal((harness.started[0]?.input as { compareAll: boolean }).compareAll, true);
  assert.equal((await item.now()).replication.resync?.cause, 'requested');
});

const refusals: [string, Partial<ProtectedItem>, object, string][] = [
  ['it is paused', {}, { paused: true, resyncRequired: mark }, 'US1022'],
  ['one runs already', { state: 'Resynchronizing' }, { resync: { jobName: 'r', startedAt: '', cause: '' } }, 'US1008'],
  ['a job runs on it', { activeJob: { jobName: asJobName('j'), scenarioName: 'Commit', startedAt: '' } }, {}, 'US1008'],
  ['it failed over', { state: 'FailoverCommitPending' }, { resyncRequired: mark, phase: 'stopped' }, 'US1007'],
  ['its base is on its way', { state: 'InitialReplicationInProgress' }, { phase: 'initialReplication' }, 'US1007'],
];
for (const [why, changes, progress, code] of refusals) {
  test(`it is refused with 409 and ${code} while ${why}, and nothing changes`, async () => {
    const { harness, item, repair } = await world(changes, progress);
    const answer = await repair();
    assert.equal(answer.status, 409);
    assert.equal(codeOf(answer), code);
    assert.deepEqual(await item.now(), item.first);
    assert.equal(harness.started.length, 0);
    assert.deepEqual(await harness.jobs(), []);
  });
}

test('the timer waits for the site’s evening, begins as many as the vault allows, and no more until one ends', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const names = ['sql-01', 'web-01', 'app-01'];
  const items: ReplicatedItem[] = [];
  for (const [index, itemName] of names.entries()) {
    const receivedTakenAt = harness.now.subtract({ minutes: index }).toString();
    items.push(await ReplicatedItem.put(harness, relay, { itemName }, { resyncRequired: mark, receivedTakenAt }));
  }
  const atBerlinTime = async (time: string) => {
    harness.now = Temporal.Instant.from(`2026-01-05T${time}+01:00`);
    for (const item of items) await item.progress({ lastHeartbeatAt: harness.now.toString() });
    await scheduleResyncs(harness.app);
    const states = await Promise.all(items.map((item) => item.now()));
    return states.filter(({ replication }) => replication.resync !== undefined).map(({ vmName }) => vmName);
  };
  assert.deepEqual(await atBerlinTime('18:29:59'), []);
  assert.deepEqual(await atBerlinTime('18:30:00'), ['web-01', 'app-01'], 'worst RPO first');
  assert.deepEqual(await atBerlinTime('18:31:00'), ['web-01', 'app-01']);
  assert.equal(harness.started.length, 2);
  await items[1]?.progress({ resync: undefined, resyncRequired: undefined });
  assert.deepEqual(await atBerlinTime('18:32:00'), ['sql-01', 'app-01']);
});

test('a vault that resynchronizes at once does so by day; one that does by hand never', async () => {
  const { harness, item } = await world({}, { resyncRequired: mark });
  assert.equal((await settings(harness, { mode: 'manual' })).status, 200);
  await scheduleResyncs(harness.app);
  assert.equal(harness.started.length, 0);
  assert.equal((await settings(harness, { mode: 'immediate' })).status, 200);
  await scheduleResyncs(harness.app);
  assert.equal((await item.now()).state, 'Resynchronizing');
});

test('one that cannot begin stops no other: the timer tries it again', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  for (const itemName of ['sql-01', 'web-01']) {
    await ReplicatedItem.put(harness, relay, { itemName }, { resyncRequired: mark });
  }
  await settings(harness, { mode: 'immediate' });
  harness.sharedTable.faults.fail('transact', 'beforeEffect');
  await scheduleResyncs(harness.app);
  assert.equal(harness.started.length, 1);
  await scheduleResyncs(harness.app);
  assert.equal(harness.started.length, 2);
});
