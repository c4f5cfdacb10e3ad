import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import { workflowNames, type JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { copyDisks } from './failover-steps.js';
import { conclude, failuresOf, require, requireOwned, startTask, supersededError } from './job.js';
import { call, insist, orchestrator, type Steps } from './orchestrator.js';

/**
 * Makes the failback final (docs/architecture.md, rule 10): the replica comes to the VM's last state in Azure, inside the cloud;
 * only then the VM and its disks there are deleted.
 */
export const commitFailback = orchestrator<JobWorkflowInput, { succeeded: boolean }>(
  workflowNames.commitFailback,
  function* (context, input) {
    try {
      yield* commit(context, input);
    } catch (error) {
      return yield* conclude(context, input, failuresOf(error), 'commitFailed');
    }
    return yield* conclude(context, input, [], 'commitFinished');
  },
);

function* commit(context: OrchestrationContext, job: JobWorkflowInput): Steps<void> {
  yield* startTask(context, job, 'VmCommitPrerequisitesCheck');
  require(yield* insist(context, () => call(context, activities.checkFailbackCommit, job)));
  yield* startTask(context, job, 'VmCommitRenewReplica');
  const begun = yield* insist(context, () => call(context, activities.beginReplicaRenewal, job));
  if (begun.kind === 'superseded') throw supersededError(job);
  yield* copyDisks(context, job, begun.slices, activities.copyRenewedDisk);
  requireOwned(yield* insist(context, () => call(context, activities.adoptRenewedReplica, job)), job);
  yield* startTask(context, job, 'VmCommitDeleteRecoveryVm');
  requireOwned(yield* insist(context, () => call(context, activities.deleteFailedOverVm, job)), job);
}
