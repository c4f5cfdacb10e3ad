import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { StateConflictError, type StateTable } from '../../../core/ports/state-table.js';

/** What every StateTable keeps. Each test works in a partition of its own. */
export function stateTableConformance(name: string, open: () => Promise<StateTable>): void {
  const check = (behaviour: string, body: (table: StateTable, partition: string) => Promise<void>): void => {
    test(`${name}: ${behaviour}`, async () => body(await open(), `p-${randomUUID()}`));
  };
  const insertRow = async (table: StateTable, partition: string, rowKey: string, value: unknown): Promise<string> => {
    const [etag] = await table.transact(partition, [{ kind: 'insert', rowKey, value }]);
    assert(etag !== undefined);
    return etag;
  };
  const keysBelow = async (table: StateTable, partition: string, prefix: string, limit?: number): Promise<string[]> => {
    const keys: string[] = [];
    let next: string | undefined;
    do {
      const page = await table.query(partition, {
        prefix,
        ...(limit && { limit }),
        ...(next !== undefined && { next }),
      });
      assert(page.rows.length <= (limit ?? 1000));
      keys.push(...page.rows.map((row) => row.rowKey));
      next = page.next;
    } while (next !== undefined);
    return keys;
  };

  check('a row reads back as it was written, with the ETag of the write', async (table, partition) => {
    const value = {
      text: 'žluťoučký 🐎 "quoted" \\ \u0000 \ud800',
      list: [1, null, true, { deep: [] }],
      big: 2 ** 53 - 1,
    };
    const etag = await insertRow(table, partition, 'item!a', value);
    assert.deepEqual(await table.get(partition, 'item!a'), { rowKey: 'item!a', etag, value });
  });

  check('an absent row and an absent partition read as undefined', async (table, partition) => {
    assert.equal(await table.get(partition, 'nothing'), undefined);
    assert.deepEqual(await table.query(partition, { prefix: '' }), { rows: [], next: undefined });
  });

  check('several rows are read at once: those that are there', async (table, partition) => {
    await insertRow(table, partition, 'a', 1);
    await insertRow(table, partition, "b'!=20", { two: 2 });
    await insertRow(table, partition, 'c', 3);
    const found = await table.getMany(partition, ['c', "b'!=20", 'nothing']);
    assert.deepEqual(
      found.map(({ rowKey, value }) => [rowKey, value]).sort(),
      [
        ["b'!=20", { two: 2 }],
        ['c', 3],
      ].sort(),
    );
    assert.equal((await table.get(partition, 'c'))?.etag, found.find(({ rowKey }) => rowKey === 'c')?.etag);
    assert.deepEqual(await table.getMany(`${partition}-absent`, ['a']), []);
  });

  check('an insert over a row is refused and leaves it alone', async (table, partition) => {
    await insertRow(table, partition, 'a', 1);
    await assert.rejects(insertRow(table, partition, 'a', 2), StateConflictError);
    assert.equal((await table.get(partition, 'a'))?.value, 1);
  });

  check('a replace needs the present ETag, and a row', async (table, partition) => {
    const old = await insertRow(table, partition, 'a', 1);
    const [fresh] = await table.transact(partition, [{ kind: 'replace', rowKey: 'a', value: 2, etag: old }]);
    assert.notEqual(fresh, old);
    const conflict = table.transact(partition, [{ kind: 'replace', rowKey: 'a', value: 3, etag: old }]);
    await assert.rejects(conflict, (error) => error instanceof StateConflictError && error.rowKeys.includes('a'));
    const absent = table.transact(partition, [{ kind: 'replace', rowKey: 'b', value: 3, etag: old }]);
    await assert.rejects(absent, StateConflictError);
    assert.equal((await table.get(partition, 'a'))?.value, 2);
    assert.equal(await table.get(partition, 'b'), undefined);
  });

  check('an upsert writes whatever was there', async (table, partition) => {
    for (const value of [{ a: 1 }, { b: 2 }]) {
      const [etag] = await table.transact(partition, [{ kind: 'upsert', rowKey: 'a', value }]);
      assert.deepEqual(await table.get(partition, 'a'), { rowKey: 'a', etag, value });
    }
  });

  check('a delete with a stale ETag is refused; without one it may come twice', async (table, partition) => {
    const old = await insertRow(table, partition, 'a', 1);
    await table.transact(partition, [{ kind: 'replace', rowKey: 'a', value: 2, etag: old }]);
    const stale = table.transact(partition, [{ kind: 'delete', rowKey: 'a', etag: old }]);
    await assert.rejects(stale, StateConflictError);
    assert.deepEqual(await table.transact(partition, [{ kind: 'delete', rowKey: 'a' }]), [undefined]);
    assert.equal(await table.get(partition, 'a'), undefined);
    assert.deepEqual(await table.transact(partition, [{ kind: 'delete', rowKey: 'a' }]), [undefined]);
    const gone = table.transact(partition, [{ kind: 'delete', rowKey: 'a', etag: old }]);
    await assert.rejects(gone, StateConflictError);
  });

  check('a transaction writes all of its rows', async (table, partition) => {
    const old = await insertRow(table, partition, 'a', 1);
    await insertRow(table, partition, 'b', 1);
    const etags = await table.transact(partition, [
      { kind: 'replace', rowKey: 'a', value: 'replaced', etag: old },
      { kind: 'delete', rowKey: 'b' },
      { kind: 'delete', rowKey: 'never-there' },
      { kind: 'insert', rowKey: 'c', value: 'inserted' },
      { kind: 'upsert', rowKey: 'd', value: 'upserted' },
    ]);
    assert.deepEqual(
      (await table.query(partition, { prefix: '' })).rows.map((row) => [row.rowKey, row.value, row.etag]),
      [
        ['a', 'replaced', etags[0]],
        ['c', 'inserted', etags[3]],
        ['d', 'upserted', etags[4]],
      ],
    );
    assert.deepEqual([etags[1], etags[2]], [undefined, undefined]);
  });

  check('a transaction with one failed condition writes nothing', async (table, partition) => {
    const old = await insertRow(table, partition, 'a', 1);
    await table.transact(partition, [{ kind: 'replace', rowKey: 'a', value: 2, etag: old }]);
    const refused = table.transact(partition, [
      { kind: 'insert', rowKey: 'before', value: 1 },
      { kind: 'replace', rowKey: 'a', value: 3, etag: old },
      { kind: 'upsert', rowKey: 'after', value: 1 },
      { kind: 'delete', rowKey: 'never-there' },
    ]);
    await assert.rejects(refused, (error) => error instanceof StateConflictError && error.rowKeys.includes('a'));
    assert.deepEqual(await keysBelow(table, partition, ''), ['a']);
    assert.equal((await table.get(partition, 'a'))?.value, 2);
  });

  check('a transaction takes 100 operations and no more', async (table, partition) => {
    const operations = Array.from({ length: 101 }, (_, index) => ({
      kind: 'insert' as const,
      rowKey: `r${String(index).padStart(3, '0')}`,
      value: index,
    }));
    await assert.rejects(table.transact(partition, operations));
    await assert.rejects(table.transact(partition, []));
    assert.deepEqual(await keysBelow(table, partition, ''), []);
    const etags = await table.transact(partition, operations.slice(0, 100));
    const { rows } = await table.query(partition, { prefix: '' });
    assert.deepEqual(
      rows.map((row) => [row.value, row.etag]),
      etags.map((etag, index) => [index, etag]),
    );
  });

  check('of eight racing inserts, and of eight racing replaces, exactly one wins', async (table, partition) => {
    const race = async (write: (writer: number) => Promise<unknown>): Promise<number> => {
      const results = await Promise.allSettled(Array.from({ length: 8 }, (_, writer) => write(writer)));
      for (const result of results) {
        if (result.status === 'rejected') assert(result.reason instanceof StateConflictError, String(result.reason));
      }
      const winners = results.flatMap((result, writer) => (result.status === 'fulfilled' ? [writer] : []));
      assert.equal(winners.length, 1);
      return winners[0] ?? -1;
    };
    const first = await race((writer) => insertRow(table, partition, 'a', { writer }));
    const row = await table.get(partition, 'a');
    assert.deepEqual(row?.value, { writer: first });
    const second = await race((writer) =>
      table.transact(partition, [
        { kind: 'replace', rowKey: 'a', value: { writer }, etag: row.etag },
        { kind: 'upsert', rowKey: 'b', value: { writer } },
      ]),
    );
    assert.deepEqual((await table.get(partition, 'a'))?.value, { writer: second });
    assert.deepEqual((await table.get(partition, 'b'))?.value, { writer: second });
  });

  check('rows of a range come in ascending order, page by page, and no others', async (table, partition) => {
    const inside = ['cycle!x!0000000001', 'cycle!x!0000000002', 'cycle!x!0000000010', 'cycle!x!~', 'cycle!x!é'];
    const outside = ['cycle!w!9', 'cycle!x', 'cycle!y!0', 'cyclf', 'CYCLE!X!1', 'a'];
    await table.transact(
      partition,
      [...inside]
        .reverse()
        .concat(outside)
        .map((rowKey) => ({ kind: 'insert' as const, rowKey, value: rowKey })),
    );
    for (const limit of [undefined, 1, 2, 5]) {
      assert.deepEqual(await keysBelow(table, partition, 'cycle!x!', limit), inside);
    }
    assert.deepEqual(await keysBelow(table, partition, ''), [...inside, ...outside].sort());
  });

  check('more than a thousand rows arrive over several pages, also as the range changes', async (table, partition) => {
    for (let first = 0; first < 1100; first += 100) {
      await table.transact(
        partition,
        Array.from({ length: 100 }, (_, index) => ({
          kind: 'insert' as const,
          rowKey: `r${String(first + index).padStart(6, '0')}`,
          value: first + index,
        })),
      );
    }
    const first = await table.query(partition, { prefix: 'r' });
    assert.equal(first.rows.length, 1000);
    assert(first.next !== undefined);
    await table.transact(partition, [
      { kind: 'delete', rowKey: 'r000000' },
      { kind: 'delete', rowKey: 'r001000' },
    ]);
    const second = await table.query(partition, { prefix: 'r', next: first.next });
    assert.deepEqual(
      second.rows.map((row) => row.value),
      Array.from({ length: 99 }, (_, index) => 1001 + index),
    );
    assert.equal(second.next, undefined);
  });

  check('a value of many properties’ length is kept whole, one too large is refused', async (table, partition) => {
    // 29,999 characters and a pair of surrogates: a split at 30,000 would tear the pair.
    const seam = 'x'.repeat(29_998) + '🐎'.repeat(40_000);
    for (const [rowKey, text] of [
      ['seam', seam],
      ['medium', 'y"'.repeat(150_000)],
      ['large', 'z'.repeat(890_000)],
      ['multibyte', 'ž'.repeat(440_000)],
    ] as const) {
      await insertRow(table, partition, rowKey, { text });
      const found = (await table.get(partition, rowKey))?.value as { text: string };
      assert(found.text === text, `${rowKey} was changed`);
    }
    const { rows } = await table.query(partition, { prefix: 's' });
    assert((rows[0]?.value as { text: string }).text === seam);
    const tooLarge = (error: unknown): boolean => error instanceof UnderstudyError && error.code === 'US6002';
    await assert.rejects(insertRow(table, partition, 'huge', 'x'.repeat(900_001)), tooLarge);
    await assert.rejects(
      table.transact(
        partition,
        [1, 2, 3, 4].map((n) => ({ kind: 'upsert' as const, rowKey: `part${n}`, value: 'x'.repeat(800_000) })),
      ),
      tooLarge,
    );
    assert.equal(await table.get(partition, 'huge'), undefined);
    assert.equal(await table.get(partition, 'part1'), undefined);
  });

  check('a small value leaves nothing of a larger one that it replaces', async (table, partition) => {
    const etag = await insertRow(table, partition, 'a', 'x'.repeat(100_000));
    const [second] = await table.transact(partition, [{ kind: 'replace', rowKey: 'a', value: 'small', etag }]);
    assert.deepEqual(await table.get(partition, 'a'), { rowKey: 'a', etag: second, value: 'small' });
    await table.transact(partition, [{ kind: 'upsert', rowKey: 'a', value: 'x'.repeat(700_000) }]);
    await table.transact(partition, [{ kind: 'upsert', rowKey: 'a', value: ['tiny'] }]);
    assert.deepEqual((await table.get(partition, 'a'))?.value, ['tiny']);
  });

  check('partitions do not see each other', async (table, partition) => {
    await insertRow(table, partition, 'a', 1);
    await insertRow(table, `${partition}-x`, 'a', 2);
    assert.equal((await table.get(partition, 'a'))?.value, 1);
    assert.deepEqual(await keysBelow(table, partition, ''), ['a']);
  });
}
