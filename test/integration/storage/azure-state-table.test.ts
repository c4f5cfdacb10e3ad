import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { StateConflictError, type RowOperation, type StateTable } from '../../../core/ports/state-table.js';
import { openTableStateTable } from '../../../providers/azure-storage/state-table.js';
import { startAzurite, type Azurite } from '../../support/azurite.js';
import { errorWithCode } from '../../support/conformance/error-code.js';
import { stateTableConformance } from '../../support/conformance/state-table.js';
import { startLossyProxy, type ProxyVerdict } from '../../support/lossy-proxy.js';

let azurite: Azurite;
before(async () => {
  azurite = await startAzurite();
});
after(() => azurite.stop());

stateTableConformance('table storage', async () =>
  openTableStateTable({ connectionString: azurite.connectionString, tableName: 'state' }),
);

test('the table is made at its first use, by many at once as well', async () => {
  const tables = Array.from({ length: 4 }, () =>
    openTableStateTable({ connectionString: azurite.connectionString, tableName: 'firstuse' }),
  );
  assert.equal(await tables[0]?.get('p', 'a'), undefined);
  await Promise.all(tables.map((table, index) => table.transact('p', [insert(`r${index}`, index)])));
  assert.equal((await tables[0]?.query('p', { prefix: '' }))?.rows.length, 4);
});

test('an endpoint with a shared key serves as well as a connection string; a wrong key is US6021', async () => {
  const [, accountKey = ''] = /AccountKey=([^;]*)/.exec(azurite.connectionString) ?? [];
  const endpoint = `http://127.0.0.1:${azurite.ports.table}/devstoreaccount1`;
  const open = (key: string) =>
    openTableStateTable({ endpoint, credential: { accountName: 'devstoreaccount1', accountKey: key } });
  const table = open(accountKey);
  await table.transact('p', [insert('a', 1)]);
  assert.equal((await table.get('p', 'a'))?.value, 1);
  const wrong = open(Buffer.from('wrong').toString('base64'));
  await assert.rejects(wrong.get('p', 'a'), errorWithCode('US6021'));
  await assert.rejects(wrong.transact('p', [insert('b', 1)]), errorWithCode('US6021'));
});

const insert = (rowKey: string, value: unknown): RowOperation => ({ kind: 'insert', rowKey, value });

/** Over a line that treats the next writes by the verdicts, then forwards all. */
async function overLossyLine(body: (table: StateTable, lose: (...verdicts: ProxyVerdict[]) => void) => Promise<void>) {
  const verdicts: ProxyVerdict[] = [];
  const proxy = await startLossyProxy(azurite.ports.table, ({ method }) =>
    method === 'GET' ? 'forward' : (verdicts.shift() ?? 'forward'),
  );
  const through = openTableStateTable({
    connectionString: proxy.through(azurite.connectionString),
    tableName: 'state',
  });
  try {
    await body(through, (...next) => verdicts.push(...next));
    assert.deepEqual(verdicts, []);
  } finally {
    await proxy.stop();
  }
}

test('a write whose answer is lost is not taken for a conflict', () =>
  overLossyLine(async (table, lose) => {
    const partition = 'lost-answers';
    lose('loseAnswer');
    const [first = ''] = await table.transact(partition, [insert('a', 1)]);
    assert.deepEqual(await table.get(partition, 'a'), { rowKey: 'a', etag: first, value: 1 });

    lose('loseAnswer', 'busy', 'loseRequest');
    const [second = ''] = await table.transact(partition, [{ kind: 'replace', rowKey: 'a', value: 2, etag: first }]);
    assert.deepEqual(await table.get(partition, 'a'), { rowKey: 'a', etag: second, value: 2 });

    lose('loseAnswer');
    const etags = await table.transact(partition, [
      insert('b', 1),
      { kind: 'delete', rowKey: 'a', etag: second },
      { kind: 'upsert', rowKey: 'c', value: 3 },
    ]);
    const { rows } = await table.query(partition, { prefix: '' });
    assert.deepEqual(
      rows.map((row) => [row.rowKey, row.etag]),
      [
        ['b', etags[0]],
        ['c', etags[2]],
      ],
    );

    lose('loseAnswer');
    assert.deepEqual(await table.transact(partition, [{ kind: 'delete', rowKey: 'b', etag: etags[0] ?? '' }]), [
      undefined,
    ]);
  }));

test('a true conflict stays one, also when answers are lost', () =>
  overLossyLine(async (table, lose) => {
    const partition = 'lost-conflicts';
    await table.transact(partition, [insert('a', 'other')]);
    lose('loseAnswer');
    await assert.rejects(table.transact(partition, [insert('a', 'mine')]), StateConflictError);
    lose('loseRequest', 'loseAnswer');
    await assert.rejects(table.transact(partition, [insert('b', 'mine'), insert('a', 'mine')]), StateConflictError);
    assert.equal((await table.get(partition, 'a'))?.value, 'other');
    assert.equal(await table.get(partition, 'b'), undefined);
  }));

test('a service that stays busy ends in US6020, to be tried later, and nothing was written', () =>
  overLossyLine(async (table, lose) => {
    lose('busy', 'busy', 'busy', 'busy', 'busy');
    await assert.rejects(table.transact('busy', [insert('a', 1)]), (error) => {
      assert(error instanceof UnderstudyError && error.retry === 'later');
      return errorWithCode('US6020')(error);
    });
    assert.equal(await table.get('busy', 'a'), undefined);
  }));

test('a row that someone else wrote into the table is refused, not guessed at', async () => {
  const connectionString = azurite.connectionString;
  const table = openTableStateTable({ connectionString, tableName: 'state' });
  const { TableClient } = await import('@azure/data-tables');
  const raw = TableClient.fromConnectionString(connectionString, 'state', { allowInsecureConnection: true });
  await raw.createEntity({ partitionKey: 'foreign', rowKey: 'a', text: '{"half":' });
  await assert.rejects(table.get('foreign', 'a'), errorWithCode('US6003'));
  await assert.rejects(table.query('foreign', { prefix: '' }), errorWithCode('US6003'));
});
