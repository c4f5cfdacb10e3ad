/**
 * Durable Functions history events as the real extension hands them to the JavaScript library: numbers for kinds,
 * PascalCase for properties. `EventId` is the sequence id of scheduled work and -1 elsewhere.
 */
export const eventTypes = {
  executionStarted: 0,
  executionCompleted: 1,
  executionTerminated: 3,
  taskScheduled: 4,
  taskCompleted: 5,
  taskFailed: 6,
  subOrchestrationCreated: 7,
  subOrchestrationCompleted: 8,
  subOrchestrationFailed: 9,
  timerCreated: 10,
  timerFired: 11,
  orchestratorStarted: 12,
  orchestratorCompleted: 13,
  eventSent: 14,
  eventRaised: 15,
  continueAsNew: 16,
  executionSuspended: 19,
  executionResumed: 20,
} as const;

interface EventBase {
  EventId: number;
  IsPlayed: boolean;
  Timestamp: string;
}

export interface ParentInstance {
  TaskScheduleId: number;
  Name: string;
  OrchestrationInstance: { InstanceId: string; ExecutionId: string };
}

export type TaskScheduled = EventBase & { EventType: 4; Name: string; Version: string; Input: string | null };
export type SubOrchestrationCreated = EventBase & {
  EventType: 7;
  Name: string;
  Version: string;
  InstanceId: string;
  Input: string | null;
};
export type TimerCreated = EventBase & { EventType: 10; FireAt: string };
export type EventSent = EventBase & { EventType: 14; InstanceId: string; Name: string; Input: string };

/** Work that an orchestrator asked for; the engine carries it out after the turn is committed. */
export type ScheduledEvent = TaskScheduled | SubOrchestrationCreated | TimerCreated | EventSent;

export type HistoryEvent =
  | (EventBase & {
      EventType: 0;
      OrchestrationInstance: { InstanceId: string; ExecutionId: string };
      ParentInstance: ParentInstance | null;
      Name: string;
      Version: string;
      /** The input stands in the instance's state, not here. */
      Input: null;
      Tags: null;
    })
  | (EventBase & { EventType: 1; OrchestrationStatus: number; Result: string | null })
  | (EventBase & { EventType: 3; Input: string })
  | ScheduledEvent
  | (EventBase & { EventType: 5 | 8; TaskScheduledId: number; Result: string | null })
  | (EventBase & { EventType: 6 | 9; TaskScheduledId: number; Reason: string; Details: string; FailureDetails: null })
  | (EventBase & { EventType: 11; TimerId: number; FireAt: string })
  | (EventBase & { EventType: 12 | 13 })
  | (EventBase & { EventType: 15; Name: string; Input: string | null })
  | (EventBase & { EventType: 16; Result: string | null })
  | (EventBase & { EventType: 19 | 20; Reason: string });

/** The extension writes times with seven fractional digits. */
export function historyTime(atMs: number): string {
  return new Date(atMs).toISOString().replace('Z', '0000Z');
}

export function parseHistoryTime(text: string): number {
  return Date.parse(text.replace(/(\.\d{3})\d*Z$/, '$1Z'));
}

/** The events of one turn, comma-separated without brackets: turns are joined to a whole history without parsing. */
export function turnText(events: readonly HistoryEvent[], isPlayed: boolean): string {
  return events.map((event) => JSON.stringify({ ...event, IsPlayed: isPlayed })).join(',');
}

export function parseTurn(text: string): HistoryEvent[] {
  return JSON.parse(`[${text}]`) as HistoryEvent[];
}
