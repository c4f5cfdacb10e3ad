import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import type { RelayId } from '../core/domain/ids.js';
import type { CommandResult, RelayCommand } from '../core/domain/relay-protocol/wire.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { lookUntil } from './doorbell.js';
import { JobFailedError, supersededError } from './job.js';
import { call, insist, type Steps } from './orchestrator.js';

/** Gives the relay an order and waits for its answer; throws what the relay said, or that it said nothing. */
export function* orderRelay(
  context: OrchestrationContext,
  input: JobWorkflowInput,
  command: Exclude<RelayCommand['kind'], 'runScript'>,
  timeoutSeconds: number,
): Steps<Extract<CommandResult, { kind: 'succeeded' }>> {
  const { vaultId, itemId, protectionId, jobName } = input;
  const commandId = `${jobName}-${command}`;
  const sent = yield* insist(context, () =>
    call(context, activities.sendRelayCommand, {
      vaultId,
      itemId,
      protectionId,
      command,
      commandId,
      instanceId: context.df.instanceId,
    }),
  );
  if (sent.kind === 'superseded') throw supersededError(input);
  const result = yield* awaitCommand(context, { relayId: sent.relayId, commandId }, timeoutSeconds);
  if (result === undefined) throw new JobFailedError([noAnswer(command, timeoutSeconds)]);
  if (result.kind === 'failed') {
    const { code, message, possibleCauses, recommendedAction } = result;
    throw new JobFailedError([{ code, message, possibleCauses, recommendedAction, retry: 'never' }]);
  }
  return result;
}

/** The relay's answer to an order that was sent, which is over then; undefined where there is none in time. */
export function* awaitCommand(
  context: OrchestrationContext,
  order: { relayId: RelayId; commandId: string },
  timeoutSeconds: number,
): Steps<CommandResult | undefined> {
  const result = yield* lookUntil(
    context,
    function* () {
      const answer = yield* insist(context, () => call(context, activities.readCommandResult, order));
      return answer.result ?? undefined;
    },
    timeoutSeconds,
  );
  yield* insist(context, () => call(context, activities.dropRelayCommand, order));
  return result;
}

const noAnswer = (command: string, timeoutSeconds: number): WorkflowFailure => ({
  code: 'US3022',
  message: `the relay did not carry out ${command} within ${timeoutSeconds} s`,
  possibleCauses: 'The relay is stopped, its machine is down, or the line between the site and Azure is cut.',
  recommendedAction: 'See that the relay runs and reaches the app by HTTPS, then try again.',
  retry: 'never',
});
