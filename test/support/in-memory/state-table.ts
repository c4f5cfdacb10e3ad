import assert from 'node:assert/strict';
import {
  getManyRowsMax,
  queryRowsMax,
  RowTooLargeError,
  rowTextMaxBytes,
  StateConflictError,
  transactionOperationsMax,
  transactionTextMaxBytes,
  type RowOperation,
  type RowRange,
  type StateRow,
  type StateTable,
} from '../../../core/ports/state-table.js';
import { Faults } from './faults.js';

interface Entry {
  etag: string;
  text: string;
}

/** The state table's contract in one process's memory. Values pass through JSON, as in the real one. */
export class InMemoryStateTable implements StateTable {
  readonly faults = new Faults();
  private readonly partitions = new Map<string, Map<string, Entry>>();
  /** Of each partition, ascending: a partition of many thousand rows is listed again and again. */
  private readonly sortedKeys = new Map<string, string[]>();
  private version = 0;
  /** Called after each transaction. */
  onChange: ((operations: readonly RowOperation[]) => void) | undefined;

  async get(partition: string, rowKey: string): Promise<StateRow | undefined> {
    return this.faults.around('get', () => {
      const entry = this.partitions.get(partition)?.get(rowKey);
      return entry && rowOf(rowKey, entry);
    });
  }

  async getMany(partition: string, rowKeys: readonly string[]): Promise<StateRow[]> {
    return this.faults.around('getMany', () => {
      assert(rowKeys.length >= 1 && rowKeys.length <= getManyRowsMax, `${rowKeys.length} rows at once`);
      const rows = this.partitions.get(partition);
      return rowKeys.flatMap((rowKey) => {
        const entry = rows?.get(rowKey);
        return entry === undefined ? [] : [rowOf(rowKey, entry)];
      });
    });
  }

  async query(partition: string, range: RowRange): Promise<{ rows: StateRow[]; next: string | undefined }> {
    return this.faults.around('query', () => {
      const limit = range.limit ?? queryRowsMax;
      assert(limit >= 1 && limit <= queryRowsMax, `a page of ${limit} rows`);
      const rows = this.partitions.get(partition);
      const keys = this.sortedKeys.get(partition) ?? [];
      const found: StateRow[] = [];
      const from = range.next !== undefined && range.next > range.prefix ? range.next : range.prefix;
      for (let at = placeOf(keys, from); at < keys.length; at++) {
        const rowKey = keys[at] ?? '';
        if (!rowKey.startsWith(range.prefix)) break;
        if (found.length === limit) return { rows: found, next: rowKey };
        const entry = rows?.get(rowKey);
        if (entry) found.push(rowOf(rowKey, entry));
      }
      return { rows: found, next: undefined };
    });
  }

  async transact(partition: string, operations: readonly RowOperation[]): Promise<(string | undefined)[]> {
    return this.faults.around('transact', () => {
      assert(
        operations.length >= 1 && operations.length <= transactionOperationsMax,
        `a transaction of ${operations.length} operations`,
      );
      assert.equal(new Set(operations.map((operation) => operation.rowKey)).size, operations.length, 'rows repeat');
      const texts = operations.map((operation) => (operation.kind === 'delete' ? '' : textOf(operation.value)));
      let totalBytes = 0;
      for (const [index, text] of texts.entries()) {
        const bytes = Buffer.byteLength(text);
        totalBytes += bytes;
        const rowKey = operations[index]?.rowKey ?? '';
        if (bytes > rowTextMaxBytes) throw new RowTooLargeError(partition, [rowKey], bytes, rowTextMaxBytes);
      }
      if (totalBytes > transactionTextMaxBytes) {
        const rowKeys = operations.map((operation) => operation.rowKey);
        throw new RowTooLargeError(partition, rowKeys, totalBytes, transactionTextMaxBytes);
      }

      const rows = this.partitions.get(partition) ?? new Map<string, Entry>();
      const refused = operations.filter((operation) => !holds(operation, rows.get(operation.rowKey)));
      if (refused.length > 0) {
        throw new StateConflictError(
          partition,
          refused.map((operation) => operation.rowKey),
        );
      }
      this.partitions.set(partition, rows);
      const keys = this.sortedKeys.get(partition) ?? [];
      this.sortedKeys.set(partition, keys);
      const etags = operations.map((operation, index) => {
        const isThere = rows.has(operation.rowKey);
        if (operation.kind === 'delete') {
          if (isThere) keys.splice(placeOf(keys, operation.rowKey), 1);
          rows.delete(operation.rowKey);
          return undefined;
        }
        if (!isThere) keys.splice(placeOf(keys, operation.rowKey), 0, operation.rowKey);
        const etag = `"${++this.version}"`;
        rows.set(operation.rowKey, { etag, text: texts[index] ?? '' });
        return etag;
      });
      this.onChange?.(operations);
      return etags;
    });
  }
}

/** Index of the first key that is not below this one. */
function placeOf(keys: readonly string[], key: string): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((keys[middle] ?? '') < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function holds(operation: RowOperation, found: Entry | undefined): boolean {
  switch (operation.kind) {
    case 'insert':
      return found === undefined;
    case 'replace':
      return found?.etag === operation.etag;
    case 'upsert':
      return true;
    case 'delete':
      return operation.etag === undefined || found?.etag === operation.etag;
  }
}

function textOf(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  assert(text !== undefined, 'a row needs a JSON value');
  return text;
}

const rowOf = (rowKey: string, entry: Entry): StateRow => ({
  rowKey,
  etag: entry.etag,
  value: JSON.parse(entry.text) as unknown,
});
