import { activities } from '../activities/contract.js';
import { workflowNames, type JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { conclude, failuresOf, require, requireOwned, startTask } from './job.js';
import { call, insist, orchestrator } from './orchestrator.js';

/** Replication goes on from the site after a failback, with what changed there since the VM's first start. */
export const reverseReplicate = orchestrator<JobWorkflowInput, { succeeded: boolean }>(
  workflowNames.reverseReplicate,
  function* (context, job) {
    try {
      yield* startTask(context, job, 'VmReverseReplicate');
      require(yield* insist(context, () => call(context, activities.checkReverseReplication, job)));
      requireOwned(yield* insist(context, () => call(context, activities.beginReverseReplication, job)), job);
    } catch (error) {
      return yield* conclude(context, job, failuresOf(error), 'reverseReplicationFailed');
    }
    return yield* conclude(context, job, [], 'reverseReplicationFinished');
  },
);
