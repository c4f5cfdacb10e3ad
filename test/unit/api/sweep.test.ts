import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testVmId } from '../../../core/domain/failover/test-failover.js';
import { sampleJob } from '../../support/sample-job.js';
import { asJobName, asVaultId } from '../../../core/domain/ids.js';
import type { Job } from '../../../core/domain/jobs/job.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { insert, read, replace } from '../../../core/records/access.js';
import { itemIdOf, rows, vaultPartition } from '../../../core/records/rows.js';
import { startWhatRowsAskFor } from '../../../functions/activity-registration.js';
import { sweep } from '../../../functions/timers/sweep.js';
import { InMemoryCloudCompute } from '../../support/in-memory/cloud-compute.js';
import { InMemoryReplicaStore } from '../../support/in-memory/replica-store.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem } from '../../support/api/replicated-items.js';
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
      replication: sampleProgress({ phase: 'delta', receivedCycle: 1 }),
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

test('items that wait for their next cycle are looked at once in ten sweeps, not all in the same', async () => {
  const harness = new Harness();
  await harness.putVault();
  const items = Array.from({ length: 50 }, (_, number) =>
    sampleItem({
      itemId: itemIdOf(vaultId, 'f', 'c', `vm-${number}`),
      protectionId: `6a1f6a3e-0000-4000-8000-${String(number).padStart(12, '0')}` as never,
      replication: sampleProgress({ phase: 'delta', receivedCycle: 4, appliedCycle: 4 }),
    }),
  );
  await harness.table.transact(
    vaultPartition(vaultId),
    items.map((item) => insert(rows.item(vaultId, item.itemId), item)),
  );
  const asked: string[] = [];
  harness.app.workflows.ensure = async (_, instanceId) => {
    asked.push(instanceId);
    return false;
  };
  let most = 0;
  for (let sweeps = 0; sweeps < 10; sweeps++) {
    const before = asked.length;
    await sweep(harness.app);
    most = Math.max(most, asked.length - before);
    harness.now = harness.now.add({ minutes: 1 });
  }
  assert.equal(asked.length, 50);
  assert.equal(new Set(asked).size, 50);
  assert(most < 25, `${most} in one sweep`);
});

test('what an activity left to do is started at once: the loop, and the job that finalizes protection', async () => {
  const harness = new Harness();
  await harness.putVault();
  const jobName = asJobName('019b0000-0000-7000-8000-000000000001');
  const item = sampleItem({
    state: 'FinalizingProtection',
    replication: sampleProgress({ phase: 'delta' }),
    activeJob: { jobName, scenarioName: 'IrCompletion', startedAt: 'now' },
  });
  const job: Job = {
    jobName,
    scenarioName: 'IrCompletion',
    friendlyName: '',
    state: 'NotStarted',
    tasks: [],
    errors: [],
    createdAt: 'now',
    targetResourceId: '',
    targetObjectName: '',
    intent: { orchestrator: 'finalizeProtection', input: {} },
  };
  await harness.table.transact(vaultPartition(vaultId), [
    insert(rows.item(vaultId, item.itemId), item),
    insert(rows.job(vaultId, jobName), job),
  ]);
  for (let repeat = 0; repeat < 2; repeat++) {
    await startWhatRowsAskFor(harness.app, () => harness.app.workflows, vaultId, item.itemId);
  }
  assert.deepEqual(
    harness.started.map(({ orchestrator, instanceId }) => [orchestrator, instanceId]),
    [
      ['replicationLoop', `loop-${item.protectionId}-1`],
      ['finalizeProtection', jobName],
    ],
  );
});

test('a failover during a drill ends the drill: its test VM and disks go, and its job has failed', async () => {
  const harness = new Harness();
  await harness.putVault();
  const compute = new InMemoryCloudCompute();
  const replicas = new InMemoryReplicaStore({ copiesFromSnapshotsAreIndependent: false });
  Object.assign(harness.app, { compute, replicas });
  const jobName = asJobName('0190a000-0000-7000-8000-00000000000d');
  const item = sampleItem({ state: 'UnplannedFailoverInProgress', replication: sampleProgress({ phase: 'stopped' }) });
  const blob = { storageAccountId: item.target.storageAccountId, container: 'failover', blobName: 'drill.vhd' };
  const diskId = item.disks[0]?.diskId;
  assert.ok(diskId);
  const drilled: ProtectedItem = {
    ...item,
    testFailover: { jobName, state: 'waiting', startedAt: item.createdAt, disks: [{ diskId, blob }] },
    failover: {
      jobName: asJobName('failover'),
      kind: 'unplanned',
      recoveryPointId: 'p',
      recoveryPointAt: item.createdAt,
      cycle: 1,
      vmArmId: '/vm',
      disks: [],
    },
  };
  const job: Job = {
    ...sampleJob(jobName, item.createdAt),
    state: 'Suspended',
    suspendedFor: 'testFailover',
    itemId: item.itemId,
  };
  const busy = {
    ...drilled,
    activeJob: { jobName: asJobName('failover'), scenarioName: 'f', startedAt: item.createdAt },
  };
  const row = rows.item(vaultId, item.itemId);
  await harness.table.transact(vaultPartition(vaultId), [insert(row, busy), insert(rows.job(vaultId, jobName), job)]);
  await replicas.createDisk(blob, 1024 * 1024 + 512);
  const vmArmId = testVmId(item);
  const tags = { 'understudy-job': jobName };
  await compute.createVm({
    vmArmId,
    name: 't',
    size: 's',
    generation: 1,
    osType: 'Windows',
    nics: [],
    disks: [],
    tags,
  });

  await sweep(harness.app);
  assert.equal(compute.vms.size, 1, 'as long as the failover is under way, nothing else is done');
  const stored = await read(harness.table, row);
  assert.ok(stored);
  const { activeJob: _, ...done } = stored.value;
  await harness.table.transact(vaultPartition(vaultId), [replace(stored, done)]);
  for (let repeat = 0; repeat < 2; repeat++) await sweep(harness.app);
  assert.equal(compute.vms.size, 0);
  assert.equal(await replicas.properties(blob), undefined);
  assert.equal((await read(harness.table, row))?.value.testFailover, undefined);
  const ended = (await read(harness.table, rows.job(vaultId, jobName)))?.value;
  assert.deepEqual([ended?.state, ended?.errors[0]?.code], ['Failed', 'US4018']);
});

