import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import {
  workflowNames,
  type JobWorkflowInput,
  type TestFailoverCleanUpInput,
  type TestFailoverInput,
} from '../core/domain/workflows/workflows.js';
import { lookUntil } from './doorbell.js';
import { copyDisks } from './failover-steps.js';
import { concludeAlone, failuresOf, JobFailedError, require, requireOwned, startTask, supersededError } from './job.js';
import { call, insist, orchestrator, type Steps } from './orchestrator.js';

/** What is received when a test to Latest begins is applied long before, unless applying fails. */
const applyTimeoutSeconds = 60 * 60;

/** Runs a copy of a recovery point in a network of its own, beside replication, until an operator has it cleaned up. */
export const testFailover = orchestrator<TestFailoverInput, { succeeded: boolean }>(
  workflowNames.testFailover,
  function* (context, input) {
    const { vaultId, itemId, protectionId, jobName } = input;
    const job = { vaultId, itemId, protectionId, jobName };
    try {
      yield* prepare(context, input, job);
      yield* boot(context, job);
    } catch (error) {
      const failures = failuresOf(error);
      yield* insist(context, () => call(context, activities.takeBackTest, job));
      return yield* concludeAlone(context, job, failures);
    }
    return { succeeded: true };
  },
);

/** All but the test VM itself. */
export function* prepare(
  context: OrchestrationContext,
  input: Pick<TestFailoverInput, 'recoveryPoint'>,
  job: JobWorkflowInput,
): Steps<void> {
  const { recoveryPoint } = input;
  yield* startTask(context, job, 'VmTfoPrerequisitesCheck');
  require(yield* insist(context, () => call(context, activities.checkTestFailover, { ...job, recoveryPoint })));

  yield* startTask(context, job, 'VmTfoInitiateFailover');
  const { vaultId, itemId, protectionId } = job;
  const item = { vaultId, itemId, protectionId };
  const { receivedCycle } = yield* insist(context, () => call(context, activities.readReceived, item));
  const slices = yield* lookUntil(
    context,
    function* () {
      const chosen = yield* insist(context, () =>
        call(context, activities.chooseTestPoint, { ...job, recoveryPoint, receivedCycle }),
      );
      if (chosen.kind === 'superseded') throw supersededError(job);
      return chosen.kind === 'waiting' ? undefined : chosen.slices;
    },
    applyTimeoutSeconds,
  );
  if (slices === undefined) throw new JobFailedError([notApplied]);

  yield* startTask(context, job, 'VmTfoPrepareTestVm');
  yield* copyDisks(context, job, slices, activities.copyTestDisk);
}

export function* boot(context: OrchestrationContext, job: JobWorkflowInput): Steps<void> {
  yield* startTask(context, job, 'VmTfoBootTestVm');
  requireOwned(yield* insist(context, () => call(context, activities.startTestVm, job)), job);
  requireOwned(yield* insist(context, () => call(context, activities.awaitCleanUp, job)), job);
}

const notApplied: WorkflowFailure = {
  code: 'US4017',
  message: `what was received when the test failover began was not applied within ${applyTimeoutSeconds / 60} minutes`,
  possibleCauses: 'Applying fails or is behind; the item’s health says why.',
  recommendedAction: 'Mend what the item’s health names, or test another recovery point, for example LatestProcessed.',
  retry: 'never',
};

/** Deletes the test VM and what belongs to it; with that the test has succeeded. */
export const testFailoverCleanUp = orchestrator<TestFailoverCleanUpInput, { succeeded: boolean }>(
  workflowNames.testFailoverCleanUp,
  function* (context, input) {
    const { vaultId, itemId, protectionId, jobName, comments } = input;
    const job = { vaultId, itemId, protectionId, jobName };
    try {
      yield* startTask(context, job, 'VmTfoCleanupPreflightsCheck');
      yield* startTask(context, job, 'VmTfoEndFailover');
      yield* startTask(context, job, 'VmTfoDeleteTestVm');
      requireOwned(yield* insist(context, () => call(context, activities.cleanUpTest, { ...job, comments })), job);
    } catch (error) {
      const failures = failuresOf(error);
      yield* insist(context, () => call(context, activities.giveUpCleanUp, job));
      return yield* concludeAlone(context, job, failures);
    }
    return yield* concludeAlone(context, job, []);
  },
);
