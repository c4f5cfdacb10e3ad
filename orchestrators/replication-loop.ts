import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import { isUnrecoverable } from '../core/domain/retry/classification.js';
import { retryWaitMinutes } from '../core/domain/retry/retry-schedule.js';
import { secondsAfter } from '../core/domain/workflows/dates.js';
import { resumedEvent, workflowNames, type EpochWorkflowInput } from '../core/domain/workflows/workflows.js';
import { applyCycle } from './apply-cycle.js';
import { waitForDoorbell } from './doorbell.js';
import { ActivityFailedError, call, orchestrator, sleep, type Steps } from './orchestrator.js';

/**
 * History grows with every step: so the loop begins anew after this many cycles, looks, or activities in all
 * (docs/architecture.md, rule 11).
 */
const cyclesOfOneRunMax = 10;
const looksOfOneRunMax = 20;
const activitiesOfOneRunMax = 120;
/** Read, fence, seal, clean up, retention: beside those that write pages. */
const activitiesOfCycle = 5;
/** Rows are read this often even if no doorbell rang. */
const lookSeconds = 60;
/** After an effect came too late although the rows are ours: another run of the same step is ahead. */
const settleSeconds = 5;

/** The loop's input, carried over from run to run. */
export interface LoopState extends EpochWorkflowInput {
  /** Attempts of the apply side that failed since its last success. */
  failedAttempts?: number;
}

/** How one run of the loop ends: for good, or into the next run. */
export type RunEnd = { kind: 'ended' } | { kind: 'again'; failedAttempts: number };

/** Applies what arrives and makes recovery points, for one epoch of one item, until the rows speak of another. */
export const replicationLoop = orchestrator<LoopState, { ended: 'superseded' } | undefined>(
  workflowNames.replicationLoop,
  function* (context, { failedAttempts = 0, vaultId, itemId, protectionId, epoch }) {
    const key = { vaultId, itemId, protectionId, epoch };
    const end = yield* runOnSchedule(context, key, failedAttempts, run);
    if (end.kind === 'ended') return { ended: 'superseded' };
    context.df.continueAsNew({ ...key, failedAttempts: end.failedAttempts });
    return undefined;
  },
);

/**
 * One run; a failure waits out the retry schedule, counted from the start of the attempt. What does not pass by itself is
 * Critical at once, and is not tried again before an operator resumes replication.
 */
export function* runOnSchedule(
  context: OrchestrationContext,
  key: EpochWorkflowInput,
  failedAttempts: number,
  run: (context: OrchestrationContext, key: EpochWorkflowInput, attempt: Attempt) => Steps<RunEnd>,
): Steps<RunEnd> {
  const attempt: Attempt = { startedAt: context.df.currentUtcDateTime, failedAttempts };
  try {
    return yield* run(context, key, attempt);
  } catch (error) {
    if (!(error instanceof ActivityFailedError)) throw error;
    const failed = attempt.failedAttempts + 1;
    const dueAt = secondsAfter(attempt.startedAt, retryWaitMinutes(failed) * 60);
    const isNoted = yield* noteFailure(context, key, error);
    // With the note in its row the item is blocked until an operator resumes it: the next look finds that.
    const waitsForOperator = isNoted && isUnrecoverable(error.failure);
    if (!waitsForOperator && dueAt.getTime() > context.df.currentUtcDateTime.getTime()) {
      yield* waitForResume(context, dueAt);
    }
    return { kind: 'again', failedAttempts: failed };
  }
}

/** The attempt that is under way; a success begins the count anew. */
export interface Attempt {
  startedAt: Date;
  failedAttempts: number;
}

/** Until the next attempt is due, or an operator wants it now. */
function* waitForResume(context: OrchestrationContext, dueAt: Date): Steps<void> {
  const timer = context.df.createTimer(dueAt);
  const resumed = context.df.waitForExternalEvent(resumedEvent);
  const winner = yield context.df.Task.any([resumed, timer]);
  if (winner === resumed) timer.cancel();
}

/** The note is for the operator; when the table itself is out of reach, the schedule goes on without it. */
function* noteFailure(
  context: OrchestrationContext,
  key: EpochWorkflowInput,
  error: ActivityFailedError,
): Steps<boolean> {
  try {
    yield* call(context, activities.recordReplicationFailure, { ...key, failure: error.failure, resync: false });
    return true;
  } catch (second) {
    if (!(second instanceof ActivityFailedError)) throw second;
    return false;
  }
}

function* run(context: OrchestrationContext, key: EpochWorkflowInput, attempt: Attempt): Steps<RunEnd> {
  const { vaultId, itemId, protectionId } = key;
  let cycles = 0;
  let calls = 0;
  for (let looks = 0; looks < looksOfOneRunMax; looks++) {
    if (cycles >= cyclesOfOneRunMax || calls >= activitiesOfOneRunMax) break;
    const step = yield* call(context, activities.readReplicationWork, key);
    switch (step.kind) {
      case 'applyCycle': {
        attempt.startedAt = context.df.currentUtcDateTime;
        const outcome = yield* applyCycle(context, key, step);
        if (outcome.kind === 'superseded') {
          yield* sleep(context, settleSeconds);
          break;
        }
        if (outcome.kind === 'damaged') break;
        attempt.failedAttempts = 0;
        cycles++;
        calls += activitiesOfCycle + step.batches.length;
        yield* call(context, activities.cleanUpTransferred, { ...key, cycles: [step.cycle] });
        yield* call(context, activities.applyRetention, { vaultId, itemId, protectionId });
        break;
      }
      case 'idle':
      case 'blocked':
        // A wait that its timer won stays open and would swallow the next ring: begin anew instead.
        if ((yield* waitForDoorbell(context, lookSeconds)) === 'elapsed') return again(attempt);
        break;
      case 'superseded':
      case 'applySegments':
      case 'finishInitialReplication':
      case 'finishResynchronization':
        return { kind: 'ended' };
    }
  }
  return again(attempt);
}

const again = (attempt: Attempt): RunEnd => ({ kind: 'again', failedAttempts: attempt.failedAttempts });
