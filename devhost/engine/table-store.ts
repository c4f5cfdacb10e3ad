import { randomUUID } from 'node:crypto';
import { RestError, TableClient } from '@azure/data-tables';
import type { TransactionAction } from '@azure/data-tables';
import { hasWorkLeft, instanceHead, largeFields, StoreConflictError } from './store.js';
import type {
  DurableStore,
  HeadChange,
  HeadPage,
  HeadQuery,
  InstanceHead,
  LargeField,
  LoadedInstance,
  StoredHead,
} from './store.js';
import { columnsText, encodeKey, joinRows, partKey, prefixEnd, textColumns, textRows } from './table-rows.js';
import type { Row } from './table-rows.js';

/*
 * One table per hub, one partition per instance. Row keys:
 *   s                         head: columns to query by, the rest as JSON in d0…; the commit point
 *   h!<generation>!<turn>!nnn a turn of the history; rows at and beyond the head's turn count are left-overs
 *   m!<key>!nnn               inbox message
 *   r!<requestId>!nnn         receipt of an entity operation
 *   x!<field>!<nonce>!nnn     large field of the head
 */
const headKey = 's';
/** Longer fields of a head get rows of their own, so that they are not written again with every turn. */
const inlineFieldChars = 10_000;
const maxTransactionRows = 100;
/** Azure takes 4 MiB a transaction, its envelope included. */
const maxTransactionBytes = 3_000_000;

interface Attachment {
  key: string;
  partCount: number;
}

interface Token {
  etag: string;
  attachments: Partial<Record<LargeField, Attachment>>;
  /** Row count of each inbox message and receipt, to delete them by. */
  partCounts: Map<string, number>;
}

/** Counts requests, for the benchmark. */
export interface TableStoreMeter {
  requestCount: number;
}

export async function openTableStore(options: {
  connectionString: string;
  hubName: string;
  /** Written into every head; a head of a newer writer is never replaced. */
  writerEpoch: number;
  meter?: TableStoreMeter;
}): Promise<TableStore> {
  const client = TableClient.fromConnectionString(options.connectionString, `${options.hubName}Instances`, {
    allowInsecureConnection: true,
    retryOptions: { maxRetries: 3, retryDelayInMs: 200, maxRetryDelayInMs: 2000 },
  });
  await client.createTable();
  return new TableStore(client, options.writerEpoch, options.meter);
}

/** State in Azure Table Storage. See `DurableStore` for what it promises. */
export class TableStore implements DurableStore {
  readonly #client: TableClient;
  readonly writerEpoch: number;
  readonly #meter: TableStoreMeter;

  constructor(client: TableClient, writerEpoch: number, meter?: TableStoreMeter) {
    this.#client = client;
    this.writerEpoch = writerEpoch;
    this.#meter = meter ?? { requestCount: 0 };
  }

