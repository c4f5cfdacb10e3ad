import type { Action, RetryOptions } from './actions.js';
import { eventTypes, historyTime, parseHistoryTime } from './history.js';
import type { HistoryEvent, ScheduledEvent } from './history.js';
import { settledTask, Task } from './replay-task.js';

/**
 * Replays an orchestrator's action list against its history, as the real extension's out-of-process shim does on top
 * of the Durable Task Framework: actions are awaited one after another, every scheduled thing takes the next sequence
 * id, and what history does not hold yet is new. Pure: the same arguments give the same outcome.
 */
export interface ReplayOutcome {
  /** Work to be scheduled, in id order. */
  newEvents: ScheduledEvent[];
  /** All listed actions have been awaited. */
  finished: boolean;
  /** Activities, timers, sub-orchestrations and entity calls that have no result yet. */
  openTaskCount: number;
  /** Timers that the orchestrator gave up; they never fire. */
  cancelledTimerIds: number[];
  continueAsNewInput: { json: string | null } | undefined;
  /** Why the history cannot come from this orchestrator. */
  nonDeterminism: string | undefined;
  warnings: string[];
}

export const maximumShortTimerDays = 6;
export const longTimerSegmentDays = 3;
const dayMs = 86_400_000;
/** Wider fan-outs are not searched for tasks waited for twice: it would cost too much each turn. */
const maxMembersCompared = 50;
/** Keeps exponential intervals inside what a date can hold. */
const longestRetryDelayMs = 36_500 * dayMs;

export const httpActivityName = 'BuiltIn::HttpActivity';

class NonDeterminism extends Error {}

export function replay(
  history: readonly HistoryEvent[],
  actions: readonly Action[],
  executionId: string,
  instanceId: string,
  newRequestId: () => string,
): ReplayOutcome {
  const replayer = new Replayer(actions, executionId, instanceId, newRequestId);
  try {
    for (const event of history) replayer.apply(event);
    return replayer.outcome(undefined);
  } catch (error) {
    if (error instanceof NonDeterminism) return replayer.outcome(error.message);
    throw error;
  }
}

class Replayer {
  #nextId = 0;
  #nowMs = 0;
  #nextAction = 0;
  readonly #issued = new Map<number, ScheduledEvent>();
  readonly #open = new Map<number, Task>();
  readonly #repliesById = new Map<string, number>();
  readonly #eventWaiters = new Map<string, Task[]>();
  readonly #bufferedEventCounts = new Map<string, number>();
  /** Current segment's id of each timer that the orchestrator has cancelled by the end of this replay. */
  readonly #cancelledTimers: { currentId: number }[] = [];
  readonly #warnings: string[] = [];
  /** Members of any and all that are still under way, by what they ask for. */
  readonly #openMembers = new Map<string, Task>();
  #continueAsNewInput: { json: string | null } | undefined;

  constructor(
    readonly actions: readonly Action[],
    readonly executionId: string,
    readonly instanceId: string,
    readonly newRequestId: () => string,
  ) {}

  apply(event: HistoryEvent): void {
    switch (event.EventType) {
      case eventTypes.orchestratorStarted:
        this.#nowMs = Math.max(this.#nowMs, parseHistoryTime(event.Timestamp));
        break;
      case eventTypes.executionStarted:
        this.#advance();
        break;
      case eventTypes.taskScheduled:
      case eventTypes.subOrchestrationCreated:
      case eventTypes.timerCreated:
      case eventTypes.eventSent:
        this.#confirm(event);
        break;
      case eventTypes.taskCompleted:
      case eventTypes.subOrchestrationCompleted:
        this.#settle(event.TaskScheduledId, false);
        break;
      case eventTypes.taskFailed:
      case eventTypes.subOrchestrationFailed:
        this.#settle(event.TaskScheduledId, true);
        break;
      case eventTypes.timerFired:
        this.#settle(event.TimerId, false);
        break;
      case eventTypes.eventRaised:
        this.#raise(event.Name);
        break;
      default:
        break;
    }
  }

