import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import { jobNameAt } from '../core/domain/jobs/job-name.js';
import type { ReplicationStep } from '../core/domain/replication/next-step.js';
import { workflowNames, type EpochWorkflowInput } from '../core/domain/workflows/workflows.js';
import { applyCycle, appliesAtOnceMax, worstOf } from './apply-cycle.js';
import { waitForDoorbell } from './doorbell.js';
import { call, callEach, orchestrator, sleep, type Steps, type Workflow } from './orchestrator.js';
import { runOnSchedule, type Attempt, type LoopState, type RunEnd } from './replication-loop.js';

/** History grows with every round: so the workflow begins anew after this many. */
const roundsOfOneRunMax = 12;
const lookSeconds = 60;
const settleSeconds = 5;

/**
 * Applies the base as its pieces arrive, disk by disk, then the cycles that were closed meanwhile up to the one that closes
 * the base: with it applied to every disk the first recovery point is made, and delta replication begins.
 */
export const initialReplication = baseWorkflow(workflowNames.initialReplication);
/** The same for the base of a resynchronization, of which only what differs arrives. */
export const applyResynchronization = baseWorkflow(workflowNames.applyResynchronization);

function baseWorkflow(name: string): Workflow {
  return orchestrator<LoopState, { ended: 'superseded' | 'finished' } | undefined>(
    name,
    function* (context, { failedAttempts = 0, vaultId, itemId, protectionId, epoch }) {
      const key = { vaultId, itemId, protectionId, epoch };
      const end = yield* runOnSchedule(context, key, failedAttempts, run);
      if (end.kind === 'ended') return { ended: 'finished' };
      context.df.continueAsNew({ ...key, failedAttempts: end.failedAttempts });
      return undefined;
    },
  );
}

function* run(context: OrchestrationContext, key: EpochWorkflowInput, attempt: Attempt): Steps<RunEnd> {
  for (let round = 0; round < roundsOfOneRunMax; round++) {
    const step = yield* call(context, activities.readReplicationWork, key);
    // The base was told to be complete, and the answer got lost: from there on the replication loop applies.
    if (step.phase === 'delta') return { kind: 'ended' };
    switch (step.kind) {
      case 'applySegments':
        attempt.startedAt = context.df.currentUtcDateTime;
        yield* applyPieces(context, key, step, attempt);
        break;
      case 'applyCycle': {
        attempt.startedAt = context.df.currentUtcDateTime;
        const outcome = yield* applyCycle(context, key, step);
        if (outcome.kind === 'superseded') yield* sleep(context, settleSeconds);
        if (outcome.kind !== 'applied') break;
        attempt.failedAttempts = 0;
        yield* call(context, activities.cleanUpTransferred, { ...key, cycles: [step.cycle] });
        break;
      }
      case 'finishInitialReplication':
      case 'finishResynchronization': {
        const jobName = jobNameAt(context.df.currentUtcDateTime.getTime(), context.df.newGuid(context.df.instanceId));
        const outcome = yield* call(context, activities[step.kind], { ...key, jobName });
        if (outcome.kind === 'done') return { kind: 'ended' };
        yield* sleep(context, settleSeconds);
        break;
      }
      case 'idle':
      case 'blocked':
        if ((yield* waitForDoorbell(context, lookSeconds)) === 'elapsed') {
          return { kind: 'again', failedAttempts: attempt.failedAttempts };
        }
        break;
      case 'superseded':
        return { kind: 'ended' };
    }
  }
  return { kind: 'again', failedAttempts: attempt.failedAttempts };
}

/** Some pieces of one disk at once; the mark moves when all of them are in the disk. */
function* applyPieces(
  context: OrchestrationContext,
  key: EpochWorkflowInput,
  step: Extract<ReplicationStep, { kind: 'applySegments' }>,
  attempt: Attempt,
): Steps<void> {
  const { diskIndex, segments } = step;
  const parts = segments.map(({ fromBytes }) => ({ ...key, diskIndex, fromBytes: [fromBytes] }));
  const worst = worstOf(yield* callEach(context, activities.applySegments, parts, appliesAtOnceMax));
  if (worst.kind === 'superseded') return yield* sleep(context, settleSeconds);
  if (worst.kind === 'damaged') {
    yield* call(context, activities.recordReplicationFailure, { ...key, failure: worst.failure, resync: true });
    return;
  }
  const throughBytes = segments.at(-1)?.toBytes ?? 0;
  yield* call(context, activities.commitSegments, { ...key, diskIndex, throughBytes });
  attempt.failedAttempts = 0;
  yield* call(context, activities.cleanUpTransferred, {
    ...key,
    cycles: [],
    segments: { diskIndex, fromBytes: segments.map(({ fromBytes }) => fromBytes) },
  });
}
