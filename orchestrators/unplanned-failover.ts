import type { OrchestrationContext } from 'durable-functions';
import { Temporal } from 'temporal-polyfill';
import { activities } from '../activities/contract.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import {
  workflowNames,
  type EpochWorkflowInput,
  type JobWorkflowInput,
  type UnplannedFailoverInput,
} from '../core/domain/workflows/workflows.js';
import type { AppliedReceived } from './apply-received.js';
import { lookUntil } from './doorbell.js';
import { startFailoverVm, takeOver } from './failover-steps.js';
import { conclude, failuresOf, require, startTask, supersededError } from './job.js';
import { call, insist, orchestrator, type Steps } from './orchestrator.js';
import { orderRelay } from './relay-command.js';

/** Best effort only: the site may be lost. */
const shutdownTimeoutSeconds = 5 * 60;
const lastChangesTimeoutSeconds = 5 * 60;

/** Runs the VM in Azure from a recovery point, whether or not the site answers. */
export const unplannedFailover = orchestrator<UnplannedFailoverInput, { succeeded: boolean }>(
  workflowNames.unplannedFailover,
  function* (context, input) {
    const { vaultId, itemId, protectionId, jobName } = input;
    const job = { vaultId, itemId, protectionId, jobName };
    try {
      yield* prepare(context, input, job);
      yield* startFailoverVm(context, job);
    } catch (error) {
      const failures = failuresOf(error);
      const { event } = yield* insist(context, () => call(context, activities.undoFailover, { ...job, failures }));
      return yield* conclude(context, job, failures, event);
    }
    return yield* conclude(context, job, [], 'unplannedFailoverFinished');
  },
);

/** All but the start of the VM. */
export function* prepare(
  context: OrchestrationContext,
  input: Pick<UnplannedFailoverInput, 'recoveryPoint' | 'shutDownSource'>,
  job: JobWorkflowInput,
): Steps<void> {
  const { recoveryPoint } = input;
  yield* startTask(context, job, 'VmUfoPrerequisitesCheck');
  require(yield* insist(context, () => call(context, activities.checkFailover, { ...job, recoveryPoint })));

  yield* startTask(context, job, 'VmUfoShutdownVmOnPrimary');
  if (input.shutDownSource) yield* shutDownSource(context, job);

  yield* startTask(context, job, 'VmPrepareForFailover');
  yield* takeOver(context, job, recoveryPoint, recoveryPoint.kind === 'latest' ? applyAll : undefined);
}

/** Shuts the source VM down and waits for what it wrote last. Whatever fails here is a warning. */
function* shutDownSource(context: OrchestrationContext, job: JobWorkflowInput): Steps<void> {
  let lastClosedCycle: number | undefined;
  try {
    ({ lastClosedCycle } = yield* orderRelay(context, job, 'shutDownVm', shutdownTimeoutSeconds));
  } catch (error) {
    for (const failure of failuresOf(error)) yield* warn(context, job, failure);
    return;
  }
  const { vaultId, itemId, protectionId } = job;
  const item = { vaultId, itemId, protectionId };
  const { now: offSince } = yield* insist(context, () => call(context, activities.readReceived, item));
  const caughtUp = yield* lookUntil(
    context,
    function* () {
      const received = yield* insist(context, () => call(context, activities.readReceived, item));
      // By number where the relay told it: its site's clock may differ from ours.
      const isThere =
        lastClosedCycle === undefined
          ? received.receivedTakenAt !== null && isAfter(received.receivedTakenAt, offSince)
          : received.receivedCycle > lastClosedCycle;
      return isThere ? true : undefined;
    },
    lastChangesTimeoutSeconds,
  );
  if (caughtUp === undefined) yield* warn(context, job, lastChangesMissing);
}

const isAfter = (a: string, b: string): boolean =>
  Temporal.Instant.compare(Temporal.Instant.from(a), Temporal.Instant.from(b)) > 0;

const lastChangesMissing: WorkflowFailure = {
  code: 'US4011',
  message: `the source is shut down, but its last changes did not arrive within ${lastChangesTimeoutSeconds / 60} minutes`,
  possibleCauses: 'The line is slow or cut, or the log of the last changes is large.',
  recommendedAction: 'Compare the recovery point’s time with the shutdown before you commit.',
  retry: 'never',
};

/** Latest: all that was received before this failover took the item over. What cannot be applied is left out, and said. */
function* applyAll(context: OrchestrationContext, job: JobWorkflowInput, epoch: number): Steps<void> {
  const { vaultId, itemId, protectionId, jobName } = job;
  const key: EpochWorkflowInput = { vaultId, itemId, protectionId, epoch };
  const applied = (yield context.df.callSubOrchestrator(
    workflowNames.applyReceived,
    key,
    `${jobName}-apply`,
  )) as AppliedReceived;
  if (applied.kind === 'superseded') throw supersededError(job);
  if (applied.kind === 'damaged') yield* warn(context, job, applied.failure);
}

function* warn(context: OrchestrationContext, job: JobWorkflowInput, warning: WorkflowFailure): Steps<void> {
  const { vaultId, jobName } = job;
  yield* insist(context, () => call(context, activities.warnInJob, { vaultId, jobName, warning }));
}
