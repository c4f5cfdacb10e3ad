import { activities } from '../activities/contract.js';
import { cancelledByOperator } from '../core/domain/failover/failback-failures.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import { workflowNames, type EnableProtectionInput } from '../core/domain/workflows/workflows.js';
import type { OrchestrationContext } from 'durable-functions';
import { lookUntil } from './doorbell.js';
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
import { call, insist, orchestrator, sleep, type Steps } from './orchestrator.js';
import { orderRelay } from './relay-command.js';

/** How long the relay may take for the relationship, and for logs and checkpoint. */
const relationshipTimeoutSeconds = 10 * 60;
const startTimeoutSeconds = 30 * 60;
/** Best effort, after a failure: the site may be out of reach. */
const undoTimeoutSeconds = 60;

/** Enables protection; ends when initial replication has started, which then runs by itself. */
export const enableProtection = orchestrator<EnableProtectionInput, { succeeded: boolean }>(
  workflowNames.enableProtection,
  function* (context, input) {
    try {
      yield* enable(context, input);
    } catch (error) {
      return yield* fail(context, input, failuresOf(error), endedHow(error));
    }
    return yield* conclude(context, input, [], 'protectionEnabled');
  },
);

function* enable(context: OrchestrationContext, input: EnableProtectionInput): Steps<void> {
  const { vaultId, itemId, protectionId } = input;
  const item = { vaultId, itemId, protectionId };

  yield* startTask(context, input, 'EnableProtectionPrerequisitesCheck');
  require(yield* insist(context, () => call(context, activities.evaluatePrerequisites, input)));

  yield* endIfCancelled(context, input);
  yield* startTask(context, input, 'CreateProtectionTarget');
  requireOwned(yield* insist(context, () => call(context, activities.identifyTarget, input)), input);
  requireOwned(yield* insist(context, () => call(context, activities.createReplicaDisks, item)), input);

  yield* endIfCancelled(context, input);
  yield* startTask(context, input, 'EnableProtection');
  yield* orderRelay(context, input, 'createReplicationRelationship', relationshipTimeoutSeconds);

  yield* startTask(context, input, 'VmStartInitialReplication');
  yield* untilStart(context, input);
  const start = yield* lookUntil(
    context,
    function* () {
      yield* endIfCancelled(context, input);
      const found = yield* insist(context, () => call(context, activities.readInitialReplicationStart, item));
      return found.kind === 'waiting' ? undefined : found.kind;
    },
    startTimeoutSeconds,
  );
  if (start === undefined) throw new JobFailedError([notStarted]);
  requireOwned({ kind: start === 'started' ? 'done' : 'superseded' }, input);

  yield* startTask(context, input, 'UpdateDraState');
}

/** A policy may name the time of day; the policy of then counts. */
function* untilStart(context: OrchestrationContext, input: EnableProtectionInput): Steps<void> {
  const { vaultId, itemId, protectionId } = input;
  for (;;) {
    yield* endIfCancelled(context, input);
    const started = yield* insist(context, () =>
      call(context, activities.startInitialReplication, { vaultId, itemId, protectionId }),
    );
    if (started.kind !== 'scheduled') return requireOwned(started, input);
    yield* sleep(context, Math.min(started.waitSeconds, startLookSeconds));
  }
}

function* endIfCancelled(context: OrchestrationContext, { vaultId, jobName }: EnableProtectionInput): Steps<void> {
  const { kind } = yield* insist(context, () => call(context, activities.readCompletion, { vaultId, jobName }));
  if (kind === 'cancelled') throw new JobCancelledError([cancelledByOperator]);
}
/** Between looks at the policy and at the operator's wish, while the time of day is waited for. */
const startLookSeconds = 10 * 60;

const notStarted: WorkflowFailure = {
  code: 'US3023',
  message: `the relay did not start initial replication within ${startTimeoutSeconds / 60} minutes`,
  possibleCauses:
    'The host could not make a checkpoint or open its change logs, for example for lack of space, or the relay is stopped.',
  recommendedAction: 'See the relay’s log, free space beside the virtual disks, then enable protection again.',
  retry: 'never',
};

function* fail(
  context: OrchestrationContext,
  input: EnableProtectionInput,
  failures: WorkflowFailure[],
  how: 'failed' | 'cancelled',
): Steps<{ succeeded: boolean }> {
  const { vaultId, itemId, protectionId } = input;
  const undo = yield* insist(context, () =>
    call(context, activities.undoEnableProtection, { vaultId, itemId, protectionId }),
  );
  // It started at the last moment, after we had given up: then all is well.
  if (undo.kind === 'started') return yield* conclude(context, input, [], 'protectionEnabled');
  if (failures.some(({ code }) => !code.startsWith('US31'))) {
    try {
      yield* orderRelay(context, input, 'removeReplicationRelationship', undoTimeoutSeconds);
    } catch (error) {
      failures.push(...failuresOf(error));
    }
  }
  return yield* conclude(context, input, failures, 'enablingFailed', how);
}
