import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Temporal } from 'temporal-polyfill';
import { slotsKept } from '../../../../../core/domain/health/statistics-bucket.js';
import { summarize, withCycleCounted } from '../../../../../core/domain/health/statistics.js';
import type { ReplicationProgress } from '../../../../../core/domain/protected-item/protected-item.js';
import type { CycleManifest } from '../../../../../core/domain/relay-protocol/wire.js';
import { rows } from '../../../../../core/records/rows.js';
import {
  sampleItem,
  sampleLog,
  sampleManifest,
  sampleProgress,
  sampleVaultId,
} from '../../../../support/sample-item.js';

const start = Temporal.Instant.from('2026-01-05T10:10:00Z');
const at = (seconds: number): string => start.add({ seconds }).toString();
const policy = { replicationIntervalSeconds: 300 };

/** A cycle that is received at `receivedSeconds` after the start, `latencySeconds` after its log switch. */
const received = (
  progress: ReplicationProgress,
  receivedSeconds: number,
  latencySeconds: number,
  changes: Partial<CycleManifest> = {},
): ReplicationProgress => {
  const takenAt = at(receivedSeconds - latencySeconds);
  const manifest = sampleManifest(1, { takenAt, ...changes });
  return { ...withCycleCounted(progress, manifest, at(receivedSeconds)), receivedTakenAt: takenAt };
};
const logs = (...lengths: number[]): Pick<CycleManifest, 'disks'> => ({
  disks: lengths.map((lengthBytes, index) => ({
    diskId: `d${index}`,
    log: lengthBytes === 0 ? null : sampleLog({ lengthBytes }),
  })),
});

test('cycles are summed up over the monitoring interval: count, size and latency, average and largest', () => {
  let progress = sampleProgress({ phase: 'delta' });
  progress = received(progress, 0, 2, logs(100, 0));
  progress = received(progress, 300, 4, logs(100, 200));
  progress = received(progress, 1500, 12, { ...logs(0, 500), missedCycleCount: 3, freezeFailure: 'no VSS' });
  assert.equal(progress.statistics.length, 2, 'a bucket a half hour');
  const summary = summarize(sampleItem({ replication: progress }), policy, start.add({ seconds: 1500 }));
  assert.deepEqual(summary, {
    from: '2026-01-05T09:59:00Z',
    to: '2026-01-05T10:35:00Z',
    receivedCount: 3,
    missedCount: 3,
    missedShare: 0.5,
    averageBytes: 300,
    largestBytes: 500,
    averageLatencySeconds: 6,
    largestLatencySeconds: 12,
    freezeFailureCount: 1,
  });
});

test('what is older than the monitoring interval no longer counts, and the interval begins where it did', () => {
  const progress = received(sampleProgress({ phase: 'delta', paused: true }), 0, 1);
  const seen = (hours: number, minutes: number) =>
    summarize(sampleItem({ replication: progress }), policy, start.add({ hours, minutes }));
  assert.equal(seen(12, 19).receivedCount, 1);
  assert.equal(seen(12, 19).from, '2026-01-05T10:00:00Z');
  assert.equal(seen(12, 20).receivedCount, 0);
  assert.equal(seen(12, 20).from, '2026-01-05T10:30:00Z');
});

test('a line that is cut misses a cycle an interval, and the next manifest takes their place', () => {
  const before = received(sampleProgress({ phase: 'delta' }), 0, 0);
  const missed = (progress: ReplicationProgress, seconds: number) =>
    summarize(sampleItem({ replication: progress }), policy, start.add({ seconds })).missedCount;
  assert.deepEqual(
    [299, 300, 599, 600, 899, 900].map((seconds) => missed(before, seconds)),
    [0, 0, 0, 1, 1, 2],
  );
  const after = received(before, 960, 10, { missedCycleCount: 2 });
  assert.equal(missed(after, 960), 2);
  assert.equal(missed(before, 90 * 24 * 3600), (25 * 1800) / 300 - 1, 'no more than the interval holds');
});

test('an interval that was shortened misses nothing of the time before its edit', () => {
  const progress = received(sampleProgress({ phase: 'delta' }), 0, 0);
  const missed = (intervalEditedAt: string, seconds: number) =>
    summarize(
      sampleItem({ replication: progress }),
      { replicationIntervalSeconds: 30, intervalEditedAt },
      start.add({ seconds }),
    ).missedCount;
  assert.deepEqual(
    [870, 929, 930].map((seconds) => missed(at(870), seconds)),
    [0, 0, 1],
  );
  assert.equal(missed(at(-100), 90), 2);
});

test('a failed freeze stands until a point is application-consistent', () => {
  const failed = received(sampleProgress({ phase: 'delta' }), 0, 0, { freezeFailure: 'no VSS' });
  assert.deepEqual(failed.freezeFailure, { message: 'no VSS', at: at(0) });
  const crash = received(failed, 300, 0);
  assert.deepEqual(crash.freezeFailure, failed.freezeFailure);
  assert.equal(received(crash, 600, 0, { consistency: 'applicationConsistent' }).freezeFailure, undefined);
});

test('however long it runs, the buckets are bounded, ascending and of the monitoring interval; none is lost by the row', () => {
  const cycles = fc.array(
    fc.record({
      afterSeconds: fc.integer({ min: -5, max: 9000 }),
      latencySeconds: fc.integer({ min: -10, max: 4000 }),
      missedCycleCount: fc.integer({ min: 0, max: 50 }),
      lengthBytes: fc.integer({ min: 0, max: 2 ** 31 }),
    }),
    { maxLength: 200 },
  );
  fc.assert(
    fc.property(cycles, (list) => {
      let progress = sampleProgress({ phase: 'delta', paused: true });
      let seconds = 0;
      for (const { afterSeconds, latencySeconds, missedCycleCount, lengthBytes } of list) {
        seconds = Math.max(0, seconds + afterSeconds);
        progress = received(progress, seconds, latencySeconds, { missedCycleCount, ...logs(lengthBytes) });
      }
      const slots = progress.statistics.map(({ slot }) => slot);
      assert(slots.length <= slotsKept);
      assert.deepEqual(
        slots,
        [...new Set(slots)].sort((a, b) => a - b),
      );
      assert(slots.length === 0 || (slots.at(-1) ?? 0) - (slots[0] ?? 0) < slotsKept);
      const item = sampleItem({ replication: progress });
      const { codec } = rows.item(sampleVaultId, item.itemId);
      assert.deepEqual(codec?.decode(JSON.parse(JSON.stringify(codec.encode(item)))), item);
    }),
    { numRuns: 50 },
  );
});

test('the row of an item with a full interval stays small, and one of before there were statistics is read', () => {
  let progress = sampleProgress({ phase: 'delta' });
  for (let half = 0; half < 100; half++) {
    for (let cycle = 0; cycle < 60; cycle++) progress = received(progress, half * 1800 + cycle * 30, 25, logs(2 ** 30));
  }
  const item = sampleItem({ replication: progress });
  const { codec } = rows.item(sampleVaultId, item.itemId);
  const encoded = codec?.encode(item) as { replication: { statistics?: unknown } };
  assert(JSON.stringify(encoded.replication.statistics).length < 2000);
  const { excludedDiskIds: _ids, ...old } = sampleItem();
  const { statistics: _statistics, ...oldProgress } = old.replication;
  assert.deepEqual(codec?.decode({ ...old, replication: oldProgress }), sampleItem());
});
