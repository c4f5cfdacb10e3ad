import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Temporal } from 'temporal-polyfill';
import { planRetention } from '../../../../core/domain/recovery-point/retention.js';
import type { RecoveryPoint } from '../../../../core/domain/recovery-point/recovery-point.js';
import { sampleProtectionId } from '../../../support/sample-item.js';

const start = Temporal.Instant.from('2026-01-05T00:00:00Z');
const hour = 3600;

const pointAt = (cycle: number, seconds: number, changes: Partial<RecoveryPoint> = {}): RecoveryPoint => ({
  recoveryPointId: `point-${cycle}`,
  protectionId: sampleProtectionId,
  epoch: 1,
  cycle,
  takenAt: start.add({ seconds }).toString(),
  consistency: 'crashConsistent',
  state: 'ready',
  disks: [],
  pinnedBy: [],
  ...changes,
});
const at = (seconds: number): Temporal.Instant => start.add({ seconds });
const hours = (recoveryPointHistoryHours: number) => ({ recoveryPointHistoryHours });

test('with the default policy a day of cycles leaves the last hour whole and one point of each clock hour before it', () => {
  // As it goes in life: after each cycle what is due is dropped.
  let points: RecoveryPoint[] = [];
  for (let cycle = 1; cycle <= (12 * hour) / 300; cycle++) {
    points.push(pointAt(cycle, cycle * 300));
    const dropped = planRetention(points, hours(2), at(cycle * 300));
    points = points.filter((point) => !dropped.includes(point));
  }
  assert.deepEqual(
    points.map(({ takenAt }) => takenAt.slice(11, 16)),
    // 12:00 now: 11:00 … 12:00 whole, and what stands for 10 o'clock; 09:55 is older than two hours.
    [
      '10:55',
      '11:00',
      '11:05',
      '11:10',
      '11:15',
      '11:20',
      '11:25',
      '11:30',
      '11:35',
      '11:40',
      '11:45',
      '11:50',
      '11:55',
      '12:00',
    ],
  );
});

test('an application-consistent point stands for its hour before a newer crash-consistent one', () => {
  const points = [
    pointAt(1, 60),
    pointAt(2, 600, { consistency: 'applicationConsistent' }),
    pointAt(3, 1200),
    pointAt(4, 3 * hour),
  ];
  assert.deepEqual(
    planRetention(points, hours(24), at(3 * hour)).map(({ cycle }) => cycle),
    [1, 3],
  );
});

test('a history of 0 hours keeps the newest point only', () => {
  const points = [pointAt(1, 60), pointAt(2, 120), pointAt(3, 180)];
  assert.deepEqual(
    planRetention(points, hours(0), at(200)).map(({ cycle }) => cycle),
    [1, 2],
  );
});

const anyPoints = fc
  .array(
    fc.record({
      gapSeconds: fc.integer({ min: 1, max: 2 * hour }),
      consistent: fc.boolean(),
      pinned: fc.boolean(),
      state: fc.constantFrom(
        'ready' as const,
        'ready' as const,
        'ready' as const,
        'intent' as const,
        'deleting' as const,
      ),
    }),
    { minLength: 1, maxLength: 60 },
  )
  .map((entries) => {
    let seconds = 0;
    return entries.map(({ gapSeconds, consistent, pinned, state }, index) =>
      pointAt(index + 1, (seconds += gapSeconds), {
        consistency: consistent ? 'applicationConsistent' : 'crashConsistent',
        pinnedBy: pinned && index % 5 === 0 ? ['job'] : [],
        state,
      }),
    );
  });

test('whatever the points, the newest, the pinned, the last hour and one point an hour stay', () => {
  fc.assert(
    fc.property(
      anyPoints,
      fc.integer({ min: 1, max: 24 }),
      fc.integer({ min: 0, max: 3 * hour }),
      (points, history, later) => {
        const last = points.at(-1);
        assert(last);
        const now = Temporal.Instant.from(last.takenAt).add({ seconds: later });
        const dropped = planRetention(points, hours(history), now);
        const ready = points.filter(({ state }) => state === 'ready');
        const kept = ready.filter((point) => !dropped.includes(point));
        const ageOf = (point: RecoveryPoint): number =>
          (now.epochMilliseconds - Temporal.Instant.from(point.takenAt).epochMilliseconds) / 1000;
        assert(dropped.every(({ state, pinnedBy }) => state === 'ready' && pinnedBy.length === 0));
        const newest = ready.at(-1);
        if (newest) assert(kept.includes(newest));
        for (const point of ready) if (ageOf(point) <= hour) assert(kept.includes(point));
        const hourOf = (point: RecoveryPoint): string => point.takenAt.slice(0, 13);
        const within = ready.filter((point) => ageOf(point) <= history * hour);
        // An hour keeps a point unless the one that stands for it is older than the history.
        for (const point of within) {
          const sameHour = ready.filter((other) => hourOf(other) === hourOf(point));
          if (sameHour.every((other) => within.includes(other))) {
            assert(
              kept.some((other) => hourOf(other) === hourOf(point)),
              `nothing is left of ${hourOf(point)}`,
            );
          }
        }
        const again = planRetention(
          points.filter((point) => !dropped.includes(point)),
          hours(history),
          now,
        );
        assert.deepEqual(again, [], 'a second look drops nothing more');
      },
    ),
  );
});
