import type { OrchestrationContext } from 'durable-functions';
import { activities, type ResyncProgress } from '../activities/contract.js';
import { secondsAfter } from '../core/domain/workflows/dates.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import { workflowNames, type JobWorkflowInput, type ResynchronizeInput } from '../core/domain/workflows/workflows.js';
import { lookUntil, waitForDoorbell } from './doorbell.js';
import { failuresOf, JobFailedError, startTask, supersededError } from './job.js';
import { ActivityFailedError, call, insist, orchestrator, sleep, type Steps } from './orchestrator.js';

/** What was received before is applied first; a store that takes nothing now would take no resynchronization either. */
const catchUpTimeoutSeconds = 30 * 60;
/** The relay's part: logs and a checkpoint. A merge of an earlier checkpoint may have to end first. */
const startTimeoutSeconds = 30 * 60;
const lookSeconds = 60;
/** Its end rings no bell: the row names the job no longer. */
const lookAtEndSeconds = 5;
/** History grows with every look. */
const looksOfOneRunMax = 15;

type Progress =
  | { kind: 'succeeded' }
  | { kind: 'cancelled'; failure: WorkflowFailure }
  | { kind: 'again'; epoch: number; startBy: string };

/**
 * The job around a resynchronization: begins it, tells how far it is, and says how it ended. What it does is done by the two
 * workflows that the item's row asks for in its phase: one makes checksums, the other applies what the relay sends.
 */
export const resynchronize = orchestrator<ResynchronizeInput, { succeeded: boolean } | undefined>(
  workflowNames.resynchronize,
  function* (context, input) {
    const { vaultId, itemId, protectionId, jobName } = input;
    const job = { vaultId, itemId, protectionId, jobName };
    try {
      const progress = yield* run(context, input, job);
      switch (progress.kind) {
        case 'succeeded':
          yield* end(context, job, { kind: 'succeeded' });
          return { succeeded: true };
        case 'cancelled':
          yield* end(context, job, { kind: 'cancelled', failures: [progress.failure] });
          return { succeeded: false };
        case 'again':
          context.df.continueAsNew({ ...input, epoch: progress.epoch, startBy: progress.startBy });
          return undefined;
      }
    } catch (error) {
      const failures = failuresOf(error);
      const failure = failures[0] ?? unknownFailure;
      yield* insist(context, () => call(context, activities.abandonResynchronization, { ...job, failure }));
      yield* end(context, job, { kind: 'failed', failures });
      return { succeeded: false };
    }
  },
);

const unknownFailure: WorkflowFailure = {
  code: 'US3000',
  message: 'the resynchronization ended without saying why',
  possibleCauses: 'A defect of Understudy.',
  recommendedAction: 'Resynchronize the virtual machine again, and report this with the log of the app.',
  retry: 'later',
};

function* end(
  context: OrchestrationContext,
  { vaultId, jobName }: JobWorkflowInput,
  outcome: { kind: 'succeeded' } | { kind: 'failed' | 'cancelled'; failures: WorkflowFailure[] },
): Steps<void> {
  yield* insist(context, () => call(context, activities.concludeJob, { vaultId, jobName, outcome }));
}

function* run(context: OrchestrationContext, input: ResynchronizeInput, job: JobWorkflowInput): Steps<Progress> {
  const epoch = input.epoch ?? (yield* begin(context, input, job));
  const key = { ...job, epoch };
  const startBy = input.startBy ?? secondsAfter(context.df.currentUtcDateTime, startTimeoutSeconds).toISOString();
  for (let looks = 0; looks < looksOfOneRunMax; looks++) {
    const found = yield* look(context, key);
    if (found === undefined) return { kind: 'again', epoch, startBy };
    switch (found.kind) {
      case 'finished':
        // Twice: an upload of the old epoch may have ended while the new one was under way.
        yield* dropSuperseded(context, job);
        return { kind: 'succeeded' };
      case 'superseded':
        return { kind: 'cancelled', failure: takenOver };
      case 'failed':
        throw new JobFailedError([brokenOff(found.reason, found.message)]);
      case 'starting':
        if (context.df.currentUtcDateTime.toISOString() >= startBy) throw new JobFailedError([notStarted]);
        yield* show(context, job, 'ResyncStart');
        break;
      case 'comparing':
        yield* show(context, job, 'ResyncCompare');
        break;
      case 'completing':
        yield* show(context, job, 'ResyncComplete');
        break;
    }
    const seconds = found.kind === 'completing' ? lookAtEndSeconds : lookSeconds;
    if ((yield* waitForDoorbell(context, seconds)) === 'elapsed' && found.kind !== 'starting') break;
  }
  return { kind: 'again', epoch, startBy };
}

