import { eventTypes } from './history.js';
import type { HistoryEvent } from './history.js';
import type { OrchestrationHead } from './store.js';

/** The status document of the HTTP API. Times have a precision of seconds there. */
export function statusDocument(
  head: OrchestrationHead,
  options: { showInput: boolean; history?: { events: readonly HistoryEvent[]; showOutput: boolean } },
): Record<string, unknown> {
  return {
    name: head.name,
    instanceId: head.instanceId,
    runtimeStatus: head.status,
    input: options.showInput ? parseOrNull(head.input) : null,
    customStatus: parseOrNull(head.customStatus),
    output: parseOrNull(head.output),
    createdTime: secondTime(head.createdAtMs),
    lastUpdatedTime: secondTime(head.updatedAtMs),
    ...(options.history === undefined
      ? {}
      : { historyEvents: statusHistory(head, options.history.events, options.history.showOutput, options.showInput) }),
  };
}

export function parseOrNull(json: string | null): unknown {
  return json === null ? null : JSON.parse(json);
}

function secondTime(atMs: number): string {
  return new Date(atMs).toISOString().replace(/\.\d{3}Z$/, 'Z');
}

const orchestrationStatusNames: Record<number, string> = { 1: 'Completed', 3: 'Failed', 5: 'Terminated' };

/**
 * History as the real extension serves it: kinds as words, the start of a task merged into its end, turn marks and
 * ids left out.
 */
function statusHistory(
  head: OrchestrationHead,
  events: readonly HistoryEvent[],
  showOutput: boolean,
  showInput: boolean,
): Record<string, unknown>[] {
  const scheduled = new Map<number, Record<string, unknown> & { name: string; at: string }>();
  const shown: (Record<string, unknown> | undefined)[] = [];
  for (const event of events) {
    const at = { Timestamp: event.Timestamp };
    switch (event.EventType) {
      case eventTypes.orchestratorStarted:
      case eventTypes.orchestratorCompleted:
        break;
      case eventTypes.executionStarted:
        shown.push({
          EventType: 'ExecutionStarted',
          Correlation: null,
          ...(showInput ? { Input: parseOrNull(head.input) } : {}),
          ScheduledStartTime: null,
          ...at,
          FunctionName: event.Name,
        });
        break;
      case eventTypes.taskScheduled:
      case eventTypes.subOrchestrationCreated: {
        const entry = {
          name: event.Name,
          at: event.Timestamp,
          EventType: event.EventType === eventTypes.taskScheduled ? 'TaskScheduled' : 'SubOrchestrationInstanceCreated',
          ...(event.EventType === eventTypes.subOrchestrationCreated ? { InstanceId: event.InstanceId } : {}),
        };
        scheduled.set(event.EventId, entry);
        shown.push(entry);
        break;
      }
      case eventTypes.taskCompleted:
      case eventTypes.taskFailed:
      case eventTypes.subOrchestrationCompleted:
      case eventTypes.subOrchestrationFailed: {
        const start = scheduled.get(event.TaskScheduledId);
        if (start !== undefined) shown[shown.indexOf(start)] = undefined;
        const isTask = event.EventType === eventTypes.taskCompleted || event.EventType === eventTypes.taskFailed;
        const kind = isTask ? 'Task' : 'SubOrchestrationInstance';
        shown.push({
          EventType: `${kind}${'Reason' in event ? 'Failed' : 'Completed'}`,
          ...('Reason' in event ? { Reason: event.Reason, Details: event.Details } : {}),
          ...('Result' in event && showOutput ? { Result: parseOrNull(event.Result) } : {}),
          ...at,
          ...(start === undefined ? {} : { ScheduledTime: start.at, FunctionName: start.name }),
          ...(start?.InstanceId === undefined ? {} : { InstanceId: start.InstanceId }),
        });
        break;
      }
      case eventTypes.timerCreated:
        shown.push({ EventType: 'TimerCreated', ...at, FireAt: event.FireAt });
        break;
      case eventTypes.timerFired:
        shown.push({ EventType: 'TimerFired', ...at, FireAt: event.FireAt });
        break;
      case eventTypes.eventRaised:
        shown.push({ EventType: 'EventRaised', ...at, Name: event.Name, ...(showInput ? { Input: event.Input } : {}) });
        break;
      case eventTypes.eventSent:
        shown.push({ EventType: 'EventSent', ...at, Name: event.Name, InstanceId: event.InstanceId });
        break;
      case eventTypes.executionCompleted:
        shown.push({
          EventType: 'ExecutionCompleted',
          OrchestrationStatus: orchestrationStatusNames[event.OrchestrationStatus],
          ...(showOutput ? { Result: parseOrNull(head.output) } : {}),
          ...at,
        });
        break;
      case eventTypes.executionTerminated:
        shown.push({ EventType: 'ExecutionTerminated', Input: event.Input, ...at });
        break;
      case eventTypes.executionSuspended:
        shown.push({ EventType: 'ExecutionSuspended', Reason: event.Reason, ...at });
        break;
      case eventTypes.executionResumed:
        shown.push({ EventType: 'ExecutionResumed', Reason: event.Reason, ...at });
        break;
      case eventTypes.continueAsNew:
        shown.push({ EventType: 'ContinueAsNew', ...at });
        break;
    }
  }
  return shown.flatMap((entry) => {
    if (entry === undefined) return [];
    if (typeof entry.name !== 'string') return [entry];
    const { name, at, ...rest } = entry;
    return [{ ...rest, Timestamp: at, FunctionName: name }];
  });
}
