import { testNicPlaces } from '../core/domain/failover/nics.js';
import { sourceUnknown } from '../core/domain/failover/source-vm.js';
import { runningTest, testVmId, testVmName, withoutTest, withTest } from '../core/domain/failover/test-failover.js';
import { endJob, succeedJob, suspendJob } from '../core/domain/jobs/transitions.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { choosePoint } from '../core/domain/recovery-point/choice.js';
import { failoverBlob } from '../core/domain/replication/blob-names.js';
import { failureOf, type WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { UnderstudyError } from '../core/domain/errors.js';
import { read, replace } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { endedJobRows } from '../core/records/job-end.js';
import { rows } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { pinned, planCopy, readPoints, unpinPoints } from './failover.js';
import { copySlice, specificationFrom } from './failover-vm.js';
import { gone } from './failures.js';
import { targetFailures } from './target-failures.js';
import { readFailoverSource, warnOfSource } from './failover-source.js';

type Needs = Pick<ActivityDependencies, 'table'>;
/** Copiers of a test's disks hold it; the test VM's making shuts them out by the next. */
const copyFence = { epoch: 1, cycle: 1 };
const sealedFence = { epoch: 1, cycle: 2 };

async function testing({ table }: Needs, input: JobWorkflowInput): Promise<ProtectedItem | undefined> {
  const stored = await read(table, rows.item(input.vaultId, input.itemId));
  return owned(stored, input) && runningTest(stored.value, input.jobName) ? stored.value : undefined;
}

/** Before anything is made: the account, the network, and a point to go to. */
export const makeCheckTestFailover =
  ({
    table,
    clock,
    cloudInventory,
    compute,
  }: Needs & Pick<ActivityDependencies, 'clock' | 'cloudInventory' | 'compute'>): Activity<
    typeof activities.checkTestFailover
  > =>
  async (input) => {
    const item = await testing({ table }, input);
    if (!item) return { kind: 'failed', failures: [gone(input.itemId)] };
    const { source } = await readFailoverSource(table, input.vaultId, item);
    const failures = await targetFailures(
      { cloudInventory, compute },
      item,
      { source, networkId: item.testFailover?.networkId },
      testNicPlaces,
    );
    await warnOfSource({ table, clock, cloudInventory }, input, item, { source });
    try {
      const points = (await readPoints(table, input)).map(({ value }) => value);
      choosePoint(points, input.protectionId, input.recoveryPoint);
    } catch (error) {
      if (!(error instanceof UnderstudyError)) throw error;
      failures.push(failureOf(error));
    }
    return failures.length === 0 ? { kind: 'met' } : { kind: 'failed', failures };
  };

/** Pins the point and names the test's disks. Latest waits until what was received at the start is applied. */
export const makeChooseTestPoint =
  ({ table, replicas }: Needs & Pick<ActivityDependencies, 'replicas'>): Activity<typeof activities.chooseTestPoint> =>
  async (input) => {
    const { receivedCycle, recoveryPoint } = input;
    let isWaiting = false;
    const change = await changeItem(table, input, async (item) => {
      const test = runningTest(item, input.jobName);
      if (!test) return { kind: 'superseded' };
      if (test.point !== undefined) return { kind: 'unchanged' };
      isWaiting = recoveryPoint.kind === 'latest' && item.replication.appliedCycle < receivedCycle;
      if (isWaiting) return { kind: 'unchanged' };
      const points = await readPoints(table, input);
      const chosen = choosePoint(
        points.map(({ value }) => value),
        input.protectionId,
        recoveryPoint,
      );
      const point = points.find(({ value }) => value === chosen);
      if (!point) return { kind: 'superseded' };
      const { source } = await readFailoverSource(table, input.vaultId, item);
      if (!source) throw sourceUnknown(item);
      const { recoveryPointId, takenAt, cycle } = chosen;
      const disks = item.disks.map(({ diskId }) => ({
        diskId,
        blob: failoverBlob(item.target.storageAccountId, item.protectionId, input.jobName, diskId),
      }));
      return {
        kind: 'changed',
        item: withTest(item, { source, point: { recoveryPointId, takenAt, cycle }, disks }),
        operations: [replace(point, pinned(chosen, input.jobName))],
      };
    });
    if (change.kind === 'superseded') return superseded;
    if (isWaiting) return { kind: 'waiting' };
    const item = await testing({ table }, input);
    if (!item) return superseded;
    const onStoresSide = replicas.capabilities.copiesFromSnapshotsAreIndependent;
    return { kind: 'chosen', slices: item.disks.flatMap((disk, index) => planCopy(disk, index, onStoresSide)) };
  };

export const makeCopyTestDisk =
  ({ table, replicas }: Needs & Pick<ActivityDependencies, 'replicas'>): Activity<typeof activities.copyTestDisk> =>
  async (input) => {
    const item = await testing({ table }, input);
    const { point, disks } = item?.testFailover ?? {};
    if (!item || !point || !disks) throw noTest(input);
    const stored = await read(table, rows.point(input.vaultId, input.itemId, point.cycle));
    return copySlice(replicas, { item, point: stored?.value, disks, fence: copyFence }, input.slice);
  };

export const makeStartTestVm =
  ({
    table,
    replicas,
    compute,
    cloudInventory,
  }: Needs & Pick<ActivityDependencies, 'replicas' | 'compute' | 'cloudInventory'>): Activity<
    typeof activities.startTestVm
  > =>
  async (input) => {
    const item = await testing({ table }, input);
    const test = item?.testFailover;
    if (!item || !test?.point) return superseded;
    // A drill that an earlier version began did not keep it.
    const source = test.source ?? (await readFailoverSource(table, input.vaultId, item)).source;
    if (!source) throw sourceUnknown(item);
    if (!replicas.capabilities.copiesFromSnapshotsAreIndependent) {
      for (const { blob } of test.disks) await replicas.raiseFence(blob, sealedFence);
    }
    const { networkId, point, disks } = test;
    const subnets = networkId === undefined ? [] : (await cloudInventory.network(networkId)).subnets;
    const vmArmId = testVmId(item);
    // All of an availability set are in one network: a test elsewhere must not hold the set that a real failover needs.
    const { availabilitySetId: _, ...specification } = specificationFrom(item, source, {
      vmArmId,
      name: testVmName(item),
      ...(networkId === undefined ? { nics: [] } : { networkId, nics: testNicPlaces(item, source, subnets) }),
      disks,
      jobName: input.jobName,
      recoveryPointId: point.recoveryPointId,
    });
    await compute.createVm(specification);
    await compute.startVm(vmArmId);
    // Taken back meanwhile: what was deleted then did not include this.
    if (await testing({ table }, input)) return done;
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const present = stored?.value.testFailover;
    const isKept = present?.jobName === input.jobName && present.state !== 'takingBack';
    if (!isKept) await compute.deleteVm(vmArmId, { deleteDisks: true });
    return superseded;
  };

/** The test VM runs; the job waits until an operator has it cleaned up. */
export const makeAwaitCleanUp =
  ({ table, clock }: Needs & Pick<ActivityDependencies, 'clock'>): Activity<typeof activities.awaitCleanUp> =>
  async (input) => {
    const now = (await clock.now()).toString();
    const change = await changeItem(table, input, async (item) => {
      if (item.testFailover?.jobName === input.jobName && item.testFailover.state === 'waiting')
        return { kind: 'unchanged' };
      const job = await read(table, rows.job(input.vaultId, input.jobName));
      if (!runningTest(item, input.jobName) || !job) return { kind: 'superseded' };
      return {
        kind: 'changed',
        item: withTest(item, { state: 'waiting' }),
        operations: [replace(job, suspendJob(job.value, 'testFailover', now))],
      };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

/** After a failure: deletes what the test made. Nothing where the test stands, or is not this job's. */
export const makeTakeBackTest =
  ({
    table,
    replicas,
    compute,
  }: Needs & Pick<ActivityDependencies, 'replicas' | 'compute'>): Activity<typeof activities.takeBackTest> =>
  async (input) => {
    const marked = await changeItem(table, input, (item) => {
      if (item.testFailover?.jobName !== input.jobName) return { kind: 'superseded' };
      if (item.testFailover.state === 'takingBack') return { kind: 'unchanged' };
      if (item.testFailover.state !== 'inProgress') return { kind: 'superseded' };
      return { kind: 'changed', item: withTest(item, { state: 'takingBack' }) };
    });
    if (marked.kind === 'superseded') return superseded;
    await deleteTest({ table, replicas, compute }, input);
    await changeItem(table, input, (item) =>
      item.testFailover?.jobName === input.jobName
        ? { kind: 'changed', item: withoutTest(item) }
        : { kind: 'unchanged' },
    );
    return done;
  };

/** The test VM, its disks and the pin of its point. The item's note of the test is left to the caller. */
export async function deleteTest(
  { table, replicas, compute }: Needs & Pick<ActivityDependencies, 'replicas' | 'compute'>,
  test: JobWorkflowInput,
): Promise<void> {
  const stored = await read(table, rows.item(test.vaultId, test.itemId));
  if (!owned(stored, test) || stored.value.testFailover?.jobName !== test.jobName) return;
  const vmArmId = testVmId(stored.value);
  const vm = await compute.getVm(vmArmId);
  if (vm?.tags['understudy-job'] === test.jobName) await compute.deleteVm(vmArmId, { deleteDisks: true });
  for (const { blob } of stored.value.testFailover.disks) await replicas.deleteDisk(blob);
  await unpinPoints(table, test);
}

/** Deletes the test VM and its disks; only then the test counts as done, and its job has succeeded. */
export const makeCleanUpTest =
  ({
    table,
    replicas,
    compute,
    clock,
  }: Needs & Pick<ActivityDependencies, 'replicas' | 'compute' | 'clock'>): Activity<typeof activities.cleanUpTest> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    const test = stored.value.testFailover;
    // A second run that comes late, perhaps after the next test has begun.
    if (test?.cleanUpJobName !== input.jobName) return done;
    await deleteTest({ table, replicas, compute }, { ...input, jobName: test.jobName });
    await endTest({ table, clock }, input, test.jobName, { kind: 'cleanedUp', comments: input.comments });
    return done;
  };

type TestEnd = { kind: 'cleanedUp'; comments: string } | { kind: 'failed'; failure: WorkflowFailure };

/** The item's note of the test goes together with the end of its job. */
export async function endTest(
  { table, clock }: Needs & Pick<ActivityDependencies, 'clock'>,
  key: JobWorkflowInput,
  testJobName: JobWorkflowInput['jobName'],
  end: TestEnd,
): Promise<void> {
  await changeItem(table, key, async (item) => {
    if (item.testFailover?.jobName !== testJobName) return { kind: 'unchanged' };
    const job = await read(table, rows.job(key.vaultId, testJobName));
    const now = await clock.now();
    const endedAt = now.toString();
    const ended =
      job &&
      (end.kind === 'cleanedUp'
        ? { ...succeedJob(job.value, endedAt), comments: end.comments }
        : endJob(job.value, 'Failed', [end.failure], endedAt));
    const free = withoutTest(item);
    return {
      kind: 'changed',
      item: end.kind === 'cleanedUp' ? { ...free, lastSuccessfulTestFailoverAt: endedAt } : free,
      operations: job && ended ? endedJobRows(key.vaultId, job, ended, now) : [],
    };
  });
}

/** The clean-up failed: the test stands, and is cleaned up by another. */
export const makeGiveUpCleanUp =
  ({ table }: Needs): Activity<typeof activities.giveUpCleanUp> =>
  async (input) => {
    await changeItem(table, input, (item) => {
      if (item.testFailover?.cleanUpJobName !== input.jobName) return { kind: 'unchanged' };
      const { cleanUpJobName: _, ...test } = item.testFailover;
      return { kind: 'changed', item: { ...item, testFailover: { ...test, state: 'waiting' } } };
    });
    return done;
  };

const noTest = ({ itemId, jobName }: JobWorkflowInput): UnderstudyError =>
  new UnderstudyError({
    code: 'US4007',
    message: `item ${itemId} is not being failed over by job ${jobName}`,
    possibleCauses: 'The job has ended, or another failover, or disabling replication, took the item over.',
    recommendedAction: 'See the item’s present state and its other jobs.',
  });
