import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import { cancelledByOperator, siteStartLate } from '../core/domain/failover/failback-failures.js';
import { workflowNames, type FailbackInput, type JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { waitForDoorbell } from './doorbell.js';
import {
  conclude,
  endedHow,
  failuresOf,
  JobCancelledError,
  JobFailedError,
  require,
  requireOwned,
  startTask,
  supersededError,
} from './job.js';
import { call, insist, orchestrator, sleep, type Steps } from './orchestrator.js';

/** Rows are read this often where no doorbell rang. */
const lookSeconds = 60;
const exportPollSeconds = 5;
/** An export of many hours goes on in a run of its own, again and again. */
const exportPollsOfRunMax = 60;

/** Either the stage that the next run begins with, or the end. */
export type RunEnd = { kind: 'again'; stage: NonNullable<FailbackInput['stage']> } | { kind: 'ended' };

/**
 * Brings a VM back to its site. While the relay copies, and an operator takes his time, each look that finds nothing is a run of
 * its own: history stays short for days. Until the VM is handed over everything is taken back: it runs in Azure again, and the
 * site's disks are as they were. From there on nothing is.
 */
export const failback = orchestrator<FailbackInput, { succeeded: boolean } | undefined>(
  workflowNames.failback,
  function* (context, input) {
    const { vaultId, itemId, protectionId, jobName } = input;
    const job = { vaultId, itemId, protectionId, jobName };
    try {
      const end = yield* run(context, input, job);
      if (end.kind === 'again') {
        context.df.continueAsNew({ ...input, stage: end.stage });
        return undefined;
      }
    } catch (error) {
      const failures = failuresOf(error);
      const { kind } = yield* insist(context, () => call(context, activities.giveBackFailback, { ...job, failures }));
      if (kind !== 'handedOver') {
        return yield* conclude(context, job, failures, 'failbackGivenBack', endedHow(error));
      }
    }
    return yield* conclude(context, job, [], 'failbackFinished');
  },
);

function* run(context: OrchestrationContext, input: FailbackInput, job: JobWorkflowInput): Steps<RunEnd> {
  let { stage } = input;
  if (stage === undefined) {
    yield* begin(context, input, job);
    stage = 'preparing';
  }
  if (stage === 'preparing') {
    if (!(yield* isDone(context, job, 'prepared'))) return { kind: 'again', stage };
    stage = input.synchronizeFirst ? 'synchronizing' : 'finalRound';
    const isBegun =
      stage === 'synchronizing' ? yield* beginSynchronizing(context, job) : yield* beginFinalRound(context, job);
    if (!isBegun) return { kind: 'again', stage: 'preparing' };
  }
  if (stage === 'synchronizing') {
    if (!(yield* isDone(context, job, 'copied'))) return { kind: 'again', stage };
    yield* insist(context, () => call(context, activities.suspendFailback, job));
    stage = 'synchronized';
  }
  if (stage === 'synchronized') {
    if (!(yield* isCompletionWanted(context, job))) return { kind: 'again', stage };
    if (!(yield* beginFinalRound(context, job))) return { kind: 'again', stage };
    stage = 'finalRound';
  }
  if (stage === 'finalRound') {
    if (!(yield* isDone(context, job, 'copied'))) return { kind: 'again', stage };
    yield* orderReplacement(context, job);
    stage = 'replacing';
  }
  if (stage === 'replacing') {
    if (!(yield* isDone(context, job, 'replaced'))) return { kind: 'again', stage };
    yield* handOver(context, job);
    stage = 'starting';
  }
  return yield* awaitSiteStart(context, job);
}

type Wanted = Pick<FailbackInput, 'createOnHostId'>;

/** False while the disks in Azure do not hold still yet: to be called again, by a new run. */
export function* beginSynchronizing(context: OrchestrationContext, job: JobWorkflowInput): Steps<boolean> {
  yield* startTask(context, job, 'VmFailbackSynchronize');
  return yield* beginRound(context, job, false);
}

export function* begin(context: OrchestrationContext, { createOnHostId }: Wanted, job: JobWorkflowInput): Steps<void> {
  const asked = { ...job, ...(createOnHostId === undefined ? {} : { createOnHostId }) };
  yield* startTask(context, job, 'VmFailbackPrerequisitesCheck');
  require(yield* insist(context, () => call(context, activities.checkFailback, asked)));
  requireOwned(yield* insist(context, () => call(context, activities.beginFailback, asked)), job);
  yield* startTask(context, job, 'VmFailbackPreparePrimary');
}

/** False as above. */
export function* beginFinalRound(context: OrchestrationContext, job: JobWorkflowInput): Steps<boolean> {
  yield* startTask(context, job, 'VmFailbackShutdownVmOnRecovery');
  requireOwned(yield* insist(context, () => call(context, activities.stopFailedOverVm, job)), job);
  yield* startTask(context, job, 'VmFailbackFinalSync');
  return yield* beginRound(context, job, true);
}

export function* orderReplacement(context: OrchestrationContext, job: JobWorkflowInput): Steps<void> {
  yield* startTask(context, job, 'VmFailbackReplaceDisks');
  requireOwned(yield* insist(context, () => call(context, activities.orderReplacement, job)), job);
}

/** From here on nothing is taken back. */
export function* handOver(context: OrchestrationContext, job: JobWorkflowInput): Steps<void> {
  requireOwned(yield* insist(context, () => call(context, activities.handOver, job)), job);
  yield* startTask(context, job, 'VmFailbackStartVmOnPrimary');
}

function* beginRound(context: OrchestrationContext, job: JobWorkflowInput, isFinal: boolean): Steps<boolean> {
  for (let poll = 0; poll < exportPollsOfRunMax; poll++) {
    const found = yield* insist(context, () => call(context, activities.beginFailbackRound, { ...job, isFinal }));
    switch (found.kind) {
      case 'begun':
        return true;
      case 'cancelled':
        throw new JobCancelledError([cancelledByOperator]);
      case 'superseded':
        throw supersededError(job);
      case 'failed':
        throw new JobFailedError(found.failures);
      case 'exporting':
        yield* sleep(context, exportPollSeconds);
    }
  }
  return false;
}

/** Whether the relay has done it, looked at again when the doorbell rings; false once nothing came of that for a while. */
export function* isDone(
  context: OrchestrationContext,
  job: JobWorkflowInput,
  awaited: 'prepared' | 'copied' | 'replaced',
): Steps<boolean> {
  for (let look = 0; look < looksOfRunMax; look++) {
    const read = yield* insist(context, () => call(context, activities.readFailback, { ...job, awaited }));
    switch (read.kind) {
      case 'done':
        return true;
      case 'cancelled':
        throw new JobCancelledError([cancelledByOperator]);
      case 'failed':
        throw new JobFailedError(read.failures);
      case 'waiting':
        if ((yield* waitForDoorbell(context, lookSeconds)) === 'elapsed') return false;
    }
  }
  return false;
}
/** Each report of the relay rings. */
const looksOfRunMax = 30;

function* isCompletionWanted(context: OrchestrationContext, job: JobWorkflowInput): Steps<boolean> {
  for (let look = 0; look < looksOfRunMax; look++) {
    const { kind } = yield* insist(context, () => call(context, activities.readCompletion, job));
    if (kind === 'completed') return true;
    if (kind === 'cancelled') throw new JobCancelledError([cancelledByOperator]);
    if ((yield* waitForDoorbell(context, lookSeconds)) === 'elapsed') return false;
  }
  return false;
}

/** The VM is the site's by now: one that is late to start is a warning, and no failure. */
export function* awaitSiteStart(context: OrchestrationContext, job: JobWorkflowInput): Steps<RunEnd> {
  for (let look = 0; look < looksOfRunMax; look++) {
    const { kind } = yield* insist(context, () => call(context, activities.readSiteStart, job));
    if (kind === 'started') return { kind: 'ended' };
    if (kind === 'late') {
      const { vaultId, jobName } = job;
      yield* insist(context, () => call(context, activities.warnInJob, { vaultId, jobName, warning: siteStartLate }));
      return { kind: 'ended' };
    }
    if ((yield* waitForDoorbell(context, lookSeconds)) === 'elapsed') break;
  }
  return { kind: 'again', stage: 'starting' };
}
