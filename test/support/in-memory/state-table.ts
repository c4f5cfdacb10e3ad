import assert from 'node:assert/strict';
import {
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
  private version = 0;
  /** Called after each transaction. */
  onChange: ((operations: readonly RowOperation[]) => void) | undefined;

  async get(partition: string, rowKey: string): Promise<StateRow | undefined> {
    return this.faults.around('get', () => {
      const entry = this.partitions.get(partition)?.get(rowKey);
      return entry && rowOf(rowKey, entry);
    });
  }

  async query(partition: string, range: RowRange): Promise<{ rows: StateRow[]; next: string | undefined }> {
    return this.faults.around('query', () => {
      const limit = range.limit ?? queryRowsMax;
      assert(limit >= 1 && limit <= queryRowsMax, `a page of ${limit} rows`);
      const entries = [...(this.partitions.get(partition) ?? [])]
        .filter(([rowKey]) => rowKey.startsWith(range.prefix) && (range.next === undefined || rowKey >= range.next))
        .sort(([a], [b]) => (a < b ? -1 : 1));
      return {
        rows: entries.slice(0, limit).map(([rowKey, entry]) => rowOf(rowKey, entry)),
        next: entries[limit]?.[0],
      };
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
      const etags = operations.map((operation, index) => {
        if (operation.kind === 'delete') {
          rows.delete(operation.rowKey);
          return undefined;
        }
        const etag = `"${++this.version}"`;
        rows.set(operation.rowKey, { etag, text: texts[index] ?? '' });
        return etag;
      });
      this.onChange?.(operations);
      return etags;
    });
  }
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
