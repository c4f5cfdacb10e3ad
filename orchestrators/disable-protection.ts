import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import {
  workflowNames,
  type DisableProtectionInput,
  type JobWorkflowInput,
} from '../core/domain/workflows/workflows.js';
import { conclude, failuresOf, JobFailedError, requireOwned, startTask } from './job.js';
import { call, insist, orchestrator, type Steps } from './orchestrator.js';
import { orderRelay } from './relay-command.js';

/** The host merges a checkpoint and deletes logs meanwhile. */
const removalTimeoutSeconds = 15 * 60;
/** Each run deletes a bounded number of rows: far more than an item can have. */
const dropRoundsMax = 1000;

/**
 * Ends an item's replication: at the site first, unless that is left out, then in Azure. A virtual machine that a failover
 * made, and its disks, stay. Whatever fails can be run again; the item's row goes last.
 */
export const disableProtection = orchestrator<DisableProtectionInput, { succeeded: boolean }>(
  workflowNames.disableProtection,
  function* (context, input) {
    const { vaultId, itemId, protectionId, jobName } = input;
    const job = { vaultId, itemId, protectionId, jobName };
    try {
      yield* disable(context, job, input.leaveSite);
    } catch (error) {
      return yield* conclude(context, job, failuresOf(error), 'disablingFailed');
    }
    // The item's row is gone: there is nothing to move but the job.
    yield* insist(context, () =>
      call(context, activities.concludeJob, { vaultId, jobName, outcome: { kind: 'succeeded' } }),
    );
    return { succeeded: true };
  },
);

function* disable(context: OrchestrationContext, job: JobWorkflowInput, leaveSite: boolean): Steps<void> {
  yield* startTask(context, job, 'DisableProtectionOnPrimary');
  requireOwned(yield* insist(context, () => call(context, activities.stopReplication, job)), job);
  if (!leaveSite) yield* orderRelay(context, job, 'removeReplicationRelationship', removalTimeoutSeconds);

  yield* startTask(context, job, 'DisableProtectionOnRecovery');
  for (let round = 0; round < dropRoundsMax; round++) {
    const { remaining } = yield* insist(context, () => call(context, activities.dropReplica, job));
    if (!remaining) return;
  }
  throw new JobFailedError([tooMuchLeft]);
}

const tooMuchLeft: WorkflowFailure = {
  code: 'US3025',
  message: `after ${dropRoundsMax} rounds of deleting, rows of the item are still there`,
  possibleCauses: 'Something goes on writing rows of the item.',
  recommendedAction: 'Disable replication again; if it fails again, report this as a defect.',
  retry: 'never',
};
