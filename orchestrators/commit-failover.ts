import { activities } from '../activities/contract.js';
import { workflowNames, type JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import type { OrchestrationContext } from 'durable-functions';
import { conclude, failuresOf, require, startTask } from './job.js';
import { call, insist, orchestrator, type Steps } from './orchestrator.js';

/** Each run drops some: far more than a policy can keep. */
const dropRoundsMax = 100;

/** Makes the failover final: recovery points, snapshots and received logs go, the failover's disks stay. */
export const commitFailover = orchestrator<JobWorkflowInput, { succeeded: boolean }>(
  workflowNames.commitFailover,
  function* (context, input) {
    try {
      yield* commit(context, input);
    } catch (error) {
      return yield* conclude(context, input, failuresOf(error), 'commitFailed');
    }
    return yield* conclude(context, input, [], 'commitFinished');
  },
);

function* commit(context: OrchestrationContext, input: JobWorkflowInput): Steps<void> {
  yield* startTask(context, input, 'VmCommitPrerequisitesCheck');
  require(yield* insist(context, () => call(context, activities.checkCommit, input)));
  yield* startTask(context, input, 'VmCommitFailover');
  for (let round = 0; round < dropRoundsMax; round++) {
    const { remaining } = yield* insist(context, () => call(context, activities.dropReplicationLeftovers, input));
    if (!remaining) return;
  }
}
