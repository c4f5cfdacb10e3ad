import { randomUUID } from 'node:crypto';
import { parseTurn, turnText } from './history.js';
import { LiveOrchestration } from './live-orchestration.js';
import type { Message } from './messages.js';
import { rewindHistory } from './rewind.js';
import { pause } from './services.js';
import type { ChildRequest, EngineServices } from './services.js';
import { isFinal, StoreConflictError } from './store.js';
import type { EntityRequest, OrchestrationHead, ParentLink, StoredHead } from './store.js';
import { failureText, findFunction } from './turn.js';

export type StartOutcome = { kind: 'started'; instanceId: string } | { kind: 'exists' } | { kind: 'unknownFunction' };
export type PostOutcome = 'accepted' | 'missing' | 'gone';

const drainPollMs = 10;
const drainWithinMs = 10_000;

/** All orchestrations of the hub: those at work in memory, the others in the store. */
export class Orchestrations {
  readonly #services: EngineServices;
  readonly #live = new Map<string, LiveOrchestration>();
  readonly #locks = new Map<string, Promise<unknown>>();
  readonly #waiters = new Map<string, Set<(head: OrchestrationHead) => void>>();

  constructor(services: EngineServices) {
    this.#services = services;
  }

  /** Takes up an unfinished instance after a start, and marks it as this writer's. */
  async takeUp(instanceId: string): Promise<LiveOrchestration | undefined> {
    return this.#locked(instanceId, () => this.#loadLive(instanceId));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#live.values()].map((live) => live.close()));
  }

  async start(request: {
    name: string;
    instanceId: string;
    input: string | null;
    version: string;
  }): Promise<StartOutcome> {
    const registered = findFunction(this.#services.worker, request.name);
    if (registered?.trigger !== 'orchestration') return { kind: 'unknownFunction' };
    return this.#locked(request.instanceId, async () => {
      await this.#drained(request.instanceId);
      if (this.#live.has(request.instanceId)) return { kind: 'exists' };
      const wanted = { ...request, name: registered.name, parent: null };
      try {
        await this.#create(wanted, undefined);
      } catch (error) {
        if (!(error instanceof StoreConflictError)) throw error;
        const existing = await this.#services.store.readHead(request.instanceId);
        if (existing === undefined || !isFinal(orchestration(existing).status)) return { kind: 'exists' };
        await this.#create(wanted, existing);
      }
      return { kind: 'started', instanceId: request.instanceId };
    });
  }