  outcome(nonDeterminism: string | undefined): ReplayOutcome {
    const cancelledTimerIds = this.#cancelledTimers.map((timer) => timer.currentId).filter((id) => this.#open.has(id));
    for (const id of cancelledTimerIds) this.#open.delete(id);
    return {
      newEvents: [...this.#issued.values()],
      finished: this.#nextAction > this.actions.length,
      openTaskCount: this.#open.size,
      cancelledTimerIds,
      continueAsNewInput: this.#continueAsNewInput,
      nonDeterminism,
      warnings: this.#warnings,
    };
  }

  /** Runs the list on until an action has to be waited for. */
  #advance(): void {
    for (;;) {
      const action = this.actions[this.#nextAction++];
      if (action === undefined) return;
      const task = this.#invoke(action);
      if (!task.settled) {
        task.then(() => {
          this.#advance();
        });
        return;
      }
    }
  }

  #invoke(action: Action): Task {
    switch (action.actionType) {
      case 0:
        return this.#callActivity(action.functionName, action.input);
      case 1:
        return this.#withRetry(action.retryOptions, () => this.#callActivity(action.functionName, action.input));
      case 2:
        return this.#callSubOrchestrator(action);
      case 3:
        return this.#withRetry(action.retryOptions, () => this.#callSubOrchestrator(action));
      case 4: {
        this.#continueAsNewInput ??= { json: toJson(action.input) };
        return settledTask();
      }
      case 5:
        return this.#createTimer(Date.parse(action.fireAt), action.isCanceled);
      case 6:
        return this.#waitForEvent(action.externalEventName);
      case 7:
        return this.#sendToEntity(action.instanceId, action.operation, action.input, false);
      case 8:
        return this.#callActivity(httpActivityName, action.httpRequest);
      case 9:
        this.#sendToEntity(action.instanceId, action.operation, action.input, true);
        return settledTask();
      case 11: {
        const any = new Task();
        for (const child of this.#invokeMembers(action.compoundActions)) {
          child.then(() => {
            any.settle(false);
          });
        }
        return any;
      }
      case 12: {
        const all = new Task();
        let waitingCount = action.compoundActions.length;
        for (const child of this.#invokeMembers(action.compoundActions)) {
          child.then(() => {
            if (--waitingCount === 0) all.settle(false);
          });
        }
        return all;
      }
    }
  }

