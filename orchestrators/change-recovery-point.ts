import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import {
  workflowNames,
  type ChangeRecoveryPointInput,
  type JobWorkflowInput,
} from '../core/domain/workflows/workflows.js';
import { copyDisks } from './failover-steps.js';
import { conclude, failuresOf, requireOwned, startTask, supersededError } from './job.js';
import { call, insist, orchestrator, type Steps } from './orchestrator.js';

/**
 * Runs the failed-over virtual machine from another recovery point, before the failover is committed. The disks are copied
 * first; until they are whole the machine that runs is not touched.
 */
export const changeRecoveryPoint = orchestrator<ChangeRecoveryPointInput, { succeeded: boolean }>(
  workflowNames.changeRecoveryPoint,
  function* (context, input) {
    const { vaultId, itemId, protectionId, jobName } = input;
    const job = { vaultId, itemId, protectionId, jobName };
    try {
      yield* change(context, input, job);
    } catch (error) {
      const failures = failuresOf(error);
      yield* insist(context, () => call(context, activities.dropPointChange, job));
      return yield* conclude(context, job, failures, 'pointChangeEnded');
    }
    return yield* conclude(context, job, [], 'pointChangeEnded');
  },
);

function* change(context: OrchestrationContext, input: ChangeRecoveryPointInput, job: JobWorkflowInput): Steps<void> {
  const { recoveryPoint } = input;
  yield* startTask(context, job, 'VmPitPrepare');
  const begun = yield* insist(context, () => call(context, activities.beginPointChange, { ...job, recoveryPoint }));
  if (begun.kind === 'superseded') throw supersededError(job);
  yield* copyDisks(context, job, begun.slices, activities.copyChangedDisk);

  yield* startTask(context, job, 'VmPitReplace');
  requireOwned(yield* insist(context, () => call(context, activities.switchPoint, job)), job);
  requireOwned(yield* insist(context, () => call(context, activities.createFailoverVm, job)), job);

  yield* startTask(context, job, 'VmFoStartVmOnSecondary');
  yield* insist(context, () => call(context, activities.startFailoverVm, job));
}
