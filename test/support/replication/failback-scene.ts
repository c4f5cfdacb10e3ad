import assert from 'node:assert/strict';
import type { JobName } from '../../../core/domain/ids.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import { requestCancel, resumeJob } from '../../../core/domain/jobs/transitions.js';
import type { FailbackReport } from '../../../core/domain/relay-protocol/wire.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { read, replace } from '../../../core/records/access.js';
import { receiveFailback } from '../../../core/records/receive-failback.js';
import { rows } from '../../../core/records/rows.js';
import { sampleVaultId } from '../sample-item.js';
import type { WorkflowWorld } from './workflow-world.js';

/** The relay is heard of at this time; the far future stands for one that never falls silent. */
export async function heardOf(world: WorkflowWorld, lastHeartbeatAt = '2100-01-01T00:00:00Z'): Promise<void> {
  const stored = await world.storedItem();
  const item = { ...stored.value, replication: { ...stored.value.replication, lastHeartbeatAt } };
  await world.table.transact(stored.ref.partition, [replace(stored, item)]);
}

/** Protected, failed over and committed, by a relay that is never silent. */
export async function failedOver(world: WorkflowWorld): Promise<void> {
  await world.protect();
  await heardOf(world);
  world.source.write(0, 40, 'before the failover');
  await world.source.sendCycle();
  assert.equal((await world.failOver()).state, 'Succeeded');
  await world.untilState('FailoverCommitPending');
  const commit = await world.operate(jobKinds.commitFailover, workflowNames.commitFailover, 'commitStarted');
  assert.equal((await world.endedJob(commit)).state, 'Succeeded');
  await world.untilState('FailoverCommitted');
}

/** The relay readies the VM at the site where it is asked to. */
export async function beginFailback(world: WorkflowWorld, synchronizeFirst = true): Promise<JobName> {
  const jobName = await world.operate(
    synchronizeFirst ? jobKinds.failbackAfterSynchronization : jobKinds.failback,
    workflowNames.failback,
    'failbackStarted',
    { synchronizeFirst },
  );
  await world.until(async () => {
    const { failback, activeJob } = await world.currentItem();
    return activeJob === undefined || failback?.jobName === jobName;
  }, 'the failback to begin');
  if ((await world.currentItem()).failback !== undefined) await report(world, 'prepared');
  return jobName;
}

/** Synchronized while the VM runs in Azure, and told by the operator to come to its end: the job. */
export async function resumedAfterSynchronizing(world: WorkflowWorld): Promise<JobName> {
  const jobName = await beginFailback(world);
  await untilRound(world, false);
  await report(world, 'copied');
  await untilSuspended(world, jobName);
  await say(world, jobName, 'resume');
  return jobName;
}

/** What the relay would report of the round, or swap, that the row asks for. */
export async function report(world: WorkflowWorld, state: FailbackReport['state']): Promise<void> {
  const { protectionId, replication, itemId } = await world.currentItem();
  await receiveFailback(world.table, sampleVaultId, itemId, {
    protectionId,
    epoch: replication.epoch,
    state,
    fetchedBytes: 4096,
  });
  await world.wake();
}

export const untilRound = (world: WorkflowWorld, isFinal: boolean) =>
  world.until(
    async () => {
      const { failback, replication } = await world.currentItem();
      return failback?.round?.isFinal === isFinal && failback.round.epoch === replication.epoch;
    },
    `the ${isFinal ? 'final' : 'first'} round`,
  );

export const untilSuspended = (world: WorkflowWorld, jobName: JobName) =>
  world.until(async () => (await world.job(jobName)).state === 'Suspended', 'the operator’s turn');

/** What the operator's word does to the job's row. */
export async function say(world: WorkflowWorld, jobName: JobName, word: 'resume' | 'cancel'): Promise<void> {
  const stored = await read(world.table, rows.job(sampleVaultId, jobName));
  assert(stored);
  const now = (await world.clock.now()).toString();
  const changed = word === 'resume' ? resumeJob(stored.value, 'go on') : requestCancel(stored.value, now);
  await world.table.transact(stored.ref.partition, [replace(stored, changed)]);
  await world.wake();
}

/** From the final round to the end, as a relay that does all that it is asked. */
export async function complete(world: WorkflowWorld, jobName: JobName): Promise<void> {
  await untilRound(world, true);
  await report(world, 'copied');
  await world.until(async () => (await world.currentItem()).failback?.swap === 'ordered', 'the swap to be ordered');
  await report(world, 'replaced');
  await world.until(
    async () => (await world.currentItem()).replication.stopReason === 'failedBack',
    'the hand-over to the site',
  );
  await report(world, 'started');
  const job = await world.endedJob(jobName);
  assert.deepEqual([job.state, job.errors], ['Succeeded', []]);
  await world.untilState('FailbackCommitPending');
}

/** Commit and reverse replication, and a cycle that goes on from there. */
export async function commitAndReprotect(world: WorkflowWorld): Promise<void> {
  const commit = await world.operate(jobKinds.commitFailback, workflowNames.commitFailback, 'commitStarted');
  const committed = await world.endedJob(commit);
  assert.deepEqual([committed.state, committed.errors], ['Succeeded', []]);
  await world.untilState('FailbackCommitted');
  const reverse = await world.operate(
    jobKinds.reverseReplicate,
    workflowNames.reverseReplicate,
    'reverseReplicationStarted',
  );
  assert.equal((await world.endedJob(reverse)).state, 'Succeeded');
  await world.untilState('Protected');
}
