import { activities } from '../activities/contract.js';
import { workflowNames, type AwaitOperatorInput } from '../core/domain/workflows/workflows.js';
import { waitForDoorbell } from './doorbell.js';
import { call, insist, orchestrator } from './orchestrator.js';

/** The row is read this often where no doorbell rang. */
const lookSeconds = 60;
const looksOfRunMax = 30;

/** Waits until an operator resumes or cancels a job, for as long as that takes: each look that finds nothing is a new run. */
export const awaitOperator = orchestrator<AwaitOperatorInput, { kind: 'completed' | 'cancelled' } | undefined>(
  workflowNames.awaitOperator,
  function* (context, input) {
    const { vaultId, jobName, suspendedFor } = input;
    const waiter = context.df.instanceId;
    yield* insist(context, () =>
      call(context, activities.suspendForOperator, { vaultId, jobName, suspendedFor, waiter }),
    );
    for (let look = 0; look < looksOfRunMax; look++) {
      const { kind } = yield* insist(context, () => call(context, activities.readCompletion, { vaultId, jobName }));
      if (kind !== 'waiting') return { kind };
      if ((yield* waitForDoorbell(context, lookSeconds)) === 'elapsed') break;
    }
    context.df.continueAsNew(input);
    return undefined;
  },
);