const outageSeconds = 30;

/** What does the work rides out an outage by its schedule: the job that only looks on must not end it. */
function* look(
  context: OrchestrationContext,
  key: JobWorkflowInput & { epoch: number },
): Steps<ResyncProgress | undefined> {
  try {
    return yield* call(context, activities.readResynchronization, key);
  } catch (error) {
    if (!(error instanceof ActivityFailedError)) throw error;
    yield* sleep(context, outageSeconds);
    return undefined;
  }
}

/** Best effort: what stays is found by the looks for strays. */
function* dropSuperseded(context: OrchestrationContext, job: JobWorkflowInput): Steps<void> {
  try {
    yield* insist(context, () => call(context, activities.dropSuperseded, job));
  } catch (error) {
    if (!(error instanceof ActivityFailedError)) throw error;
  }
}

/** A task's mark is for the operator; an outage of the table must not end what goes on without it. */
function* show(context: OrchestrationContext, job: JobWorkflowInput, task: string): Steps<void> {
  try {
    yield* startTask(context, job, task);
  } catch (error) {
    if (!(error instanceof ActivityFailedError)) throw error;
  }
}

function* begin(context: OrchestrationContext, input: ResynchronizeInput, job: JobWorkflowInput): Steps<number> {
  yield* startTask(context, job, 'ResyncPrerequisitesCheck');
  const { compareAll } = input;
  const begun = yield* lookUntil(
    context,
    function* () {
      const found = yield* insist(context, () =>
        call(context, activities.beginResynchronization, { ...job, compareAll }),
      );
      return found.kind === 'behind' ? undefined : found;
    },
    catchUpTimeoutSeconds,
  );
  if (begun === undefined) throw new JobFailedError([notCaughtUp]);
  if (begun.kind === 'superseded') throw supersededError(job);
  yield* dropSuperseded(context, job);
  return begun.epoch;
}

const notCaughtUp: WorkflowFailure = {
  code: 'US3070',
  message: `the changes received before were not applied within ${catchUpTimeoutSeconds / 60} minutes`,
  possibleCauses: 'Storage refuses writes or is slow, or the backlog is long; see the health of the item.',
  recommendedAction: 'Nothing was begun. Mend what its health names, then resynchronize the virtual machine again.',
  retry: 'later',
};

const notStarted: WorkflowFailure = {
  code: 'US3071',
  message: `the relay did not start the resynchronization within ${startTimeoutSeconds / 60} minutes`,
  possibleCauses:
    'The relay is stopped or out of reach, or the host could not make a checkpoint or open its change logs, for example for lack of space.',
  recommendedAction: 'See the relay’s log and free space beside the virtual disks; it is tried again by itself.',
  retry: 'later',
};

const takenOver: WorkflowFailure = {
  code: 'US3072',
  message: 'a failover took the item over and ended the resynchronization',
  possibleCauses: 'Somebody failed the virtual machine over.',
  recommendedAction: 'None: the failover goes to the newest recovery point that was whole.',
  retry: 'never',
};

const brokenOff = (reason: string, message: string): WorkflowFailure => ({
  code: 'US3073',
  message: `the resynchronization broke off (${reason}): ${message}`,
  possibleCauses: reason,
  recommendedAction: 'It is tried again by itself; recovery points made before stay usable.',
  retry: 'later',
});
