import type {
  DurableStore,
  HeadChange,
  HeadPage,
  HeadQuery,
  InstanceHead,
  LoadedInstance,
  StoredHead,
} from '../../../devhost/engine/store.js';

export type Fault = 'none' | 'fails' | 'answerLost';

/** Wraps a store; before each load and commit it asks what goes wrong with it. */
export class FaultyStore implements DurableStore {
  readonly #inner: DurableStore;
  readonly #next: () => Fault;

  constructor(inner: DurableStore, next: () => Fault) {
    this.#inner = inner;
    this.#next = next;
  }

  get writerEpoch(): number {
    return this.#inner.writerEpoch;
  }

  async load(instanceId: string): Promise<LoadedInstance | undefined> {
    if (this.#next() === 'fails') throw new Error('the store is away');
    return this.#inner.load(instanceId);
  }

  readHead(instanceId: string): Promise<StoredHead | undefined> {
    return this.#inner.readHead(instanceId);
  }

  create(head: InstanceHead, replaced?: StoredHead): Promise<StoredHead> {
    return this.#inner.create(head, replaced);
  }

  async commit(base: StoredHead, change: HeadChange): Promise<StoredHead> {
    const fault = this.#next();
    if (fault === 'fails') throw new Error('the store is away');
    const stored = await this.#inner.commit(base, change);
    if (fault === 'answerLost') throw new Error('the answer was lost');
    return stored;
  }

  remove(stored: StoredHead): Promise<void> {
    return this.#inner.remove(stored);
  }

  list(query: HeadQuery): Promise<HeadPage> {
    return this.#inner.list(query);
  }

  listUnfinished(): Promise<string[]> {
    return this.#inner.listUnfinished();
  }
}
