import type { RowOperation, StateTable } from '../ports/state-table.js';
import { StateConflictError } from '../ports/state-table.js';
import type { RowCodec, RowRef, RowsRef } from './rows.js';

/** A value as it was read, with what is needed to replace it safely. */
export interface Stored<T> {
  ref: RowRef<T>;
  value: T;
  etag: string;
}

export async function read<T>(table: StateTable, ref: RowRef<T>): Promise<Stored<T> | undefined> {
  const row = await table.get(ref.partition, ref.rowKey);
  return row && { ref, value: decoded(ref.codec, row.value), etag: row.etag };
}

/** Several rows of one partition in one call, each in the place of its ref. */
export async function readMany<Refs extends readonly RowRef<unknown>[]>(
  table: StateTable,
  partition: string,
  refs: Refs,
): Promise<{ [Index in keyof Refs]: ValueOf<Refs[Index]> | undefined }> {
  const found = await table.getMany(
    partition,
    refs.map(({ rowKey }) => rowKey),
  );
  return refs.map(({ rowKey, codec }) => {
    const row = found.find((each) => each.rowKey === rowKey);
    return row && decoded(codec, row.value);
  }) as { [Index in keyof Refs]: ValueOf<Refs[Index]> | undefined };
}
type ValueOf<Ref> = Ref extends RowRef<infer T> ? T : never;

const decoded = <T>(codec: RowCodec<T> | undefined, stored: unknown): T =>
  codec === undefined ? (stored as T) : codec.decode(stored);
const encoded = <T>({ codec }: RowRef<T>, value: T): unknown => (codec === undefined ? value : codec.encode(value));

/** All rows of a range, page by page. Ranges are bounded by what a vault may hold. */
export async function list<T>(
  table: StateTable,
  ref: RowsRef<T>,
  limit = Number.POSITIVE_INFINITY,
): Promise<Stored<T>[]> {
  const found: Stored<T>[] = [];
  let next: string | undefined;
  do {
    const page = await table.query(ref.partition, {
      prefix: ref.prefix,
      limit: Math.min(1000, limit - found.length),
      ...(next === undefined ? {} : { next }),
    });
    for (const row of page.rows) {
      const own: RowRef<T> = { partition: ref.partition, rowKey: row.rowKey, ...(ref.codec && { codec: ref.codec }) };
      found.push({ ref: own, value: decoded(ref.codec, row.value), etag: row.etag });
    }
    next = page.next;
  } while (next !== undefined && found.length < limit);
  return found;
}

export const insert = <T>(ref: RowRef<T>, value: T): RowOperation => ({
  kind: 'insert',
  rowKey: ref.rowKey,
  value: encoded(ref, value),
});
export const upsert = <T>(ref: RowRef<T>, value: T): RowOperation => ({
  kind: 'upsert',
  rowKey: ref.rowKey,
  value: encoded(ref, value),
});
export const replace = <T>(stored: Stored<T>, value: T): RowOperation => ({
  kind: 'replace',
  rowKey: stored.ref.rowKey,
  value: encoded(stored.ref, value),
  etag: stored.etag,
});
/** As it was read, or where it was not there: whoever else wrote it meanwhile is not overwritten. */
export const put = <T>(ref: RowRef<T>, stored: Stored<T> | undefined, value: T): RowOperation =>
  stored === undefined ? insert(ref, value) : replace(stored, value);
export const remove = <T>(stored: Stored<T>): RowOperation => ({
  kind: 'delete',
  rowKey: stored.ref.rowKey,
  etag: stored.etag,
});

/** Writers that meet on one row settle within a few rounds; more than this many means something is wrong. */
const conflictRoundsMax = 20;

/**
 * Reads, decides, writes; on a conflict with another writer begins anew. `decide` may run several times and must not have
 * effects of its own.
 */
export async function decideAndCommit<T>(
  table: StateTable,
  partition: string,
  decide: () => Promise<{ operations: RowOperation[]; result: T }>,
): Promise<T> {
  for (let round = 1; ; round++) {
    const { operations, result } = await decide();
    if (operations.length === 0) return result;
    try {
      await table.transact(partition, operations);
      return result;
    } catch (error) {
      if (!(error instanceof StateConflictError) || round >= conflictRoundsMax) throw error;
    }
  }
}
