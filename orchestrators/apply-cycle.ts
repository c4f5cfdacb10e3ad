import type { OrchestrationContext } from 'durable-functions';
import { activities, type ApplyOutcome } from '../activities/contract.js';
import type { ReplicationStep } from '../core/domain/replication/next-step.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { EpochWorkflowInput } from '../core/domain/workflows/workflows.js';
import { call, callEach, type Steps } from './orchestrator.js';

export type CycleOutcome = { kind: 'applied' } | { kind: 'superseded' } | { kind: 'damaged'; failure: WorkflowFailure };

/** Activities of one item at work at the same time: many items share the host. */
export const appliesAtOnceMax = 4;

/** One received cycle into all disks; then its recovery point, where there is one to be. */
export function* applyCycle(
  context: OrchestrationContext,
  key: EpochWorkflowInput,
  step: Extract<ReplicationStep, { kind: 'applyCycle' }>,
): Steps<CycleOutcome> {
  const { cycle } = step;
  const fenced = yield* call(context, activities.raiseFence, { ...key, cycle });
  if (fenced.kind === 'superseded') return fenced;

  const parts = step.batches.map((slices) => ({ ...key, cycle, slices }));
  const worst = worstOf(yield* callEach(context, activities.applyCycleSlices, parts, appliesAtOnceMax));
  if (worst.kind === 'superseded') return worst;
  if (worst.kind === 'damaged') {
    yield* call(context, activities.recordReplicationFailure, { ...key, failure: worst.failure, resync: true });
    return worst;
  }

  const sealed = step.seal
    ? yield* call(context, activities.sealRecoveryPoint, {
        ...key,
        cycle,
        recoveryPointId: context.df.newGuid(context.df.instanceId),
      })
    : yield* call(context, activities.commitAppliedCycle, { ...key, cycle });
  return sealed.kind === 'superseded' ? sealed : { kind: 'applied' };
}

export function worstOf(outcomes: readonly ApplyOutcome[]): ApplyOutcome {
  return (
    outcomes.find(({ kind }) => kind === 'superseded') ??
    outcomes.find(({ kind }) => kind === 'damaged') ?? { kind: 'done' }
  );
}
