import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import { workflowNames, type EpochWorkflowInput } from '../core/domain/workflows/workflows.js';
import { appliesAtOnceMax } from './apply-cycle.js';
import { waitForDoorbell } from './doorbell.js';
import { call, callEach, orchestrator, sleep, type Steps } from './orchestrator.js';
import { runOnSchedule, type Attempt, type LoopState, type RunEnd } from './replication-loop.js';

/** History grows with every round. */
const roundsOfOneRunMax = 12;
const lookSeconds = 60;
const settleSeconds = 5;

/**
 * The replica's side of a resynchronization's comparison: checksums of all that matters, region by region, ahead of the relay,
 * which compares what is there.
 */
export const digestReplica = orchestrator<LoopState, { ended: 'superseded' | 'finished' } | undefined>(
  workflowNames.digestReplica,
  function* (context, { failedAttempts = 0, vaultId, itemId, protectionId, epoch }) {
    const key = { vaultId, itemId, protectionId, epoch };
    const end = yield* runOnSchedule(context, key, failedAttempts, run);
    if (end.kind === 'ended') return { ended: 'finished' };
    context.df.continueAsNew({ ...key, failedAttempts: end.failedAttempts });
    return undefined;
  },
);

function* run(context: OrchestrationContext, key: EpochWorkflowInput, attempt: Attempt): Steps<RunEnd> {
  for (let round = 0; round < roundsOfOneRunMax; round++) {
    const work = yield* call(context, activities.readDigestWork, key);
    switch (work.kind) {
      case 'digest': {
        attempt.startedAt = context.df.currentUtcDateTime;
        const { diskIndex, throughBytes } = work;
        const regions = work.fromBytes.map((fromBytes) => ({ ...key, diskIndex, fromBytes }));
        const outcomes = yield* callEach(context, activities.digestRegion, regions, appliesAtOnceMax);
        if (outcomes.some(({ kind }) => kind === 'superseded')) {
          yield* sleep(context, settleSeconds);
          break;
        }
        yield* call(context, activities.commitDigests, { ...key, diskIndex, throughBytes });
        attempt.failedAttempts = 0;
        break;
      }
      case 'idle':
        if ((yield* waitForDoorbell(context, lookSeconds)) === 'elapsed') {
          return { kind: 'again', failedAttempts: attempt.failedAttempts };
        }
        break;
      case 'finished':
      case 'superseded':
        return { kind: 'ended' };
    }
  }
  return { kind: 'again', failedAttempts: attempt.failedAttempts };
}
