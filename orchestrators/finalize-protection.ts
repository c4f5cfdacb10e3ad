import { activities } from '../activities/contract.js';
import { workflowNames, type JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { conclude, failuresOf, JobFailedError, startTask } from './job.js';
import { call, insist, orchestrator } from './orchestrator.js';

/** Network and post-replication settings, after which the VM is protected. */
export const finalizeProtection = orchestrator<JobWorkflowInput, { succeeded: boolean }>(
  workflowNames.finalizeProtection,
  function* (context, input) {
    const { vaultId, itemId, protectionId, jobName } = input;
    try {
      yield* startTask(context, input, 'FinalizeOnPrimary');
      yield* startTask(context, input, 'FinalizeOnRecovery');
      const outcome = yield* insist(context, () =>
        call(context, activities.configureTargetNetwork, { vaultId, itemId, protectionId }),
      );
      if (outcome.kind === 'failed') throw new JobFailedError(outcome.failures);
    } catch (error) {
      // The disks are whole: a network that is missing today is no reason to leave the VM unprotected.
      for (const warning of failuresOf(error)) {
        yield* insist(context, () => call(context, activities.warnInJob, { vaultId, jobName, warning }));
      }
    }
    return yield* conclude(context, input, [], 'protectionFinalized');
  },
);
