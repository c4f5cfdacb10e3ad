import type { InvocationOutcome } from '../contract.js';
import type { TaskScheduled } from './history.js';
import type { Message } from './messages.js';
import { httpActivityName } from './replay.js';
import type { EngineServices } from './services.js';
import { findFunction } from './turn.js';
import { activityInput, failureDetails, payloadMaxBytes, payloadWarnBytes, resultJson } from './typed-data.js';

/**
 * Runs an activity function and says how it ended. Rejects only where the worker could not run it at all.
 * Activities run at least once: after a crash, and with `activitiesTwice`, they run again.
 */
export async function runActivity(
  services: EngineServices,
  instanceId: string,
  executionId: string,
  task: TaskScheduled,
): Promise<Message> {
  const failed = (message: string, details: string): Message => ({
    kind: 'taskFailed',
    executionId,
    taskId: task.EventId,
    reason: `Activity function '${task.Name}' failed: ${message}`,
    details,
  });
  if (task.Name === httpActivityName) {
    return failed('callHttp is not supported by this host: make the call in an activity', '');
  }
  const registered = findFunction(services.worker, task.Name);
  if (registered?.trigger !== 'activity') {
    return failed(`The function '${task.Name}' doesn't exist, is disabled, or is not an activity function.`, '');
  }
  const invoke = () =>
    services.worker.invoke({
      functionName: registered.name,
      inputData: [
        { name: registered.triggerBinding.name, data: activityInput(task.Input, services.modes.strictTypes) },
      ],
      triggerMetadata: { instanceId: { string: instanceId } },
    });
  const outcome = await invoke();
  if (services.modes.activitiesTwice) {
    const second = await invoke();
    if (summary(outcome) !== summary(second)) {
      services.log.error('an activity run twice gave two outcomes', {
        activity: task.Name,
        instanceId,
        first: summary(outcome),
        second: summary(second),
      });
    }
  }
  if (outcome.kind === 'threw') return failed(outcome.error.message, failureDetails(outcome.error));
  const result = resultJson(outcome.returnValue);
  const bytes = result === null ? 0 : Buffer.byteLength(result);
  if (bytes > payloadMaxBytes) {
    return failed(`its result has ${bytes} bytes; at most ${payloadMaxBytes} are allowed`, '');
  }
  if (bytes > payloadWarnBytes) {
    services.log.warn('a large activity result: pass a reference instead', { activity: task.Name, instanceId, bytes });
  }
  return { kind: 'taskCompleted', executionId, taskId: task.EventId, result };
}

function summary(outcome: InvocationOutcome): string {
  return outcome.kind === 'threw' ? `error: ${outcome.error.message}` : (resultJson(outcome.returnValue) ?? 'null');
}
