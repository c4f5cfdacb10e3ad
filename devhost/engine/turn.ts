import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Worker } from '../contract.js';
import { parseOrchestratorState } from './actions.js';
import type { OrchestratorState } from './actions.js';
import { eventTypes, historyTime, parseHistoryTime, turnText } from './history.js';
import type { HistoryEvent, ScheduledEvent } from './history.js';
import { clientMessageId, toHistoryEvent } from './messages.js';
import type { Envelope } from './messages.js';
import { longTimerSegmentDays, maximumShortTimerDays, replay } from './replay.js';
import { isFinal } from './store.js';
import type { EntityRequest, OrchestrationHead } from './store.js';
import { customStatusMaxBytes, payloadMaxBytes, payloadWarnBytes, stateDocument } from './typed-data.js';

/** A committed execution, as a turn needs it. */
export interface Execution {
  head: OrchestrationHead;
  turns: readonly string[];
  events: readonly HistoryEvent[];
  /** Tasks without a result, by sequence id. */
  openTasks: ReadonlyMap<number, ScheduledEvent>;
}

export interface TurnPlan {
  head: OrchestrationHead;
  /** Empty where nothing is to be committed. */
  events: HistoryEvent[];
  consumed: Envelope[];
  /** Held back because the instance is suspended. */
  held: Envelope[];
  warnings: string[];
}

/** The worker could not run the function at all; the turn is given up and tried again. */
export class WorkerFailure extends Error {
  override readonly name = 'WorkerFailure';
}

const completionStatus = { Completed: 1, Failed: 3, Terminated: 5 } as const;

/** Runs one turn of an orchestration; changes nothing outside its answer. */
export async function planTurn(
  execution: Execution,
  mailbox: readonly Envelope[],
  nowMs: number,
  worker: Worker,
): Promise<TurnPlan> {
  // A machine's timer may fire a moment before its time by the clock: the turn is not before it, else the timer would count as open.
  const firedMs = mailbox.flatMap(({ message }) =>
    message.kind === 'timerFired' ? [parseHistoryTime(message.fireAt)] : [],
  );
  const turn = new Turn(execution, Math.max(nowMs, ...firedMs));
  turn.take(mailbox);
  if (turn.mustRun) await turn.run(worker);
  return turn.plan();
}

class Turn {
  readonly #execution: Execution;
  readonly #nowMs: number;
  readonly #events: HistoryEvent[] = [];
  readonly #consumed: Envelope[] = [];
  readonly #held: Envelope[] = [];
  readonly #warnings: string[] = [];
  readonly #answered = new Set<number>();
  #head: OrchestrationHead;
  mustRun = false;

  constructor(execution: Execution, nowMs: number) {
    this.#execution = execution;
    this.#nowMs = nowMs;
    this.#head = { ...execution.head, updatedAtMs: nowMs, recentMessageIds: [], rewound: false };
    if (execution.head.rewound) this.mustRun = true;
    if (execution.head.turnCount === 0) {
      this.#begin();
      this.mustRun = true;
    }
  }

