import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeEvaluatePrerequisites } from '../../../activities/prerequisites.js';
import { asVaultId } from '../../../core/domain/ids.js';
import { insert, read, upsert } from '../../../core/records/access.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem, vaultId } from '../../support/api/replicated-items.js';

test('a VM that another vault protects is refused, and named', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const { first } = await ReplicatedItem.put(harness, relay);
  const codes = async (): Promise<string[]> => {
    const { itemId, protectionId } = first;
    const input = { vaultId, itemId, protectionId, jobName: 'j' as never };
    const outcome = await makeEvaluatePrerequisites(harness.app)(input);
    return outcome.kind === 'failed'
      ? outcome.failures.map(({ code, message }) => (code === 'US3132' ? `${code} ${message}` : code))
      : [];
  };
  const before = await codes();
  assert.ok(!before.some((each) => each.startsWith('US3132')));

  const otherPath = vaultPath.replace(/local$/, 'other');
  assert.equal((await harness.arm('PUT', otherPath, { location: 'local' })).status, 201);
  const other = asVaultId(otherPath);
  const partition = vaultPartition(other);
  await harness.table.transact(partition, [insert(rows.item(other, first.itemId), { ...first, itemName: 'sql-dr' })]);
  assert.deepEqual(await codes(), before, 'as long as its VMM server is not registered there');
  const fabric = await read(harness.table, rows.fabric(vaultId, first.fabricName));
  assert(fabric);
  await harness.table.transact(partition, [upsert(rows.fabric(other, first.fabricName), fabric.value)]);
  const found = (await codes()).filter((each) => each.startsWith('US3132'));
  assert.equal(found.length, 1);
  assert.match(found[0] ?? '', /in vault other, as sql-dr/);
});