  async load(instanceId: string): Promise<LoadedInstance | undefined> {
    const rows = await this.#query(`PartitionKey eq '${encodeKey(instanceId)}'`);
    const headRow = rows.find((row) => row.rowKey === headKey);
    if (headRow === undefined || headRow.removing === true) return undefined;
    const texts = joinRows(rows);
    const stored = toStored(headRow, texts);
    const turns: string[] = [];
    if (stored.head.kind === 'orchestration') {
      for (let index = 0; index < stored.head.turnCount; index++) {
        const turn = texts.get(turnKey(stored.head.generation, index));
        if (turn === undefined) throw new Error(`turn ${index} of instance ${instanceId} is missing from its table`);
        turns.push(turn.text);
      }
    }
    const inbox = [...texts]
      .filter(([key]) => key.startsWith('m!'))
      .map(([key, { text }]) => ({ key: key.slice(2), text }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    const receipts = new Map(
      [...texts].filter(([key]) => key.startsWith('r!')).map(([key, { text }]) => [key.slice(2), text]),
    );
    return { stored, turns, inbox, receipts };
  }

  async readHead(instanceId: string): Promise<StoredHead | undefined> {
    const partitionKey = encodeKey(instanceId);
    this.#meter.requestCount++;
    try {
      const headRow: Record<string, unknown> = await this.#client.getEntity(partitionKey, headKey);
      return headRow.removing === true ? undefined : await this.#withAttachments(headRow);
    } catch (error) {
      if (error instanceof RestError && error.statusCode === 404) return undefined;
      throw error;
    }
  }

  async create(head: InstanceHead, replaced?: StoredHead): Promise<StoredHead> {
    const partitionKey = encodeKey(head.instanceId);
    if (replaced !== undefined) {
      const stale = await this.#query(`PartitionKey eq '${partitionKey}' and RowKey ge 'm!' and RowKey lt 's'`);
      const change = this.#rowsOf(head, { etag: '', attachments: {}, partCounts: new Map() }, { head });
      const removal = stale.map((row): TransactionAction => ['delete', { partitionKey, rowKey: row.rowKey as string }]);
      return this.#write(replaced, change, removal);
    }
    const change = this.#rowsOf(head, { etag: '', attachments: {}, partCounts: new Map() }, { head });
    try {
      if (change.bulk.length === 0) {
        this.#meter.requestCount++;
        const { etag } = await this.#client.createEntity(change.headRow);
        return { head: change.head, token: { ...change.token, etag: etag ?? '' } };
      }
      const actions: TransactionAction[] = change.bulk.map((row) => ['upsert', row, 'Replace']);
      const etags = await this.#transact([...actions, ['create', change.headRow]]);
      return { head: change.head, token: { ...change.token, etag: etags.at(-1) ?? '' } };
    } catch (error) {
      if (!isConflict(error)) throw error;
      if (await this.#finishRemoval(partitionKey)) return this.create(head);
      // A repeated request finds what its first try wrote.
      const existing = await this.readHead(head.instanceId);
      if (existing?.head.kind === 'orchestration' && head.kind === 'orchestration') {
        if (existing.head.executionId === head.executionId) return existing;
      }
      throw asStoreError(error, head.instanceId);
    }
  }

  async commit(base: StoredHead, change: HeadChange): Promise<StoredHead> {
    const token = base.token as Token;
    const rows = this.#rowsOf(base.head, token, change);
    const partitionKey = encodeKey(base.head.instanceId);
    const inboxRows = (change.addInbox ?? []).flatMap(({ key, text }) => textRows(partitionKey, `m!${key}`, text));
    const receiptRows = (change.addReceipts ?? []).flatMap(({ requestId, text }) =>
      textRows(partitionKey, `r!${requestId}`, text),
    );
    const removed = [
      ...(change.removeInbox ?? []).map((key) => `m!${key}`),
      ...(change.removeReceipts ?? []).map((requestId) => `r!${requestId}`),
    ];
    const withHead: TransactionAction[] = [
      ...[...inboxRows, ...receiptRows].map((row): TransactionAction => ['create', row]),
      ...removed.flatMap((key) =>
        Array.from({ length: token.partCounts.get(key) ?? 1 }, (_, part): TransactionAction => {
          return ['delete', { partitionKey, rowKey: partKey(key, part) }];
        }),
      ),
      ...rows.droppedAttachments.flatMap(({ key, partCount }) =>
        Array.from({ length: partCount }, (_, part): TransactionAction => {
          return ['delete', { partitionKey, rowKey: partKey(key, part) }];
        }),
      ),
    ];
    const stored = await this.#write(base, rows, withHead);
    const { partCounts } = stored.token as Token;
    for (const row of [...inboxRows, ...receiptRows]) {
      partCounts.set(row.rowKey.slice(0, -4), row.partCount as number);
    }
    for (const key of removed) partCounts.delete(key);
    return stored;
  }

  async remove(stored: StoredHead): Promise<void> {
    const partitionKey = encodeKey(stored.head.instanceId);
    const { etag } = stored.token as Token;
    try {
      this.#meter.requestCount++;
      await this.#client.updateEntity({ partitionKey, rowKey: headKey, removing: true, unfinished: false }, 'Merge', {
        etag,
      });
      await this.#sweep(partitionKey);
    } catch (error) {
      throw asStoreError(error, stored.head.instanceId);
    }
  }

  /** Ends a removal that a crash cut short; false where the instance is really there. */
  async #finishRemoval(partitionKey: string): Promise<boolean> {
    const rows = await this.#query(`PartitionKey eq '${partitionKey}' and RowKey eq '${headKey}' and removing eq true`);
    if (rows.length > 0) await this.#sweep(partitionKey);
    return rows.length > 0;
  }