  #base() {
    return { EventId: -1, IsPlayed: false, Timestamp: historyTime(this.#nowMs) };
  }

  #begin(): void {
    const { instanceId, executionId, name, version, parent } = this.#head;
    this.#events.push({
      ...this.#base(),
      EventType: eventTypes.executionStarted,
      OrchestrationInstance: { InstanceId: instanceId, ExecutionId: executionId },
      ParentInstance:
        parent === null
          ? null
          : {
              TaskScheduleId: parent.taskId,
              Name: parent.name,
              OrchestrationInstance: { InstanceId: parent.instanceId, ExecutionId: parent.executionId },
            },
      Name: name,
      Version: version,
      Input: null,
      Tags: null,
    });
    this.#head.status = 'Running';
  }

  take(mailbox: readonly Envelope[]): void {
    for (const envelope of mailbox) {
      const { message } = envelope;
      if (isFinal(this.#head.status)) {
        this.#consumed.push(envelope);
        continue;
      }
      if (this.#isRepeat(envelope)) {
        this.#consumed.push(envelope);
        continue;
      }
      const isControl = message.kind === 'terminate' || message.kind === 'suspend' || message.kind === 'resume';
      if (this.#head.status === 'Suspended' && !isControl) {
        this.#held.push(envelope);
        continue;
      }
      this.#markAnswered(envelope);
      this.#consumed.push(envelope);
      const id = clientMessageId(message);
      if (id !== undefined) this.#head.recentMessageIds.push(id);
      if (message.kind === 'suspend' && this.#head.status === 'Suspended') continue;
      if (message.kind === 'resume' && this.#head.status !== 'Suspended') continue;
      this.#events.push(toHistoryEvent(message, this.#nowMs));
      if (message.kind === 'terminate') {
        this.#head.status = 'Terminated';
        this.#head.output = JSON.stringify(message.reason);
        this.#head.outbox = this.#head.outbox.filter((request) => request.isSignal);
        this.mustRun = false;
      } else if (message.kind === 'suspend') {
        this.#head.status = 'Suspended';
      } else if (message.kind === 'resume') {
        this.#head.status = 'Running';
      } else {
        this.mustRun = true;
      }
    }
  }

  /** Results of tasks that are not open (any more) and client messages that the last commit took are repeats. */
  #isRepeat({ message }: Envelope): boolean {
    const { head, openTasks } = this.#execution;
    if (!('executionId' in message)) return head.recentMessageIds.includes(message.id);
    if (message.executionId !== head.executionId) return true;
    if (message.kind === 'entityReplied') {
      return !this.#head.outbox.some((request) => request.requestId === message.requestId);
    }
    const taskId = message.kind === 'timerFired' ? message.timerId : message.taskId;
    return !openTasks.has(taskId) || this.#answered.has(taskId);
  }

  #markAnswered({ message }: Envelope): void {
    if (message.kind === 'entityReplied') {
      this.#head.outbox = this.#head.outbox.filter((request) => request.requestId !== message.requestId);
    } else if (message.kind === 'timerFired') this.#answered.add(message.timerId);
    else if ('taskId' in message) this.#answered.add(message.taskId);
  }

  async run(worker: Worker): Promise<void> {
    const { head, events, turns } = this.#execution;
    const started: HistoryEvent = { ...this.#base(), EventType: eventTypes.orchestratorStarted };
    this.#events.unshift(started);
    const answer = await this.#callWorker(worker, [...turns, turnText(this.#events, false)].join(','));
    if ('failure' in answer) {
      this.#complete('Failed', JSON.stringify(failureText(head.name, answer.failure)));
      return;
    }
    const outcome = replay([...events, ...this.#events], answer.actions, head.executionId, head.instanceId, randomUUID);
    this.#warnings.push(...outcome.warnings);
    const problem = outcome.nonDeterminism ?? this.#payloadProblem(answer, outcome.newEvents);
    if (problem !== undefined) {
      this.#complete('Failed', JSON.stringify(failureText(head.name, problem)));
      return;
    }
    if (answer.customStatus !== undefined) this.#head.customStatus = answer.customStatus;
    this.#head.cancelledTimerIds = outcome.cancelledTimerIds;
    this.#events.push(...outcome.newEvents);
    this.#head.outbox = [...this.#head.outbox, ...entityRequests(outcome.newEvents)];
    // A function that is done keeps its instance until all it listed is done, open timers included.
    const isSettled = outcome.finished && outcome.openTaskCount === 0;
    if (!isSettled) return;
    if (answer.error !== undefined) {
      this.#complete('Failed', JSON.stringify(failureText(head.name, answer.error)));
    } else if (outcome.continueAsNewInput !== undefined && answer.isDone) {
      this.#continueAsNew(outcome.continueAsNewInput.json);
    } else if (answer.isDone) {
      this.#complete('Completed', answer.output);
    }
  }

  async #callWorker(worker: Worker, historyText: string): Promise<OrchestratorState | { failure: string }> {
    const { head, turns } = this.#execution;
    const registered = findFunction(worker, head.name);
    if (registered?.trigger !== 'orchestration') {
      throw new WorkerFailure(`there is no orchestrator function '${head.name}' in this app`);
    }
    const binding =
      `{"history":[${historyText}],"input":${head.input ?? 'null'},` +
      JSON.stringify({
        instanceId: head.instanceId,
        isReplaying: turns.length > 0,
        parentInstanceId: head.parent?.instanceId ?? null,
        upperSchemaVersion: 1,
        upperSchemaVersionNew: 2,
        longRunningTimerIntervalDuration: `${longTimerSegmentDays}.00:00:00`,
        maximumShortTimerDuration: `${maximumShortTimerDays}.00:00:00`,
        // The library expects this very spelling.
        defaultHttpAsyncRequestSleepTimeMillseconds: 30_000,
      }).slice(1);
    let outcome;
    try {
      outcome = await worker.invoke({
        functionName: registered.name,
        inputData: [{ name: registered.triggerBinding.name, data: { string: binding } }],
        triggerMetadata: {},
      });
    } catch (error) {
      throw new WorkerFailure(`orchestrator function '${head.name}' could not be run`, { cause: error });
    }
    const document = stateDocument(outcome);
    if ('failure' in document) return document;
    try {
      const state = parseOrchestratorState(document.json);
      // An error without a message is left out of the document.
      return outcome.kind === 'threw' ? { ...state, error: state.error ?? '' } : state;
    } catch (error) {
      const reason = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
      return { failure: `the orchestrator's answer is not understood: ${reason}` };
    }
  }

  #payloadProblem(answer: OrchestratorState, newEvents: readonly ScheduledEvent[]): string | undefined {
    const customStatusBytes = 2 * (answer.customStatus?.length ?? 0);
    if (customStatusBytes > customStatusMaxBytes) {
      return `The custom status has ${customStatusBytes} bytes of UTF-16; at most ${customStatusMaxBytes} are allowed.`;
    }
    const payloads: [string, string | null][] = [['its output', answer.output]];
    for (const event of newEvents) {
      if (event.EventType === eventTypes.taskScheduled) payloads.push([`the input of '${event.Name}'`, event.Input]);
      if (event.EventType === eventTypes.subOrchestrationCreated) {
        payloads.push([`the input of '${event.Name}'`, event.Input]);
      }
    }
    for (const [what, payload] of payloads) {
      const bytes = payload === null ? 0 : Buffer.byteLength(payload);
      if (bytes > payloadMaxBytes) return `${what} has ${bytes} bytes; at most ${payloadMaxBytes} are allowed.`;
      if (bytes > payloadWarnBytes) this.#warnings.push(`${what} has ${bytes} bytes: pass a reference instead`);
    }
    return undefined;
  }

  #complete(status: 'Completed' | 'Failed', output: string | null): void {
    this.#head.status = status;
    this.#head.output = output;
    this.#head.outbox = this.#head.outbox.filter((request) => request.isSignal);
    this.#head.cancelledTimerIds = [];
    this.#events.push({
      ...this.#base(),
      EventType: eventTypes.executionCompleted,
      OrchestrationStatus: completionStatus[status],
      Result: null,
    });
  }

  #continueAsNew(input: string | null): void {
    this.#head.executionId = randomUUID().replaceAll('-', '');
    this.#head.input = input;
    this.#head.output = null;
    this.#head.turnCount = 0;
    this.#head.cancelledTimerIds = [];
    this.#events.length = 0;
  }

  plan(): TurnPlan {
    const isNewExecution = this.#head.executionId !== this.#execution.head.executionId;
    if (this.#events.length > 0) {
      this.#events.push({ ...this.#base(), EventType: eventTypes.orchestratorCompleted });
      if (this.#events[0]?.EventType !== eventTypes.orchestratorStarted) {
        this.#events.unshift({ ...this.#base(), EventType: eventTypes.orchestratorStarted });
      }
      this.#head.turnCount = this.#execution.head.turnCount + 1;
    }
    const isChanged = this.#events.length > 0 || isNewExecution;
    return {
      head: isChanged ? this.#head : { ...this.#execution.head, recentMessageIds: this.#head.recentMessageIds },
      events: this.#events,
      consumed: this.#consumed,
      held: this.#held,
      warnings: this.#warnings,
    };
  }
}

export function failureText(name: string, message: string): string {
  return `Orchestrator function '${name}' failed: ${message}`;
}

/** The real host finds functions without regard to case. */
export function findFunction(worker: Worker, name: string) {
  const exact = worker.functions.get(name);
  if (exact !== undefined) return exact;
  const lower = name.toLowerCase();
  return [...worker.functions.values()].find((each) => each.name.toLowerCase() === lower);
}

const entityMessage = z.object({
  op: z.string(),
  signal: z.boolean().optional(),
  input: z.string().optional(),
  id: z.string(),
  parent: z.string(),
  parentExecution: z.string(),
});

function entityRequests(events: readonly ScheduledEvent[]): EntityRequest[] {
  return events.flatMap((event) => {
    if (event.EventType !== eventTypes.eventSent) return [];
    const it = entityMessage.parse(JSON.parse(event.Input));
    const isSignal = it.signal === true;
    return [
      {
        requestId: it.id,
        target: event.InstanceId,
        operation: it.op,
        input: it.input ?? null,
        isSignal,
        caller: isSignal ? null : { instanceId: it.parent, executionId: it.parentExecution },
      },
    ];
  });
}
