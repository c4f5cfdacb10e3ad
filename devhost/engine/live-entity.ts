import { parseEntityId, runBatch } from './entity-batch.js';
import { backoffMs, describeError, pause } from './services.js';
import type { EngineServices } from './services.js';
import { entityRequest, StoreConflictError } from './store.js';
import type { EntityHead, EntityRequest, LoadedInstance, StoredHead } from './store.js';

/** Operations in one call of the entity function: their rows and receipts must fit one transaction with the head. */
const maxBatch = 25;
const maxReceiptsDroppedPerCommit = 25;

interface Waiting {
  request: EntityRequest;
  inboxKey: string;
  /** From a client, whose signal has to be in the inbox before it is told so; others keep it in their outbox. */
  isFromClient: boolean;
  isInInbox: boolean;
  settle: { resolve: () => void; reject: (error: Error) => void } | undefined;
}

/**
 * One entity in memory. Operations run in batches, one after another; a batch's state, its receipts and its signals
 * to others are one commit. A receipt by request id makes each operation happen exactly once, however often it is sent.
 */
export class LiveEntity {
  readonly #services: EngineServices;
  readonly #instanceId: string;
  readonly #aborted = new AbortController();
  #stored: StoredHead | undefined;
  #head: EntityHead | undefined;
  #receipts = new Map<string, string>();
  /** Receipts of requests that nobody will send again. */
  readonly #spentReceipts = new Set<string>();
  #areOldReceiptsChecked = false;
  #waiting: Waiting[] = [];
  readonly #delivering = new Set<string>();
  readonly #delivered = new Set<string>();
  #running: Promise<void> | undefined;
  #failedAttempts = 0;

  constructor(services: EngineServices, instanceId: string, loaded: LoadedInstance | undefined) {
    this.#services = services;
    this.#instanceId = instanceId;
    this.#adopt(loaded);
  }

  get head(): EntityHead | undefined {
    return this.#head;
  }

  begin(): void {
    this.#deliverOutbox();
    this.#wake();
  }

  /** Resolves once the signal stands in the inbox. */
  signal(request: EntityRequest): Promise<void> {
    return this.#enqueue(request, true);
  }

  /** Resolves once the operation is committed. */
  operate(request: EntityRequest): Promise<void> {
    return this.#enqueue(request, false);
  }