  /** Deletes all rows of a partition whose head is marked as removing; the head goes last. */
  async #sweep(partitionKey: string): Promise<void> {
    const rows = await this.#query(`PartitionKey eq '${partitionKey}'`, ['rowKey']);
    const rowKeys = rows.map((row) => row.rowKey as string).filter((rowKey) => rowKey !== headKey);
    const deletions = [...rowKeys, headKey].map((rowKey): TransactionAction => ['delete', { partitionKey, rowKey }]);
    while (deletions.length > 0) await this.#transact(deletions.splice(0, maxTransactionRows));
  }

  async list(query: HeadQuery): Promise<HeadPage> {
    const conditions = [`RowKey eq '${headKey}'`, `kind eq '${query.kind}'`];
    if (query.instanceIdPrefix !== undefined && query.instanceIdPrefix !== '') {
      const prefix = encodeKey(query.instanceIdPrefix);
      conditions.push(`PartitionKey ge '${prefix}'`, `PartitionKey lt '${prefixEnd(prefix)}'`);
    }
    if (query.name !== undefined) conditions.push(`name eq '${query.name.replaceAll("'", "''")}'`);
    if (query.createdFromMs !== undefined) conditions.push(`createdAt ge '${timeColumn(query.createdFromMs)}'`);
    if (query.createdToMs !== undefined) conditions.push(`createdAt le '${timeColumn(query.createdToMs)}'`);
    if (query.updatedFromMs !== undefined) conditions.push(`updatedAt ge '${timeColumn(query.updatedFromMs)}'`);
    if (query.updatedToMs !== undefined) conditions.push(`updatedAt le '${timeColumn(query.updatedToMs)}'`);
    if (query.statuses !== undefined && query.statuses.length > 0) {
      conditions.push(`(${query.statuses.map((status) => `status eq '${status}'`).join(' or ')})`);
    }
    this.#meter.requestCount++;
    const pages = this.#client.listEntities({ queryOptions: { filter: conditions.join(' and ') } }).byPage({
      maxPageSize: Math.min(query.pageSize, 1000),
      ...(query.continuation === undefined ? {} : { continuationToken: query.continuation }),
    });
    for await (const page of pages) {
      const heads: StoredHead[] = [];
      for (const row of page as Record<string, unknown>[]) {
        if (row.removing !== true) heads.push(await this.#withAttachments(row));
      }
      return page.continuationToken === undefined || page.continuationToken === ''
        ? { heads }
        : { heads, continuation: page.continuationToken };
    }
    return { heads: [] };
  }

  async listUnfinished(): Promise<string[]> {
    const rows = await this.#query(`RowKey eq '${headKey}' and unfinished eq true`, ['instanceId']);
    return rows.map((row) => row.instanceId as string);
  }

  async #query(filter: string, select?: string[]): Promise<Record<string, unknown>[]> {
    this.#meter.requestCount++;
    const rows: Record<string, unknown>[] = [];
    const queryOptions = select === undefined ? { filter } : { filter, select };
    for await (const row of this.#client.listEntities({ queryOptions })) rows.push(row);
    return rows;
  }

  async #withAttachments(headRow: Record<string, unknown>): Promise<StoredHead> {
    const attachments = Object.values(attachmentsOf(headRow));
    if (attachments.length === 0) return toStored(headRow, new Map());
    const partitionKey = headRow.partitionKey as string;
    const rows = await this.#query(`PartitionKey eq '${partitionKey}' and RowKey ge 'x!' and RowKey lt 'y'`);
    return toStored(headRow, joinRows(rows));
  }

  /** Splits a change into rows that may be written early (nothing refers to them yet) and the head's own row. */
  #rowsOf(previous: InstanceHead, token: Token, change: HeadChange) {
    const head = { ...change.head, epoch: this.writerEpoch };
    const partitionKey = encodeKey(head.instanceId);
    const bulk: Row[] = [];
    const attachments: Token['attachments'] = {};
    const droppedAttachments: Attachment[] = [];
    const inline: Record<string, unknown> = { ...head };
    for (const field of largeFields) {
      const value = fieldOf(head, field);
      const previousAttachment = token.attachments[field];
      const isUnchanged = previousAttachment !== undefined && fieldOf(previous, field) === value;
      if (previousAttachment !== undefined && !isUnchanged) droppedAttachments.push(previousAttachment);
      if (value === null || value.length <= inlineFieldChars) continue;
      inline[field] = null;
      if (isUnchanged) {
        attachments[field] = previousAttachment;
        continue;
      }
      const key = `x!${field}!${randomUUID()}`;
      const rows = textRows(partitionKey, key, value);
      attachments[field] = { key, partCount: rows.length };
      bulk.push(...rows);
    }
    if (change.turns !== undefined && head.kind === 'orchestration') {
      const { from, texts } = change.turns;
      texts.forEach((text, offset) => {
        bulk.push(...textRows(partitionKey, turnKey(head.generation, from + offset), text));
      });
    }
    const headRow: Row = {
      partitionKey,
      rowKey: headKey,
      instanceId: head.instanceId,
      kind: head.kind,
      name: head.name,
      status: head.kind === 'orchestration' ? head.status : '',
      createdAt: timeColumn(head.createdAtMs),
      updatedAt: timeColumn(head.updatedAtMs),
      unfinished: hasWorkLeft(head),
      attachments: JSON.stringify(attachments),
      ...textColumns(JSON.stringify(inline)),
    };
    const nextToken: Token = { etag: '', attachments, partCounts: token.partCounts };
    return { head, bulk, headRow, token: nextToken, droppedAttachments };
  }

  /** Rows first, the head last; each transaction carries the head's ETag, so a stale writer gets nothing in. */
  async #write(
    base: StoredHead,
    rows: { head: InstanceHead; bulk: Row[]; headRow: Row; token: Token },
    withHead: TransactionAction[],
  ): Promise<StoredHead> {
    const { partitionKey } = rows.headRow;
    let { etag } = base.token as Token;
    if (base.head.epoch > this.writerEpoch) {
      throw new StoreConflictError(`${base.head.instanceId} belongs to a newer writer (${base.head.epoch})`);
    }
    const bulk = rows.bulk.map((row): TransactionAction => ['upsert', row, 'Replace']);
    try {
      let pending = bulk;
      while (pending.length > 0 && !fits([...pending, ...withHead, ['upsert', rows.headRow, 'Replace']])) {
        const early: TransactionAction[] = [];
        while (pending[0] !== undefined && (early.length === 0 || fits([...early, pending[0], pending[0]]))) {
          early.push(pending[0]);
          pending = pending.slice(1);
        }
        const etags = await this.#transact([
          ...early,
          ['update', { partitionKey, rowKey: headKey, writing: randomUUID() }, 'Merge', { etag }],
        ]);
        etag = etags.at(-1) ?? '';
      }
      if (pending.length === 0 && withHead.length === 0) {
        this.#meter.requestCount++;
        const answer = await this.#client.updateEntity(rows.headRow, 'Replace', { etag });
        return { head: rows.head, token: { ...rows.token, etag: answer.etag ?? '' } };
      }
      const etags = await this.#transact([...pending, ...withHead, ['update', rows.headRow, 'Replace', { etag }]]);
      return { head: rows.head, token: { ...rows.token, etag: etags.at(-1) ?? '' } };
    } catch (error) {
      throw asStoreError(error, base.head.instanceId);
    }
  }

  async #transact(actions: TransactionAction[]): Promise<(string | undefined)[]> {
    this.#meter.requestCount++;
    const answer = await this.#client.submitTransaction(actions);
    return answer.subResponses.map((response) => response.etag);
  }
}

