import { activities } from '../activities/contract.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import { workflowNames, type EpochWorkflowInput } from '../core/domain/workflows/workflows.js';
import { applyCycle } from './apply-cycle.js';
import { call, insist, orchestrator, sleep } from './orchestrator.js';

const cyclesOfOneRunMax = 10;
const settleSeconds = 2;

export type AppliedReceived =
  { kind: 'applied' } | { kind: 'superseded' } | { kind: 'damaged'; failure: WorkflowFailure };

/** Under a failover's epoch: applies all that was received before it, and makes its recovery points. */
export const applyReceived = orchestrator<EpochWorkflowInput, AppliedReceived | undefined>(
  workflowNames.applyReceived,
  function* (context, { vaultId, itemId, protectionId, epoch }) {
    const key = { vaultId, itemId, protectionId, epoch };
    for (let cycles = 0; cycles < cyclesOfOneRunMax; cycles++) {
      const step = yield* insist(context, () =>
        call(context, activities.readReplicationWork, { ...key, failover: true }),
      );
      if (step.kind === 'superseded') return { kind: 'superseded' };
      if (step.kind === 'blocked') return { kind: 'damaged', failure: leftOut };
      if (step.kind !== 'applyCycle') return { kind: 'applied' };
      const outcome = yield* insist(context, () => applyCycle(context, key, step));
      if (outcome.kind === 'damaged') return outcome;
      if (outcome.kind === 'superseded') yield* sleep(context, settleSeconds);
    }
    context.df.continueAsNew(key);
    return undefined;
  },
);

/** Found damaged before the failover: what came after the newest whole point is left out, and the job says so. */
const leftOut: WorkflowFailure = {
  code: 'US3004',
  message: 'the item waited for resynchronization: changes received since its newest recovery point are left out',
  possibleCauses: 'A transfer log was found damaged before the failover; see the health of the item.',
  recommendedAction: 'Compare the recovery point’s time with the disaster before you commit.',
  retry: 'never',
};
