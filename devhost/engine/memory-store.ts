import { hasWorkLeft, instanceHead, StoreConflictError } from './store.js';
import type {
  DurableStore,
  HeadChange,
  HeadPage,
  HeadQuery,
  InboxMessage,
  InstanceHead,
  LoadedInstance,
  StoredHead,
} from './store.js';

interface Partition {
  etag: number;
  head: string;
  turns: Map<string, string>;
  inbox: Map<string, string>;
  receipts: Map<string, string>;
}

/** The store without durability: for fast tests, with the same rules as the table store. */
export class MemoryStore implements DurableStore {
  writerEpoch = 1;
  readonly #partitions = new Map<string, Partition>();
  #nextEtag = 1;

  async load(instanceId: string): Promise<LoadedInstance | undefined> {
    const partition = this.#partitions.get(instanceId);
    if (partition === undefined) return undefined;
    const stored = toStored(partition);
    const turns: string[] = [];
    if (stored.head.kind === 'orchestration') {
      for (let index = 0; index < stored.head.turnCount; index++) {
        const text = partition.turns.get(`${stored.head.generation}!${index}`);
        if (text === undefined) throw new Error(`turn ${index} of ${instanceId} is missing`);
        turns.push(text);
      }
    }
    const inbox: InboxMessage[] = [...partition.inbox]
      .map(([key, text]) => ({ key, text }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    return { stored, turns, inbox, receipts: new Map(partition.receipts) };
  }

  async readHead(instanceId: string): Promise<StoredHead | undefined> {
    const partition = this.#partitions.get(instanceId);
    return partition === undefined ? undefined : toStored(partition);
  }

  async create(head: InstanceHead, replaced?: StoredHead): Promise<StoredHead> {
    const existing = this.#partitions.get(head.instanceId);
    if (replaced === undefined ? existing !== undefined : existing?.etag !== replaced.token) {
      throw new StoreConflictError(`${head.instanceId} exists already or has changed`);
    }
    const partition: Partition = {
      etag: this.#nextEtag++,
      head: JSON.stringify({ ...head, epoch: this.writerEpoch }),
      turns: new Map(),
      inbox: new Map(),
      receipts: new Map(),
    };
    this.#partitions.set(head.instanceId, partition);
    return toStored(partition);
  }

  async commit(base: StoredHead, change: HeadChange): Promise<StoredHead> {
    const partition = this.#partitions.get(base.head.instanceId);
    if (partition === undefined || partition.etag !== base.token) {
      throw new StoreConflictError(`${base.head.instanceId} has changed since it was read`);
    }
    if (change.removeInbox?.some((key) => !partition.inbox.has(key)) === true) {
      throw new StoreConflictError('a consumed message is not there');
    }
    if (change.addReceipts?.some(({ requestId }) => partition.receipts.has(requestId)) === true) {
      throw new StoreConflictError('a request was done before');
    }
    if (change.turns !== undefined && change.head.kind === 'orchestration') {
      const { from, texts } = change.turns;
      const { generation } = change.head;
      texts.forEach((text, offset) => partition.turns.set(`${generation}!${from + offset}`, text));
    }
    for (const { key, text } of change.addInbox ?? []) partition.inbox.set(key, text);
    for (const key of change.removeInbox ?? []) partition.inbox.delete(key);
    for (const { requestId, text } of change.addReceipts ?? []) partition.receipts.set(requestId, text);
    for (const requestId of change.removeReceipts ?? []) partition.receipts.delete(requestId);
    partition.head = JSON.stringify({ ...change.head, epoch: this.writerEpoch });
    partition.etag = this.#nextEtag++;
    return toStored(partition);
  }

  async remove(stored: StoredHead): Promise<void> {
    const partition = this.#partitions.get(stored.head.instanceId);
    if (partition === undefined) return;
    if (partition.etag !== stored.token) throw new StoreConflictError(`${stored.head.instanceId} has changed`);
    this.#partitions.delete(stored.head.instanceId);
  }

  async list(query: HeadQuery): Promise<HeadPage> {
    const matching = [...this.#partitions.keys()]
      .sort()
      .filter((id) => query.continuation === undefined || id > query.continuation)
      .map((id) => this.#partitions.get(id))
      .filter((partition) => partition !== undefined)
      .map(toStored)
      .filter((stored) => matches(stored.head, query));
    const heads = matching.slice(0, query.pageSize);
    const last = heads.at(-1);
    return matching.length > heads.length && last !== undefined
      ? { heads, continuation: last.head.instanceId }
      : { heads };
  }

  async listUnfinished(): Promise<string[]> {
    return [...this.#partitions.values()]
      .map((partition) => toStored(partition).head)
      .filter(hasWorkLeft)
      .map((head) => head.instanceId);
  }
}

function toStored(partition: Partition): StoredHead {
  return { head: instanceHead.parse(JSON.parse(partition.head)), token: partition.etag };
}

function matches(head: InstanceHead, query: HeadQuery): boolean {
  return (
    head.kind === query.kind &&
    (query.instanceIdPrefix === undefined || head.instanceId.startsWith(query.instanceIdPrefix)) &&
    (query.name === undefined || head.name === query.name) &&
    head.createdAtMs >= (query.createdFromMs ?? 0) &&
    head.createdAtMs <= (query.createdToMs ?? Number.MAX_SAFE_INTEGER) &&
    head.updatedAtMs >= (query.updatedFromMs ?? 0) &&
    head.updatedAtMs <= (query.updatedToMs ?? Number.MAX_SAFE_INTEGER) &&
    (query.statuses === undefined || (head.kind === 'orchestration' && query.statuses.includes(head.status)))
  );
}