  requestSettled(requestId: string): void {
    if (this.#receipts.has(requestId)) this.#spentReceipts.add(requestId);
  }

  async close(): Promise<void> {
    this.#aborted.abort();
    await this.#running;
    for (const { settle } of this.#waiting) settle?.reject(new Error('the host stopped before the entity ran'));
  }

  #enqueue(request: EntityRequest, isFromClient: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#aborted.signal.aborted) {
        reject(new Error('the host is stopping'));
        return;
      }
      const settle = { resolve, reject };
      this.#waiting.push({ request, inboxKey: request.requestId, isFromClient, isInInbox: false, settle });
      this.#wake();
    });
  }

  #adopt(loaded: LoadedInstance | undefined): void {
    if (loaded === undefined) return;
    if (loaded.stored.head.kind !== 'entity') throw new Error(`${this.#instanceId} is not an entity`);
    if (loaded.stored.head.epoch > this.#services.store.writerEpoch) {
      this.#services.fenced(`entity ${this.#instanceId} was written by writer ${loaded.stored.head.epoch}`);
      throw new StoreConflictError('another writer has taken over');
    }
    this.#stored = loaded.stored;
    this.#head = loaded.stored.head;
    this.#receipts = new Map(loaded.receipts);
    const inboxKeys = new Set(loaded.inbox.map(({ key }) => key));
    const known = new Set(this.#waiting.map(({ inboxKey }) => inboxKey));
    this.#waiting = this.#waiting.filter((waiting) => {
      if (!waiting.isFromClient) return true;
      const isThere = inboxKeys.has(waiting.inboxKey);
      // A commit whose answer was lost may have put it there, or may have done it and taken it out again.
      if (isThere) this.#acknowledge(waiting);
      return isThere || !waiting.isInInbox;
    });
    const fromInbox = loaded.inbox
      .filter(({ key }) => !known.has(key))
      .map(({ key, text }): Waiting => {
        const request = entityRequest.parse(JSON.parse(text));
        return { request, inboxKey: key, isFromClient: true, isInInbox: true, settle: undefined };
      });
    this.#waiting.unshift(...fromInbox);
  }

  #acknowledge(waiting: Waiting): void {
    waiting.isInInbox = true;
    waiting.settle?.resolve();
    waiting.settle = undefined;
  }

  #hasWork(): boolean {
    return (
      this.#waiting.length > 0 || (this.#head?.outbox.some(({ requestId }) => this.#delivered.has(requestId)) ?? false)
    );
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
      await this.#services.turnSlots(() => this.#step());
      if (this.#failedAttempts > 0) await pause(backoffMs(this.#failedAttempts), this.#aborted.signal);
    }
  }

  async #step(): Promise<void> {
    if (this.#aborted.signal.aborted) return;
    try {
      const mustReload = this.#services.modes.replayEachTurn || this.#failedAttempts > 0;
      if (mustReload) this.#adopt(await this.#services.store.load(this.#instanceId));
      await this.#keepSignals();
      await this.#runBatch();
      this.#failedAttempts = 0;
    } catch (error) {
      this.#failedAttempts++;
      this.#services.log.error('an entity batch was given up and will be run again', {
        entity: this.#instanceId,
        attempt: this.#failedAttempts,
        error: describeError(error),
      });
    }
  }

  /** The committed head, made where this is the entity's first operation. */
  async #base(): Promise<{ stored: StoredHead; head: EntityHead }> {
    if (this.#stored !== undefined && this.#head !== undefined) return { stored: this.#stored, head: this.#head };
    const nowMs = this.#nowMs();
    const head: EntityHead = {
      kind: 'entity',
      instanceId: this.#instanceId,
      name: parseEntityId(this.#instanceId).name,
      createdAtMs: nowMs,
      updatedAtMs: nowMs,
      epoch: this.#services.store.writerEpoch,
      outbox: [],
      inboxCount: 0,
      exists: false,
      state: null,
    };
    const stored = await this.#services.store.create(head);
    this.#stored = stored;
    this.#head = head;
    return { stored, head };
  }

  #nowMs(): number {
    return Math.max(Math.floor(this.#services.clock.now()), this.#head?.updatedAtMs ?? 0);
  }

  async #keepSignals(): Promise<void> {
    const unkept = this.#waiting.filter(({ isFromClient, isInInbox }) => isFromClient && !isInInbox).slice(0, maxBatch);
    if (unkept.length === 0) return;
    const { stored, head } = await this.#base();
    const next = { ...head, inboxCount: head.inboxCount + unkept.length };
    const addInbox = unkept.map(({ inboxKey, request }) => ({ key: inboxKey, text: JSON.stringify(request) }));
    this.#stored = await this.#services.store.commit(stored, { head: next, addInbox });
    this.#head = next;
    for (const waiting of unkept) this.#acknowledge(waiting);
  }

  async #runBatch(): Promise<void> {
    const { stored, head } = await this.#base();
    const batch = this.#waiting.filter(({ isFromClient, isInInbox }) => !isFromClient || isInInbox).slice(0, maxBatch);
    const fresh = batch.filter(({ request }) => !this.#receipts.has(request.requestId));
    const outcome =
      fresh.length === 0
        ? { exists: head.exists, state: head.state, replies: [], signals: [] }
        : await runBatch(
            this.#services.worker,
            head,
            fresh.map(({ request }) => request),
          );
    const addReceipts = fresh.flatMap(({ request, isFromClient }, index) =>
      isFromClient ? [] : [{ requestId: request.requestId, text: outcome.replies[index] ?? '{}' }],
    );
    const removeInbox = batch.filter(({ isInInbox }) => isInInbox).map(({ inboxKey }) => inboxKey);
    const removeReceipts = this.#takeSpentReceipts(batch);
    const next: EntityHead = {
      ...head,
      updatedAtMs: fresh.length === 0 ? head.updatedAtMs : this.#nowMs(),
      exists: outcome.exists,
      state: outcome.state,
      inboxCount: Math.max(0, head.inboxCount - removeInbox.length),
      outbox: [...head.outbox.filter(({ requestId }) => !this.#delivered.has(requestId)), ...outcome.signals],
    };
    const isChanged = fresh.length > 0 || removeInbox.length > 0 || next.outbox.length !== head.outbox.length;
    if (isChanged) {
      this.#stored = await this.#services.store.commit(stored, {
        head: next,
        addReceipts,
        removeReceipts,
        removeInbox,
      });
      this.#services.turnCommitted(next);
    }
    this.#head = next;
    for (const { requestId, text } of addReceipts) this.#receipts.set(requestId, text);
    for (const requestId of isChanged ? removeReceipts : []) {
      this.#receipts.delete(requestId);
      this.#spentReceipts.delete(requestId);
    }
    for (const request of head.outbox) {
      if (next.outbox.includes(request)) continue;
      this.#delivered.delete(request.requestId);
      this.#delivering.delete(request.requestId);
      this.#services.requestSettled(request);
    }
    const done = new Set(batch);
    this.#waiting = this.#waiting.filter((waiting) => !done.has(waiting));
    for (const { request, settle } of batch) {
      if (!request.isSignal) this.#services.reply(request, this.#receipts.get(request.requestId) ?? '{}');
      settle?.resolve();
    }
    this.#deliverOutbox();
  }

  /** Receipts of earlier runs of the host are needed only while some outbox still holds their request. */
  #takeSpentReceipts(batch: readonly Waiting[]): string[] {
    if (!this.#areOldReceiptsChecked) {
      const underWay = this.#services.requestsUnderWay();
      if (underWay !== undefined) {
        this.#areOldReceiptsChecked = true;
        for (const requestId of this.#receipts.keys()) if (!underWay.has(requestId)) this.#spentReceipts.add(requestId);
      }
    }
    const inBatch = new Set(batch.map(({ request }) => request.requestId));
    return [...this.#spentReceipts]
      .filter((requestId) => !inBatch.has(requestId))
      .slice(0, maxReceiptsDroppedPerCommit);
  }

  #deliverOutbox(): void {
    for (const request of this.#head?.outbox ?? []) {
      if (this.#delivering.has(request.requestId)) continue;
      this.#delivering.add(request.requestId);
      void this.#deliver(request);
    }
  }

  async #deliver(request: EntityRequest): Promise<void> {
    for (let attempt = 0; !this.#aborted.signal.aborted; attempt++) {
      try {
        await this.#services.deliver(request);
        this.#delivered.add(request.requestId);
        this.#wake();
        return;
      } catch (error) {
        if (this.#services.isStopping()) return;
        this.#services.log.warn(`could not signal ${request.target}; trying again`, { error: describeError(error) });
        await pause(backoffMs(attempt), this.#aborted.signal);
      }
    }
  }
}