  #invokeMembers(members: readonly Action[]): Task[] {
    const tasks = members.map((each) => this.#invoke(each));
    if (members.length > maxMembersCompared) return tasks;
    const texts = members.map((each) => JSON.stringify(each));
    texts.forEach((text, index) => {
      const before = this.#openMembers.get(text);
      if (before === undefined || before.settled || members[index]?.actionType === 6) return;
      this.#warnings.push(
        'a task that is under way seems to be waited for a second time, in another any or all: the real host schedules ' +
          `it again and then disagrees with the library about sequence ids (${text.slice(0, 200)})`,
      );
    });
    texts.forEach((text, index) => {
      const task = tasks[index];
      if (task !== undefined) this.#openMembers.set(text, task);
    });
    return tasks;
  }

  #takeId(task: Task): number {
    const id = this.#nextId++;
    this.#open.set(id, task);
    return id;
  }

  #eventBase(id: number) {
    return { EventId: id, IsPlayed: false, Timestamp: historyTime(this.#nowMs) };
  }

  #callActivity(name: string, input: unknown): Task {
    const task = new Task();
    const id = this.#takeId(task);
    this.#issued.set(id, {
      ...this.#eventBase(id),
      EventType: eventTypes.taskScheduled,
      Name: name,
      Version: '',
      Input: toJson(input),
    });
    return task;
  }

  #callSubOrchestrator(action: {
    functionName: string;
    input?: unknown;
    instanceId?: string | null | undefined;
    version?: string | null | undefined;
  }): Task {
    const task = new Task();
    const id = this.#takeId(task);
    const childId = action.instanceId ?? '';
    this.#issued.set(id, {
      ...this.#eventBase(id),
      EventType: eventTypes.subOrchestrationCreated,
      Name: action.functionName,
      Version: action.version ?? '',
      InstanceId: childId === '' ? `${this.executionId}:${id}` : childId,
      Input: toJson(action.input),
    });
    return task;
  }

  #timer(fireAtMs: number): { id: number; task: Task } {
    const task = new Task();
    const id = this.#takeId(task);
    this.#issued.set(id, {
      ...this.#eventBase(id),
      EventType: eventTypes.timerCreated,
      FireAt: historyTime(fireAtMs),
    });
    return { id, task };
  }

  /** Timers beyond six days are made of three-day segments, as the library's LongTimerTask expects. */
  #createTimer(fireAtMs: number, isCancelled: boolean): Task {
    const whole = new Task();
    const holder = { currentId: -1 };
    if (isCancelled) this.#cancelledTimers.push(holder);
    const segment = () => {
      const isLong = fireAtMs - this.#nowMs > maximumShortTimerDays * dayMs;
      const { id, task } = this.#timer(isLong ? this.#nowMs + longTimerSegmentDays * dayMs : fireAtMs);
      holder.currentId = id;
      task.then(() => {
        if (fireAtMs > this.#nowMs) segment();
        else whole.settle(false);
      });
    };
    segment();
    return whole;
  }

  #withRetry(options: RetryOptions, call: () => Task): Task {
    const whole = new Task();
    const firstAttemptMs = this.#nowMs;
    const attempt = (number: number) => {
      call().then((failed) => {
        if (!failed) {
          whole.settle(false);
          return;
        }
        if (number >= options.maxNumberOfAttempts) {
          // The framework and the library both count one more timer after the last attempt; it fires at once.
          this.#timer(this.#nowMs).task.then(() => {
            whole.settle(true);
          });
          return;
        }
        const delayMs = retryDelayMs(options, number, this.#nowMs - firstAttemptMs);
        if (delayMs <= 0) {
          this.#warnings.push(
            'a retry ended by its timeout or by a zero interval: the library waits for a timer that the real host ' +
              'never makes, so this orchestration hangs; do without retryTimeoutInMilliseconds',
          );
          whole.settle(true);
          return;
        }
        this.#timer(this.#nowMs + delayMs).task.then(() => {
          attempt(number + 1);
        });
      });
    };
    attempt(1);
    return whole;
  }

  #waitForEvent(name: string): Task {
    const task = new Task();
    const bufferedCount = this.#bufferedEventCounts.get(name) ?? 0;
    if (bufferedCount > 0) {
      this.#bufferedEventCounts.set(name, bufferedCount - 1);
      task.settle(false);
      return task;
    }
    const waiters = this.#eventWaiters.get(name);
    if (waiters === undefined) this.#eventWaiters.set(name, [task]);
    else waiters.push(task);
    return task;
  }

  #sendToEntity(target: string, operation: string, input: unknown, isSignal: boolean): Task {
    const task = new Task();
    const id = this.#nextId++;
    if (!isSignal) this.#open.set(id, task);
    const inputText = toJson(input);
    this.#issued.set(id, {
      ...this.#eventBase(id),
      EventType: eventTypes.eventSent,
      InstanceId: target,
      Name: 'op',
      Input: JSON.stringify({
        op: operation,
        ...(isSignal ? { signal: true } : {}),
        ...(inputText === null ? {} : { input: inputText }),
        id: this.newRequestId(),
        parent: this.instanceId,
        parentExecution: this.executionId,
      }),
    });
    return task;
  }

  #confirm(event: ScheduledEvent): void {
    const issued = this.#issued.get(event.EventId);
    if (issued === undefined) {
      throw new NonDeterminism(
        `Non-Deterministic workflow detected: a previous execution of this orchestration scheduled ` +
          `${describe(event)} with sequence ID ${event.EventId}, but the current replay has not scheduled it`,
      );
    }
    if (describe(issued).toLowerCase() !== describe(event).toLowerCase()) {
      throw new NonDeterminism(
        `Non-Deterministic workflow detected: a previous execution of this orchestration scheduled ` +
          `${describe(event)} with sequence ID ${event.EventId}, but the current replay scheduled ${describe(issued)}`,
      );
    }
    this.#issued.delete(event.EventId);
    if (event.EventType === eventTypes.eventSent) {
      const request = JSON.parse(event.Input) as { id: string; signal?: boolean };
      if (request.signal !== true) this.#repliesById.set(request.id, event.EventId);
    }
  }

  /** Results of unknown or finished tasks are repeats and change nothing. */
  #settle(id: number, failed: boolean): void {
    const task = this.#open.get(id);
    if (task === undefined || this.#issued.has(id)) return;
    this.#open.delete(id);
    task.settle(failed);
  }

  #raise(name: string): void {
    const callId = this.#repliesById.get(name);
    if (callId !== undefined) {
      this.#repliesById.delete(name);
      this.#settle(callId, false);
      return;
    }
    // The library hands an event to the newest waiter of that name.
    const waiter = this.#eventWaiters.get(name)?.pop();
    if (waiter === undefined) this.#bufferedEventCounts.set(name, (this.#bufferedEventCounts.get(name) ?? 0) + 1);
    else waiter.settle(false);
  }
}

function toJson(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

function retryDelayMs(options: RetryOptions, failedAttempts: number, elapsedMs: number): number {
  const timeoutMs = options.retryTimeoutInMilliseconds;
  if (timeoutMs !== undefined && elapsedMs >= timeoutMs) return 0;
  const delayMs =
    options.firstRetryIntervalInMilliseconds * Math.pow(options.backoffCoefficient ?? 1, failedAttempts - 1);
  return Math.min(delayMs, options.maxRetryIntervalInMilliseconds ?? longestRetryDelayMs, longestRetryDelayMs);
}

function describe(event: ScheduledEvent): string {
  switch (event.EventType) {
    case eventTypes.taskScheduled:
      return `the activity '${event.Name}'`;
    case eventTypes.subOrchestrationCreated:
      return `the sub-orchestration '${event.Name}'`;
    case eventTypes.timerCreated:
      return 'a timer';
    case eventTypes.eventSent:
      return `a message to '${event.InstanceId}'`;
  }
}
