import { z } from 'zod';
import { eventTypes, historyTime } from './history.js';
import type { HistoryEvent } from './history.js';

/** What can happen to an orchestration between two turns. Results name the execution and task they belong to. */
export const message = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('taskCompleted'),
    executionId: z.string(),
    taskId: z.number(),
    result: z.string().nullable(),
  }),
  z.object({
    kind: z.literal('taskFailed'),
    executionId: z.string(),
    taskId: z.number(),
    reason: z.string(),
    details: z.string(),
  }),
  z.object({
    kind: z.literal('childCompleted'),
    executionId: z.string(),
    taskId: z.number(),
    result: z.string().nullable(),
  }),
  z.object({ kind: z.literal('childFailed'), executionId: z.string(), taskId: z.number(), reason: z.string() }),
  z.object({ kind: z.literal('timerFired'), executionId: z.string(), timerId: z.number(), fireAt: z.string() }),
  z.object({
    kind: z.literal('entityReplied'),
    executionId: z.string(),
    requestId: z.string(),
    /** JSON text of the reply's envelope: `result` and, after an error, `exceptionType`. */
    reply: z.string(),
  }),
  z.object({ kind: z.literal('eventRaised'), id: z.string(), name: z.string(), input: z.string().nullable() }),
  z.object({ kind: z.literal('terminate'), id: z.string(), reason: z.string() }),
  z.object({ kind: z.literal('suspend'), id: z.string(), reason: z.string() }),
  z.object({ kind: z.literal('resume'), id: z.string(), reason: z.string() }),
]);
export type Message = z.infer<typeof message>;

/** A message in an instance's mailbox. */
export interface Envelope {
  message: Message;
  /** Key of its inbox row, where it has one. */
  inboxKey?: string;
  /** Told once the message is durable: in a committed turn or in an inbox row. */
  onDurable?: { resolve: () => void; reject: (error: Error) => void };
}

/** Id by which a repeated client message is known again; results are known by their task. */
export function clientMessageId(it: Message): string | undefined {
  return 'id' in it ? it.id : undefined;
}

export function toHistoryEvent(it: Message, atMs: number): HistoryEvent {
  const base = { EventId: -1, IsPlayed: false, Timestamp: historyTime(atMs) };
  switch (it.kind) {
    case 'taskCompleted':
      return { ...base, EventType: eventTypes.taskCompleted, TaskScheduledId: it.taskId, Result: it.result };
    case 'taskFailed':
      return {
        ...base,
        EventType: eventTypes.taskFailed,
        TaskScheduledId: it.taskId,
        Reason: it.reason,
        Details: it.details,
        FailureDetails: null,
      };
    case 'childCompleted':
      return {
        ...base,
        EventType: eventTypes.subOrchestrationCompleted,
        TaskScheduledId: it.taskId,
        Result: it.result,
      };
    case 'childFailed':
      return {
        ...base,
        EventType: eventTypes.subOrchestrationFailed,
        TaskScheduledId: it.taskId,
        Reason: it.reason,
        Details: '',
        FailureDetails: null,
      };
    case 'timerFired':
      return { ...base, EventType: eventTypes.timerFired, TimerId: it.timerId, FireAt: it.fireAt };
    case 'entityReplied':
      return { ...base, EventType: eventTypes.eventRaised, Name: it.requestId, Input: it.reply };
    case 'eventRaised':
      return { ...base, EventType: eventTypes.eventRaised, Name: it.name, Input: it.input };
    case 'terminate':
      return { ...base, EventType: eventTypes.executionTerminated, Input: it.reason };
    case 'suspend':
      return { ...base, EventType: eventTypes.executionSuspended, Reason: it.reason };
    case 'resume':
      return { ...base, EventType: eventTypes.executionResumed, Reason: it.reason };
  }
}
