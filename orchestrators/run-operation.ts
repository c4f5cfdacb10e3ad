import { activities } from '../activities/contract.js';
import type { JobOutcome } from '../activities/contract.js';
import { workflowNames, type RunOperationInput } from '../core/domain/workflows/workflows.js';
import { failuresOf, startTask } from './job.js';
import { call, insist, orchestrator } from './orchestrator.js';

/** A short operation: its rows are written already, and the job ends. */
export const runOperation = orchestrator<RunOperationInput, { succeeded: boolean }>(
  workflowNames.runOperation,
  function* (context, input) {
    const { vaultId, jobName, taskName } = input;
    let outcome: JobOutcome = { kind: 'succeeded' };
    try {
      yield* startTask(context, input, taskName);
    } catch (error) {
      outcome = { kind: 'failed', failures: failuresOf(error) };
    }
    yield* insist(context, () => call(context, activities.concludeJob, { vaultId, jobName, outcome }));
    return { succeeded: outcome.kind === 'succeeded' };
  },
);
