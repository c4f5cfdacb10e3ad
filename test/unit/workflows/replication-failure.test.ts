import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import { makeRecordReplicationFailure } from '../../../activities/replication-work.js';
import { replicationHealth } from '../../../core/domain/health/health.js';
import { insert, read } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { InMemoryStateTable } from '../../support/in-memory/state-table.js';
import { sampleHealthContext, sampleItem, sampleVaultId } from '../../support/sample-item.js';

const now = Temporal.Instant.from('2026-01-05T10:00:00Z');
const clock = { now: async () => now, waitUntil: () => Promise.reject(new Error('no test waits')) };

const messages: [string, string, string][] = [
  ['a message without a code', 'the log is cut short', 'US2042 the log is cut short'],
  ['a message that begins with its code', 'US2042 the log is cut short', 'US2042 the log is cut short'],
];
for (const [what, message, expected] of messages) {
  test(`a transfer log that apply refuses is told with its code, once: ${what}`, async () => {
    const table = new InMemoryStateTable();
    const item = sampleItem();
    const ref = rows.item(sampleVaultId, item.itemId);
    await table.transact(ref.partition, [insert(ref, item)]);
    await makeRecordReplicationFailure({ table, clock })({
      vaultId: sampleVaultId,
      itemId: item.itemId,
      protectionId: item.protectionId,
      epoch: item.replication.epoch,
      failure: { code: 'US2042', message, possibleCauses: '', recommendedAction: '', retry: 'never' },
      resync: true,
    });
    const stored = await read(table, ref);
    assert(stored);
    assert.deepEqual(stored.value.replication.resyncRequired, {
      reason: 'applyFailed',
      message: expected,
      at: now.toString(),
    });
    const told = replicationHealth(stored.value, sampleHealthContext, now).reasons.find(
      ({ code }) => code === 'US3050',
    );
    assert.equal(told?.message, expected);
  });
}