  /** Makes sure that the child runs, or tells its parent again how it ended. */
  async startChild(request: ChildRequest): Promise<void> {
    const { parent } = request;
    const fail = (reason: string) => {
      this.#tell(parent, { kind: 'childFailed', executionId: parent.executionId, taskId: parent.taskId, reason });
    };
    const registered = findFunction(this.#services.worker, request.name);
    if (registered?.trigger !== 'orchestration') {
      fail(failureText(request.name, 'there is no such orchestrator function in this app'));
      return;
    }
    await this.#locked(request.instanceId, async () => {
      await this.#drained(request.instanceId);
      const existing = await this.#stored(request.instanceId);
      if (existing !== undefined) {
        const head = orchestration(existing);
        const isOurs =
          head.parent?.instanceId === parent.instanceId &&
          head.parent.executionId === parent.executionId &&
          head.parent.taskId === parent.taskId;
        if (isOurs) {
          if (isFinal(head.status)) this.#tellParent(head);
          else await this.#loadLive(request.instanceId);
          return;
        }
        if (!isFinal(head.status)) {
          fail(failureText(request.name, `an instance with the id '${request.instanceId}' is running already`));
          return;
        }
      }
      await this.#create({ ...request, name: registered.name }, existing);
    });
  }

  async post(instanceId: string, message: Message): Promise<PostOutcome> {
    const live = this.#live.get(instanceId) ?? (await this.takeUp(instanceId));
    if (live === undefined) return (await this.#stored(instanceId)) === undefined ? 'missing' : 'gone';
    if (isFinal(live.head.status)) return 'gone';
    await live.postDurably(message);
    return 'accepted';
  }

  /** A message to an instance that is waiting for it; dropped where the instance is not at work. */
  tell(instanceId: string, message: Message): void {
    this.#live.get(instanceId)?.post(message);
  }

  async head(instanceId: string): Promise<OrchestrationHead | undefined> {
    const stored = await this.#stored(instanceId);
    return stored === undefined ? undefined : orchestration(stored);
  }

  outboxes(): EntityRequest[] {
    return [...this.#live.values()].flatMap((live) => live.head.outbox);
  }

  /** The instance once it has finished; undefined after the time given (system time). */
  async waitFor(instanceId: string, timeoutMs: number): Promise<OrchestrationHead | undefined> {
    const head = await this.head(instanceId);
    if (head === undefined || isFinal(head.status)) return head;
    return new Promise((resolve) => {
      const waiters = this.#waiters.get(instanceId) ?? new Set();
      this.#waiters.set(instanceId, waiters);
      const done = (last: OrchestrationHead | undefined) => {
        clearTimeout(timer);
        waiters.delete(done);
        if (waiters.size === 0) this.#waiters.delete(instanceId);
        resolve(last);
      };
      const timer = setTimeout(() => {
        done(undefined);
      }, timeoutMs);
      waiters.add(done);
      // It may have finished between the first look and the wait.
      if (!this.#live.has(instanceId)) this.head(instanceId).then(done, () => undefined);
    });
  }

  /** Called by a live instance after the commit that finished it. */
  finished(head: OrchestrationHead): void {
    if (head.outbox.length === 0) this.#live.delete(head.instanceId);
    this.#tellParent(head);
    for (const done of [...(this.#waiters.get(head.instanceId) ?? [])]) done(head);
  }

  async purge(instanceId: string): Promise<boolean> {
    return this.#locked(instanceId, async () => {
      await this.#drained(instanceId);
      const stored = await this.#stored(instanceId);
      if (stored === undefined) return false;
      const head = orchestration(stored);
      if (!isFinal(head.status) || this.#live.has(instanceId)) return false;
      // A parent takes its child's result from the child's head until it has committed it.
      if (head.parent !== null) await this.#live.get(head.parent.instanceId)?.settled();
      await this.#services.store.remove(stored);
      return true;
    });
  }

  /** Takes a failed instance up again from before its last failures. */
  async rewind(instanceId: string): Promise<'rewound' | 'missing' | 'notFailed' | 'running'> {
    const failedChildIds: string[] = [];
    const outcome = await this.#locked(instanceId, async () => {
      await this.#drained(instanceId);
      const live = this.#live.get(instanceId);
      if (live !== undefined) return 'running';
      const loaded = await this.#services.store.load(instanceId);
      if (loaded === undefined) return 'missing';
      const head = orchestration(loaded.stored);
      if (!isFinal(head.status)) return 'running';
      if (head.status !== 'Failed') return 'notFailed';
      failedChildIds.push(...rewindHistory(loaded.turns.flatMap(parseTurn)).failedChildIds);
      return 'rewound';
    });
    if (outcome !== 'rewound') return outcome;
    // Children first: a parent that runs while its child still counts as failed would fail again.
    for (const childId of failedChildIds) await this.rewind(childId);
    return this.#locked(instanceId, async () => {
      const loaded = await this.#services.store.load(instanceId);
      if (loaded === undefined) return 'missing';
      const head = orchestration(loaded.stored);
      if (head.status !== 'Failed') return 'running';
      const { events } = rewindHistory(loaded.turns.flatMap(parseTurn));
      const stored = await this.#services.store.commit(loaded.stored, {
        head: {
          ...head,
          status: 'Running',
          output: null,
          generation: head.generation + 1,
          turnCount: 1,
          rewound: true,
        },
        turns: { from: 0, texts: [turnText(events, true)] },
      });
      this.#begin(new LiveOrchestration(this.#services, { ...loaded, stored, turns: [turnText(events, true)] }));
      return 'rewound';
    });
  }

  #tellParent({ parent, status, output }: OrchestrationHead): void {
    if (parent === null) return;
    const { executionId, taskId } = parent;
    this.#tell(
      parent,
      status === 'Completed'
        ? { kind: 'childCompleted', executionId, taskId, result: output }
        : { kind: 'childFailed', executionId, taskId, reason: output === null ? status : String(JSON.parse(output)) },
    );
  }

  /** A finished instance may still have signals to deliver; until then its place is not free. */
  async #drained(instanceId: string): Promise<void> {
    for (let waitedMs = 0; waitedMs < drainWithinMs; waitedMs += drainPollMs) {
      const live = this.#live.get(instanceId);
      if (live === undefined || !isFinal(live.head.status) || this.#services.isStopping()) return;
      await pause(drainPollMs);
    }
    throw new Error(`instance ${instanceId} is finished, but its signals could not be delivered yet`);
  }

  #tell(parent: ParentLink, message: Message): void {
    this.tell(parent.instanceId, message);
  }

  async #stored(instanceId: string): Promise<StoredHead | undefined> {
    return this.#live.get(instanceId)?.stored ?? (await this.#services.store.readHead(instanceId));
  }

  async #create(
    request: { instanceId: string; name: string; version: string; input: string | null; parent: ParentLink | null },
    replaced: StoredHead | undefined,
  ): Promise<void> {
    const nowMs = Math.floor(this.#services.clock.now());
    const head: OrchestrationHead = {
      kind: 'orchestration',
      instanceId: request.instanceId,
      name: request.name,
      version: request.version,
      status: 'Pending',
      executionId: randomUUID().replaceAll('-', ''),
      parent: request.parent,
      createdAtMs: nowMs,
      updatedAtMs: nowMs,
      epoch: this.#services.store.writerEpoch,
      input: request.input,
      output: null,
      customStatus: null,
      generation: 0,
      turnCount: 0,
      cancelledTimerIds: [],
      recentMessageIds: [],
      rewound: false,
      outbox: [],
    };
    const stored = await this.#services.store.create(head, replaced);
    this.#begin(new LiveOrchestration(this.#services, { stored, turns: [], inbox: [], receipts: new Map() }));
  }

  #begin(live: LiveOrchestration): void {
    this.#live.set(live.instanceId, live);
    live.begin();
  }

  async #loadLive(instanceId: string): Promise<LiveOrchestration | undefined> {
    const live = this.#live.get(instanceId);
    if (live !== undefined) return live;
    const loaded = await this.#services.store.load(instanceId);
    const head = loaded?.stored.head;
    if (loaded === undefined || head?.kind !== 'orchestration') return undefined;
    if (isFinal(head.status) && head.outbox.length === 0) return undefined;
    // Writing the head once keeps an older writer from committing anything to this instance.
    const stored = await this.#services.store.commit(loaded.stored, { head });
    const taken = new LiveOrchestration(this.#services, { ...loaded, stored });
    this.#begin(taken);
    return taken;
  }

  async #locked<T>(instanceId: string, run: () => Promise<T>): Promise<T> {
    const before = this.#locks.get(instanceId) ?? Promise.resolve();
    const mine = before.then(run, run);
    const settled = mine.catch(() => undefined);
    this.#locks.set(instanceId, settled);
    try {
      return await mine;
    } finally {
      if (this.#locks.get(instanceId) === settled) this.#locks.delete(instanceId);
    }
  }
}

export function orchestration(stored: StoredHead): OrchestrationHead {
  if (stored.head.kind !== 'orchestration') throw new Error(`${stored.head.instanceId} is not an orchestration`);
  return stored.head;
}