test('the sweep takes up what a recovery plan’s run has left, once that is over, and not before', async () => {
  const harness = new Harness();
  await harness.putVault();
  const planJobName = asJobName('0190a000-0000-7000-8000-00000000000e');
  const run: Job = { ...sampleJob(planJobName, 'now'), intent: { orchestrator: 'recoveryPlan', input: {} } };
  const own = (number: number, change: Partial<Job>): Job => ({
    ...sampleJob(asJobName(`0190a000-0000-7000-8000-00000000001${number}`), 'now'),
    scenarioName: 'PlannedFailover',
    planJobName,
    intent: { orchestrator: 'planItemStep', input: { step: 'giveUp' } },
    ...change,
  });
  const booted: Job['tasks'] = [{ taskId: '1', name: 'VmFoStartVmOnSecondary', friendlyName: '', state: 'InProgress' }];
  const jobs = [
    own(1, {}),
    own(2, { tasks: booted }),
    own(3, { state: 'Failed' }),
    own(4, { state: 'Suspended', suspendedFor: 'testFailover' }),
    own(5, { intent: { orchestrator: 'commitFailover', input: {} } }),
  ];
  await harness.table.transact(
    vaultPartition(vaultId),
    [run, ...jobs].map((job) => insert(rows.job(vaultId, job.jobName), job)),
  );
  await sweep(harness.app);
  assert.deepEqual(
    harness.started.map(({ orchestrator }) => orchestrator),
    ['recoveryPlan'],
  );
  const stored = await read(harness.table, rows.job(vaultId, planJobName));
  assert(stored);
  await harness.table.transact(vaultPartition(vaultId), [replace(stored, { ...run, state: 'Cancelled' })]);
  for (let repeat = 0; repeat < 2; repeat++) await sweep(harness.app);
  const [failed, begun, , , whole] = jobs.map(({ jobName }) => jobName);
  assert.deepEqual(
    harness.started.slice(1).map(({ instanceId }) => instanceId),
    [`${failed}-giveUp`, `${begun}-boot`, whole],
  );
});

test('jobs that ended a month ago are forgotten, but for those that something still names', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const nameOf = (number: number) => asJobName(`0190a000-0000-7000-8000-${String(number).padStart(12, '0')}`);
  const ago = (days: number): string => harness.now.subtract({ hours: days * 24 }).toString();
  const failover = { jobName: nameOf(2), kind: 'planned', recoveryPointId: 'p', recoveryPointAt: ago(40), cycle: 1 };
  await ReplicatedItem.put(harness, relay, { failover: { ...failover, kind: 'planned', disks: [] } });
  const ended = (number: number, days: number, changes: Partial<Job> = {}): Job => ({
    ...sampleJob(nameOf(number), ago(days)),
    state: 'Succeeded',
    endedAt: ago(days),
    ...changes,
  });
  const jobs = [
    ...[ended(1, 31), ended(2, 40), ended(3, 29), ended(4, 40)],
    { ...sampleJob(nameOf(5), ago(40)), planJobName: nameOf(4) },
  ];
  const many = Array.from({ length: 150 }, (_, index) => ended(1000 + index, 35));
  for (const job of [...jobs, ...many]) {
    await harness.table.transact(vaultPartition(vaultId), [insert(rows.job(vaultId, job.jobName), job)]);
  }
  const left = async () => (await harness.jobs()).map(({ jobName }) => jobName);
  await sweep(harness.app);
  assert.equal((await left()).length, 55, 'a hundred in one run');
  await sweep(harness.app);
  assert.deepEqual(await left(), [2, 3, 4, 5].map(nameOf));
});
