import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import { cancelledByOperator } from '../core/domain/failover/failback-failures.js';
import { workflowNames, type JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import { lookUntil } from './doorbell.js';
import { startFailoverVm, takeOver } from './failover-steps.js';
import {
  conclude,
  endedHow,
  failuresOf,
  JobCancelledError,
  JobFailedError,
  require,
  requireOwned,
  startTask,
} from './job.js';
import { call, insist, orchestrator, type Steps } from './orchestrator.js';
import { orderRelay } from './relay-command.js';

/** For the order to reach the relay and the guest to shut down. */
const shutdownTimeoutSeconds = 15 * 60;
/** The last changes may be large and the line slow; a relay that falls silent is noticed long before. */
const lastChangesTimeoutSeconds = 24 * 60 * 60;

/**
 * Moves the VM to Azure without losing a write: the source is locked and shut down, its last cycle applied, and the VM made
 * of exactly that point. Any failure gives the source back, running as it was, and replication goes on.
 */
export const plannedFailover = orchestrator<JobWorkflowInput, { succeeded: boolean }>(
  workflowNames.plannedFailover,
  function* (context, job) {
    try {
      const cycle = yield* shutDown(context, job);
      yield* prepare(context, job, cycle);
      yield* startFailoverVm(context, job);
    } catch (error) {
      const failures = failuresOf(error);
      yield* insist(context, () => call(context, activities.giveBackPlannedFailover, { ...job, failures }));
      return yield* conclude(context, job, failures, 'plannedFailoverGivenBack', endedHow(error));
    }
    return yield* conclude(context, job, [], 'plannedFailoverFinished');
  },
);

/** The source is off and locked, and what it wrote last is a recovery point: its cycle. */
export function* shutDown(context: OrchestrationContext, job: JobWorkflowInput): Steps<number> {
  yield* startTask(context, job, 'VmPfoPrerequisitesCheck');
  require(yield* insist(context, () => call(context, activities.checkPlannedFailover, job)));

  yield* startTask(context, job, 'VmShutdownVmOnPrimary');
  requireOwned(yield* insist(context, () => call(context, activities.lockSource, job)), job);
  yield* orderRelay(context, job, 'prepareFailover', shutdownTimeoutSeconds);

  yield* startTask(context, job, 'VmPrepareForFailover');
  return yield* lastChanges(context, job);
}

export function* prepare(context: OrchestrationContext, job: JobWorkflowInput, cycle: number): Steps<void> {
  yield* takeOver(context, job, { kind: 'cycle', cycle });
}

/** Waits until what the source wrote last is a recovery point; the cycle of that point. */
function* lastChanges(context: OrchestrationContext, job: JobWorkflowInput): Steps<number> {
  const found = yield* lookUntil(
    context,
    function* () {
      const read = yield* insist(context, () => call(context, activities.readFinalCycle, job));
      if (read.kind === 'cancelled') throw new JobCancelledError([cancelledByOperator]);
      if (read.kind === 'failed') throw new JobFailedError(read.failures);
      return read.kind === 'applied' ? read.cycle : undefined;
    },
    lastChangesTimeoutSeconds,
  );
  if (found === undefined) throw new JobFailedError([lastChangesLate]);
  return found;
}

const lastChangesLate: WorkflowFailure = {
  code: 'US4016',
  message: `the last changes of the source were not applied within ${lastChangesTimeoutSeconds / 3600} hours`,
  possibleCauses: 'The line is very slow, or the log of the last changes is very large.',
  recommendedAction:
    'See the item’s health and the data still to send; run the planned failover again when it has caught up.',
  retry: 'never',
};
