import { UnderstudyError } from '../domain/errors.js';

/**
 * The app's state: JSON rows in partitions, guarded by ETags. Azure Table Storage in production; one contract, one
 * conformance suite (test/support/conformance/state-table.ts).
 *
 * Promises: a resolved write is durable; `transact` is all or nothing; a read sees every write resolved before it began;
 * rows of a query come in ascending order of rowKey (UTF-16 code units).
 */
export interface StateTable {
  get(partition: string, rowKey: string): Promise<StateRow | undefined>;
  /** Those of up to 14 rows of one partition that are there, in one call, in no promised order. */
  getMany(partition: string, rowKeys: readonly string[]): Promise<StateRow[]>;
  /** Rows whose key starts with `prefix`, ascending. A page never holds more than `limit` rows (default and maximum 1000). */
  query(partition: string, range: RowRange): Promise<{ rows: StateRow[]; next: string | undefined }>;
  /** 1 … 100 operations on distinct rows of one partition. Rejects with `StateConflictError` when a condition fails; then nothing was written. Resolves with the new ETags in the order of the operations (undefined for a delete). */
  transact(partition: string, operations: readonly RowOperation[]): Promise<(string | undefined)[]>;
}

export interface StateRow {
  rowKey: string;
  etag: string;
  /** Plain JSON, at most `rowTextMaxBytes` as text. */
  value: unknown;
}

export interface RowRange {
  prefix: string;
  limit?: number;
  /** Continuation of an earlier page of the same range. */
  next?: string;
}

export type RowOperation =
  /** The row must not exist. */
  | { kind: 'insert'; rowKey: string; value: unknown }
  /** The row must exist with this ETag. */
  | { kind: 'replace'; rowKey: string; value: unknown; etag: string }
  /** Unconditional. */
  | { kind: 'upsert'; rowKey: string; value: unknown }
  /** The row must exist with this ETag; without one, deleting an absent row is no error. */
  | { kind: 'delete'; rowKey: string; etag?: string };

/** Most that a row's value may take as JSON text in UTF-8: an entity of Azure Table Storage holds 1 MiB, its keys and names included. */
export const rowTextMaxBytes = 900_000;
/** Most that the values of one transaction may take: Azure takes 4 MiB with all framing, and escapes make a text longer. */
export const transactionTextMaxBytes = 3_000_000;
/** Azure: an entity group transaction has at most 100 operations. */
export const transactionOperationsMax = 100;
/** Azure: a filter takes 15 comparisons (Querying tables and entities). */
export const getManyRowsMax = 14;
/** Azure: a page of a query holds at most 1000 rows. */
export const queryRowsMax = 1000;

/** A value is larger than the table takes; nothing was written. */
export class RowTooLargeError extends UnderstudyError {
  constructor(partition: string, rowKeys: readonly string[], foundBytes: number, maxBytes: number) {
    super({
      code: 'US6002',
      message: `US6002 writing ${rowKeys.join(', ')} in partition ${partition}: ${foundBytes} bytes of JSON, at most ${maxBytes} fit`,
      recommendedAction: 'Report this as a defect: what grows with the site belongs in rows of its own.',
      details: { partition, rowKeys, foundBytes, maxBytes },
    });
    this.name = 'RowTooLargeError';
  }
}

/** A condition of a transaction did not hold: read again and decide again. */
export class StateConflictError extends Error {
  constructor(
    readonly partition: string,
    readonly rowKeys: readonly string[],
    options?: ErrorOptions,
  ) {
    super(`another writer changed ${rowKeys.join(', ')} in partition ${partition}`, options);
    this.name = 'StateConflictError';
  }
}
