import { randomUUID } from 'node:crypto';
import { runActivity } from './activity-run.js';
import { eventTypes, parseHistoryTime, parseTurn, turnText } from './history.js';
import type { HistoryEvent, ScheduledEvent } from './history.js';
import { clientMessageId, message as messageSchema } from './messages.js';
import type { Envelope, Message } from './messages.js';
import { applyToOpenTasks, openTasksOf } from './open-tasks.js';
import { backoffMs, describeError, pause } from './services.js';
import type { EngineServices } from './services.js';
import { isFinal, maxInboxRowsPerCommit, StoreConflictError } from './store.js';
import type { LoadedInstance, OrchestrationHead, StoredHead } from './store.js';
import { planTurn, WorkerFailure } from './turn.js';
import type { TurnPlan } from './turn.js';

/** Envelopes taken by one turn; what comes more waits for the next. */
const maxEnvelopesPerTurn = 200;
const historyWarnEvents = 1000;

/**
 * An orchestration that is not finished, in memory. All its changes go through one loop: take messages, run a turn,
 * commit it, and only then let its effects out. Whatever is lost with the process is found again from its history.
 */
export class LiveOrchestration {
  readonly instanceId: string;
  readonly #services: EngineServices;
  #stored: StoredHead;
  #head: OrchestrationHead;
  #turns: string[] = [];
  #events: HistoryEvent[] = [];
  #openTasks = new Map<number, ScheduledEvent>();
  /** Effects under way, by sequence id of this execution. */
  readonly #started = new Set<number>();
  readonly #timers = new Map<number, () => void>();
  readonly #delivering = new Set<string>();
  /** Signals that their entity has taken; they leave the outbox with the next commit. */
  readonly #delivered = new Set<string>();
  readonly #warned = new Set<string>();
  readonly #aborted = new AbortController();
  #mailbox: Envelope[] = [];
  #held: Envelope[] = [];
  #running: Promise<void> | undefined;
  #failedAttempts = 0;

  constructor(services: EngineServices, loaded: LoadedInstance) {
    if (loaded.stored.head.kind !== 'orchestration') throw new Error('not an orchestration');
    this.#services = services;
    this.instanceId = loaded.stored.head.instanceId;
    this.#stored = loaded.stored;
    this.#head = loaded.stored.head;
    this.#adopt(loaded, true);
  }

  /** As committed. */
  get head(): OrchestrationHead {
    return this.#head;
  }

  get stored(): StoredHead {
    return this.#stored;
  }

  get events(): readonly HistoryEvent[] {
    return this.#events;
  }

  /** Begins work that the committed state asks for. */
  begin(): void {
    this.#startEffects();
    this.#wake();
  }

  post(message: Message): void {
    this.#mailbox.push({ message });
    this.#wake();
  }

