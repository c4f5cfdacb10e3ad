import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import { nextAttemptAt, retryWaitMinutes } from '../../../core/domain/retry/retry-schedule.js';

test('attempts that fail at once start at minutes 0, 1, 3, 7, 15, 25, 55, 85', () => {
  const first = Temporal.Instant.from('2024-03-01T00:00:00Z');
  const starts = [first];
  for (let failed = 1; failed <= 7; failed++) {
    const last = starts[starts.length - 1] ?? first;
    starts.push(nextAttemptAt(last, failed, last));
  }
  assert.deepEqual(
    starts.map((start) => start.since(first).total('minutes')),
    [0, 1, 3, 7, 15, 25, 55, 85],
  );
});

test('an attempt that lasted longer than its wait is followed at once', () => {
  const started = Temporal.Instant.from('2024-03-01T00:00:00Z');
  const now = started.add({ minutes: 5 });
  assert.equal(nextAttemptAt(started, 1, now).toString(), now.toString());
});

test('a count of failed attempts below 1 is refused', () => {
  assert.throws(() => retryWaitMinutes(0), RangeError);
});
