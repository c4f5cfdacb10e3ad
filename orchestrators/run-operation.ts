import { activities } from '../activities/contract.js';
import type { JobOutcome } from '../activities/contract.js';
import { workflowNames, type RunOperationInput } from '../core/domain/workflows/workflows.js';
import { failuresOf } from './job.js';
import { call, insist, orchestrator } from './orchestrator.js';

/** Jobs of one task, named as their operation. */
const taskOf = {
  putPolicy: 'AddProtectionProfile',
  putMapping: 'AssociateProtectionProfile',
  putPlan: 'SaveRecoveryPlan',
  deletePlan: 'DeleteRecoveryPlan',
} as const;

/** A short operation: one row is written, and the job ends. */
export const runOperation = orchestrator<RunOperationInput, { succeeded: boolean }>(
  workflowNames.runOperation,
  function* (context, input) {
    const { vaultId, jobName } = input;
    let outcome: JobOutcome = { kind: 'succeeded' };
    try {
      const taskName = taskOf[input.operation.kind];
      yield* insist(context, () => call(context, activities.startJobTask, { vaultId, jobName, taskName }));
      const { operation } = input;
      if ('value' in operation) {
        yield* insist(context, () => call(context, activities.writeOperationRow, { ...input, operation }));
      }
    } catch (error) {
      outcome = { kind: 'failed', failures: failuresOf(error) };
    }
    yield* insist(context, () => call(context, activities.concludeJob, { vaultId, jobName, outcome }));
    return { succeeded: outcome.kind === 'succeeded' };
  },
);