  /** Resolves once the message is durable. */
  postDurably(message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#aborted.signal.aborted) {
        reject(new Error('the host is stopping'));
        return;
      }
      this.#mailbox.push({ message, onDurable: { resolve, reject } });
      this.#wake();
    });
  }

  /** Stops taking turns; the running one ends first. */
  async close(): Promise<void> {
    this.#aborted.abort();
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    await this.#running;
    for (const envelope of [...this.#mailbox, ...this.#held]) {
      envelope.onDurable?.reject(new Error(`the host stopped before instance ${this.instanceId} took the message`));
    }
  }

  async settled(): Promise<void> {
    await this.#running;
  }

  #adopt(loaded: LoadedInstance, withInbox: boolean): void {
    if (loaded.stored.head.kind !== 'orchestration') throw new Error('not an orchestration');
    this.#stored = loaded.stored;
    this.#head = loaded.stored.head;
    this.#turns = [...loaded.turns];
    this.#events = this.#turns.flatMap(parseTurn);
    this.#openTasks = openTasksOf(this.#events, this.#head);
    if (!withInbox) return;
    const known = new Set([...this.#mailbox, ...this.#held].map((envelope) => envelope.inboxKey));
    const fromInbox = loaded.inbox
      .filter(({ key }) => !known.has(key))
      .map(({ key, text }): Envelope => ({ message: messageSchema.parse(JSON.parse(text)), inboxKey: key }));
    // Envelopes that were kept by a commit whose answer was lost are the same messages.
    const kept = new Set(fromInbox.map(({ message }) => clientMessageId(message)));
    this.#mailbox = this.#mailbox.filter((envelope) => {
      const id = clientMessageId(envelope.message);
      const isKept = envelope.inboxKey === undefined && id !== undefined && kept.has(id);
      if (isKept) envelope.onDurable?.resolve();
      return !isKept;
    });
    this.#mailbox.unshift(...fromInbox);
  }

  #hasWork(): boolean {
    if (isFinal(this.#head.status)) return this.#head.outbox.some(({ requestId }) => this.#delivered.has(requestId));
    return this.#mailbox.length > 0 || this.#head.turnCount === 0 || this.#head.rewound;
  }

  #wake(): void {
    if (this.#running !== undefined || this.#aborted.signal.aborted || !this.#hasWork()) return;
    this.#running = this.#loop().finally(() => {
      this.#running = undefined;
      this.#wake();
    });
  }

  async #loop(): Promise<void> {
    while (this.#hasWork() && !this.#aborted.signal.aborted) {
      await this.#services.turnSlots(() => this.#turn());
      if (this.#failedAttempts > 0) await pause(backoffMs(this.#failedAttempts), this.#aborted.signal);
    }
  }

  async #turn(): Promise<void> {
    if (this.#aborted.signal.aborted) return;
    let taken: Envelope[] = [];
    try {
      if (this.#services.modes.replayEachTurn || this.#failedAttempts > 0) await this.#reload();
      taken = this.#take();
      if (isFinal(this.#head.status)) {
        await this.#commit({ head: this.#head, events: [], consumed: taken, held: [], warnings: [] });
        return;
      }
      const nowMs = Math.max(Math.floor(this.#services.clock.now()), this.#head.updatedAtMs);
      const plan = await planTurn(this.#execution(), taken, nowMs, this.#services.worker);
      await this.#commit(plan);
      this.#failedAttempts = 0;
    } catch (error) {
      this.#failedAttempts++;
      this.#mailbox = [...taken, ...this.#mailbox];
      this.#services.log.error('a turn was given up and will be taken again', {
        instanceId: this.instanceId,
        orchestrator: this.#head.name,
        attempt: this.#failedAttempts,
        error: describeError(error),
      });
      if (error instanceof WorkerFailure) await this.#keepMessages();
    }
  }

  #execution() {
    return { head: this.#head, turns: this.#turns, events: this.#events, openTasks: this.#openTasks };
  }

  /** Messages in order, bounded in number and in inbox rows. */
  #take(): Envelope[] {
    const taken: Envelope[] = [];
    let inboxRowCount = 0;
    let next = this.#mailbox[0];
    while (next !== undefined && taken.length < maxEnvelopesPerTurn) {
      if (next.inboxKey !== undefined && ++inboxRowCount > maxInboxRowsPerCommit) break;
      taken.push(next);
      this.#mailbox.shift();
      next = this.#mailbox[0];
    }
    return taken;
  }

  async #commit(plan: TurnPlan): Promise<void> {
    for (const warning of plan.warnings) {
      // Replays say the same again.
      if (this.#warned.has(warning)) continue;
      this.#warned.add(warning);
      this.#services.log.warn(warning, { instanceId: this.instanceId, orchestrator: this.#head.name });
    }
    const text = turnText(plan.events, true);
    const done = isFinal(plan.head.status) ? [...plan.consumed, ...this.#held] : plan.consumed;
    const removeInbox = done.flatMap(({ inboxKey }) => (inboxKey === undefined ? [] : [inboxKey]));
    const toKeep = plan.held.filter(({ inboxKey }) => inboxKey === undefined);
    const addInbox = toKeep.map(({ message }) => ({ key: newInboxKey(), text: JSON.stringify(message) }));
    const previous = this.#head;
    const isNewExecution = plan.head.executionId !== previous.executionId;
    const head = { ...plan.head, outbox: plan.head.outbox.filter(({ requestId }) => !this.#delivered.has(requestId)) };
    const isDelivered = head.outbox.length !== plan.head.outbox.length;
    if (plan.events.length > 0 || isNewExecution || isDelivered || removeInbox.length > 0 || addInbox.length > 0) {
      this.#stored = await this.#services.store.commit(this.#stored, {
        head,
        ...(plan.events.length > 0 ? { turns: { from: previous.turnCount, texts: [text] } } : {}),
        addInbox,
        removeInbox,
      });
      this.#services.turnCommitted(head);
    }
    this.#head = head;
    const kept = new Set(head.outbox.map(({ requestId }) => requestId));
    for (const request of previous.outbox) {
      if (kept.has(request.requestId)) continue;
      this.#delivered.delete(request.requestId);
      this.#delivering.delete(request.requestId);
      this.#services.requestSettled(request);
    }
    if (isNewExecution) this.#forgetExecution();
    else if (plan.events.length > 0) this.#append(text);
    toKeep.forEach((envelope, index) => {
      const key = addInbox[index]?.key;
      if (key !== undefined) envelope.inboxKey = key;
    });
    for (const { onDurable } of [...plan.consumed, ...toKeep]) onDurable?.resolve();
    for (const envelope of toKeep) delete envelope.onDurable;
    this.#held.push(...plan.held);
    if (plan.head.status !== 'Suspended') this.#mailbox.unshift(...this.#held.splice(0));
    if (isFinal(head.status)) this.#finish();
    this.#startEffects();
  }

  #append(text: string): void {
    const before = this.#events.length;
    const events = parseTurn(text);
    this.#turns.push(text);
    this.#events.push(...events);
    applyToOpenTasks(this.#openTasks, events);
    for (const id of this.#head.cancelledTimerIds) this.#openTasks.delete(id);
    if (before < historyWarnEvents && this.#events.length >= historyWarnEvents) {
      this.#services.log.warn('a long history slows every turn: use continueAsNew', {
        instanceId: this.instanceId,
        orchestrator: this.#head.name,
        events: this.#events.length,
      });
    }
  }

  #forgetExecution(): void {
    this.#turns = [];
    this.#events = [];
    this.#openTasks = new Map();
    this.#started.clear();
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
  }

  #finish(): void {
    for (const { onDurable } of this.#mailbox.splice(0)) onDurable?.resolve();
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    this.#openTasks.clear();
    this.#services.finished(this.#head);
  }

  #startEffects(): void {
    if (this.#aborted.signal.aborted) return;
    for (const [id, cancel] of this.#timers) {
      if (this.#openTasks.has(id)) continue;
      cancel();
      this.#timers.delete(id);
    }
    for (const request of this.#head.outbox) {
      if (this.#delivering.has(request.requestId)) continue;
      this.#delivering.add(request.requestId);
      void this.#persist(`deliver ${request.operation} to ${request.target}`, async () => {
        await this.#services.deliver(request);
        if (request.isSignal) this.#delivered.add(request.requestId);
        if (isFinal(this.#head.status)) this.#wake();
      });
    }
    for (const [id, task] of this.#openTasks) {
      if (this.#started.has(id)) continue;
      this.#started.add(id);
      this.#startEffect(task);
    }
  }

  #startEffect(task: ScheduledEvent): void {
    const { executionId } = this.#head;
    switch (task.EventType) {
      case eventTypes.taskScheduled:
        void this.#persist(`run activity ${task.Name}`, () =>
          this.#services.activitySlots(async () => {
            const isWanted = () => this.#head.executionId === executionId && this.#openTasks.has(task.EventId);
            if (!isWanted() || this.#aborted.signal.aborted) return;
            const result = await runActivity(this.#services, this.instanceId, executionId, task);
            if (isWanted()) this.post(result);
          }),
        );
        break;
      case eventTypes.timerCreated:
        this.#timers.set(
          task.EventId,
          this.#services.clock.schedule(parseHistoryTime(task.FireAt), () => {
            this.#timers.delete(task.EventId);
            this.post({ kind: 'timerFired', executionId, timerId: task.EventId, fireAt: task.FireAt });
          }),
        );
        break;
      case eventTypes.subOrchestrationCreated:
        void this.#persist(`start sub-orchestration ${task.Name}`, () =>
          this.#services.startChild({
            instanceId: task.InstanceId,
            name: task.Name,
            version: task.Version,
            input: task.Input,
            parent: { instanceId: this.instanceId, executionId, name: this.#head.name, taskId: task.EventId },
          }),
        );
        break;
      case eventTypes.eventSent:
        break;
    }
  }

  /** Tries an effect until it is done: a failure here is the host's, never the app's. */
  async #persist(what: string, run: () => Promise<void>): Promise<void> {
    for (let attempt = 0; !this.#aborted.signal.aborted; attempt++) {
      try {
        await run();
        return;
      } catch (error) {
        if (this.#services.isStopping()) return;
        this.#services.log.warn(`could not ${what}; trying again`, {
          instanceId: this.instanceId,
          attempt: attempt + 1,
          error: describeError(error),
        });
        await pause(backoffMs(attempt), this.#aborted.signal);
      }
    }
  }

  /** Drops what is in memory and takes the committed state; messages not committed yet stay in the mailbox. */
  async #reload(): Promise<void> {
    const loaded = await this.#services.store.load(this.instanceId);
    if (loaded === undefined) throw new Error(`instance ${this.instanceId} is gone from its store`);
    if (loaded.stored.head.epoch > this.#services.store.writerEpoch) {
      this.#services.fenced(`instance ${this.instanceId} was written by writer ${loaded.stored.head.epoch}`);
      throw new StoreConflictError('another writer has taken over');
    }
    const executionId = this.#head.executionId;
    this.#adopt(loaded, this.#failedAttempts > 0);
    if (this.#head.executionId !== executionId) this.#started.clear();
    // A commit whose answer was lost took these already.
    const { recentMessageIds } = this.#head;
    const inboxKeys = new Set(loaded.inbox.map(({ key }) => key));
    this.#mailbox = this.#mailbox.filter((envelope) => {
      const id = clientMessageId(envelope.message);
      const isTaken =
        (id !== undefined && recentMessageIds.includes(id)) ||
        (envelope.inboxKey !== undefined && !inboxKeys.has(envelope.inboxKey));
      if (isTaken) envelope.onDurable?.resolve();
      return !isTaken;
    });
    if (isFinal(this.#head.status)) this.#finish();
    this.#startEffects();
  }

  /** While the worker cannot run the function, messages are kept in inbox rows, so that their senders can go on. */
  async #keepMessages(): Promise<void> {
    const waiting = this.#mailbox
      .filter((envelope) => envelope.onDurable !== undefined)
      .slice(0, maxInboxRowsPerCommit);
    if (waiting.length === 0) return;
    const addInbox = waiting.map(({ message }) => ({ key: newInboxKey(), text: JSON.stringify(message) }));
    try {
      this.#stored = await this.#services.store.commit(this.#stored, { head: this.#head, addInbox });
      waiting.forEach((envelope, index) => {
        const key = addInbox[index]?.key;
        if (key !== undefined) envelope.inboxKey = key;
        envelope.onDurable?.resolve();
        delete envelope.onDurable;
      });
    } catch (error) {
      this.#services.log.error('messages could not be kept; their senders wait', {
        instanceId: this.instanceId,
        error: describeError(error),
      });
    }
  }
}

let inboxCounter = 0;
/** Keys sort by arrival, across restarts too. */
function newInboxKey(): string {
  const time = Date.now().toString(36).padStart(9, '0');
  return `${time}-${(inboxCounter++).toString(36).padStart(6, '0')}-${randomUUID().slice(0, 8)}`;
}
