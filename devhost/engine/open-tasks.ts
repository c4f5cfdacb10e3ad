import { eventTypes } from './history.js';
import type { HistoryEvent, ScheduledEvent } from './history.js';
import { isFinal } from './store.js';
import type { OrchestrationHead } from './store.js';

/** Work that was scheduled and has no result yet, by sequence id: what a start of the host has to take up again. */
export function openTasksOf(events: readonly HistoryEvent[], head: OrchestrationHead): Map<number, ScheduledEvent> {
  const open = new Map<number, ScheduledEvent>();
  if (isFinal(head.status)) return open;
  applyToOpenTasks(open, events);
  for (const id of head.cancelledTimerIds) open.delete(id);
  return open;
}

export function applyToOpenTasks(open: Map<number, ScheduledEvent>, events: readonly HistoryEvent[]): void {
  for (const event of events) {
    switch (event.EventType) {
      case eventTypes.taskScheduled:
      case eventTypes.subOrchestrationCreated:
      case eventTypes.timerCreated:
        open.set(event.EventId, event);
        break;
      case eventTypes.taskCompleted:
      case eventTypes.taskFailed:
      case eventTypes.subOrchestrationCompleted:
      case eventTypes.subOrchestrationFailed:
        open.delete(event.TaskScheduledId);
        break;
      case eventTypes.timerFired:
        open.delete(event.TimerId);
        break;
      default:
        break;
    }
  }
}
