import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CycleTimes } from '../../../bench/cycle-times.js';
import { sampleItem, sampleProgress } from '../../support/sample-item.js';

const minute = (minutes: number) => new Date(Date.UTC(2026, 0, 5, 10, minutes));
const item = (cycle: number, takenAtMinutes: number, appliedCycle = cycle) => {
  const takenAt = minute(takenAtMinutes).toISOString();
  const replication = { receivedCycle: cycle, receivedTakenAt: takenAt, receivedAt: takenAt, appliedCycle };
  return sampleItem({ replication: sampleProgress({ phase: 'delta', ...replication }) });
};

test('cycles, the time between them, RPO and what waits to be applied are read from the rows', () => {
  const times = new CycleTimes([item(3, 0)]);
  times.look([item(3, 0)], minute(4).getTime());
  times.look([item(4, 5, 3)], minute(7).getTime());
  times.look([item(5, 15)], minute(16).getTime());
  assert.deepEqual(times.summary(), {
    receivedCount: 2,
    appliedCount: 2,
    fewest: 2,
    most: 2,
    gapSeconds: { median: 600, worst: 600 },
    worstRpoSeconds: 240,
    worstApplyLagSeconds: 120,
    resyncCount: 0,
  });
});

test('a cycle that came unseen between two looks counts', () => {
  const times = new CycleTimes([item(3, 0)]);
  times.look([item(5, 10)], minute(11).getTime());
  const { receivedCount, gapSeconds } = times.summary();
  assert.equal(receivedCount, 2);
  assert.deepEqual(gapSeconds, { median: 300, worst: 300 });
});
