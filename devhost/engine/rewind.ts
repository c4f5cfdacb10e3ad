import { eventTypes } from './history.js';
import type { HistoryEvent } from './history.js';

/**
 * The history of a failed orchestration as if its last failures had not happened, to be run on from there. What
 * failed and was dealt with by the orchestrator stays: only failures after which it scheduled nothing more go.
 */
export function rewindHistory(events: readonly HistoryEvent[]): {
  events: HistoryEvent[];
  /** Sub-orchestrations that failed and must run again themselves. */
  failedChildIds: string[];
} {
  const turns = splitTurns(events);
  const removed = new Set<HistoryEvent>();
  const failedChildIds: string[] = [];
  const scheduledById = new Map<number, HistoryEvent>();
  for (const event of events) if (isScheduled(event)) scheduledById.set(event.EventId, event);
  for (let index = turns.length - 1; index >= 0; index--) {
    const turn = turns[index] ?? [];
    const startedAt = turn[0]?.Timestamp;
    const scheduled = turn.filter(isScheduled);
    // The framework's timer after the last attempt of a retry fires at the instant at which it is made.
    const afterRetry = scheduled.filter(
      (event) => event.EventType === eventTypes.timerCreated && event.FireAt === startedAt,
    );
    const failures = turn.filter((event) => 'FailureDetails' in event);
    const goesOn = scheduled.length > afterRetry.length || (afterRetry.length > 0 && failures.length === 0);
    if (goesOn) break;
    for (const failure of failures) {
      removed.add(failure);
      const cause = scheduledById.get(failure.TaskScheduledId);
      if (cause?.EventType === eventTypes.taskScheduled) removed.add(cause);
      if (cause?.EventType === eventTypes.subOrchestrationCreated) failedChildIds.push(cause.InstanceId);
    }
    for (const timer of afterRetry) {
      removed.add(timer);
      for (const event of events) {
        if (event.EventType === eventTypes.timerFired && event.TimerId === timer.EventId) removed.add(event);
      }
    }
  }
  for (const event of events) if (event.EventType === eventTypes.executionCompleted) removed.add(event);
  return { events: events.filter((event) => !removed.has(event)), failedChildIds };
}

function splitTurns(events: readonly HistoryEvent[]): HistoryEvent[][] {
  const turns: HistoryEvent[][] = [];
  for (const event of events) {
    if (event.EventType === eventTypes.orchestratorStarted || turns.length === 0) turns.push([]);
    turns.at(-1)?.push(event);
  }
  return turns;
}

function isScheduled(event: HistoryEvent) {
  return (
    event.EventType === eventTypes.taskScheduled ||
    event.EventType === eventTypes.subOrchestrationCreated ||
    event.EventType === eventTypes.timerCreated ||
    event.EventType === eventTypes.eventSent
  );
}
