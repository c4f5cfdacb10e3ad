import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stateTableConformance } from '../../support/conformance/state-table.js';
import { InMemoryStateTable } from '../../support/in-memory/state-table.js';

stateTableConformance('in-memory state table', async () => new InMemoryStateTable());

test('an injected fault strikes before or after the effect, as asked', async () => {
  const table = new InMemoryStateTable();
  table.faults.fail('transact', 'beforeEffect');
  table.faults.fail('transact', 'afterEffect', { skip: 0 });
  const write = (rowKey: string) => table.transact('p', [{ kind: 'insert', rowKey, value: 1 }]);
  await assert.rejects(write('lost'), /injected fault/);
  await assert.rejects(write('kept'), /injected fault/);
  await write('plain');
  assert.equal(await table.get('p', 'lost'), undefined);
  assert.equal((await table.get('p', 'kept'))?.value, 1);
  assert.equal(table.faults.pending, false);
});