function fits(actions: TransactionAction[]): boolean {
  if (actions.length > maxTransactionRows) return false;
  let bytes = 0;
  for (const [, row] of actions) {
    for (const value of Object.values(row)) {
      bytes += typeof value === 'string' ? Buffer.byteLength(value) + 64 : 64;
      // Quotes and backslashes in JSON texts are escaped once more on the wire.
      if (typeof value === 'string' && value.length > 1000) bytes += Math.ceil(value.length / 4);
    }
  }
  return bytes <= maxTransactionBytes;
}

function turnKey(generation: number, index: number): string {
  return `h!${generation}!${String(index).padStart(8, '0')}`;
}

function timeColumn(atMs: number): string {
  return new Date(atMs).toISOString();
}

function fieldOf(head: InstanceHead, field: LargeField): string | null {
  if (head.kind === 'entity') return field === 'state' ? head.state : null;
  return field === 'state' ? null : head[field];
}

function attachmentsOf(headRow: Record<string, unknown>): Token['attachments'] {
  const text = headRow.attachments;
  return typeof text === 'string' ? (JSON.parse(text) as Token['attachments']) : {};
}

function toStored(
  headRow: Record<string, unknown>,
  texts: Map<string, { text: string; partCount: number }>,
): StoredHead {
  const attachments = attachmentsOf(headRow);
  const fields = JSON.parse(columnsText(headRow)) as Record<string, unknown>;
  for (const [field, attachment] of Object.entries(attachments)) {
    const joined = texts.get(attachment.key);
    if (joined === undefined) throw new Error(`field ${field} of ${String(headRow.instanceId)} is missing its rows`);
    fields[field] = joined.text;
  }
  const partCounts = new Map([...texts].map(([key, { partCount }]) => [key, partCount]));
  const token: Token = { etag: headRow.etag as string, attachments, partCounts };
  return { head: instanceHead.parse(fields), token };
}

function isConflict(error: unknown): boolean {
  return error instanceof RestError && [404, 409, 412].includes(error.statusCode ?? 0);
}

function asStoreError(error: unknown, instanceId: string): unknown {
  if (!isConflict(error)) return error;
  return new StoreConflictError(`${instanceId} exists already or has changed since it was read`, { cause: error });
}
