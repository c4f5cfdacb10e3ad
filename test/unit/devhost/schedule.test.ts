import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSchedule } from '../../../devhost/timers/schedule.js';

function occurrences(schedule: string, from: string, count: number, timeZone = 'UTC'): string[] {
  const parsed = parseSchedule(schedule, timeZone);
  const found: string[] = [];
  let at = Date.parse(from);
  for (let index = 0; index < count; index++) {
    at = parsed.next(at);
    found.push(new Date(at).toISOString().replace('.000Z', 'Z'));
  }
  return found;
}

test('NCRONTAB has seconds first', () => {
  assert.deepEqual(occurrences('*/20 * * * * *', '2026-01-01T00:00:05Z', 3), [
    '2026-01-01T00:00:20Z',
    '2026-01-01T00:00:40Z',
    '2026-01-01T00:01:00Z',
  ]);
  assert.deepEqual(occurrences('0 */5 * * * *', '2026-01-01T00:05:00Z', 2), [
    '2026-01-01T00:10:00Z',
    '2026-01-01T00:15:00Z',
  ]);
  assert.deepEqual(occurrences('0 30 9 * JAN Mon-Fri', '2026-01-02T12:00:00Z', 2), [
    '2026-01-05T09:30:00Z',
    '2026-01-06T09:30:00Z',
  ]);
});

test('a schedule keeps its local hour over the changes of daylight-saving time', () => {
  assert.deepEqual(occurrences('0 30 18 * * *', '2026-03-28T00:00:00Z', 3, 'Europe/Berlin'), [
    '2026-03-28T17:30:00Z',
    '2026-03-29T16:30:00Z',
    '2026-03-30T16:30:00Z',
  ]);
  // 02:30 is not there on the day the clocks go forward, and comes once on the day they go back.
  assert.equal(occurrences('0 30 2 * * *', '2026-03-28T12:00:00Z', 1, 'Europe/Berlin')[0], '2026-03-29T01:30:00Z');
  assert.deepEqual(occurrences('0 30 2 * * *', '2026-10-24T12:00:00Z', 2, 'Europe/Berlin'), [
    '2026-10-25T00:30:00Z',
    '2026-10-26T01:30:00Z',
  ]);
});

test('day of month and day of week must both match, unlike in cron', () => {
  assert.deepEqual(occurrences('0 0 0 1 * 1', '2026-01-01T00:00:00Z', 2), [
    '2026-06-01T00:00:00Z',
    '2027-02-01T00:00:00Z',
  ]);
});

test('a time span is a constant interval, with .NET reading hours over 23 as days', () => {
  assert.deepEqual(occurrences('01:30:00', '2026-01-01T00:00:00Z', 1), ['2026-01-01T01:30:00Z']);
  assert.deepEqual(occurrences('1.00:00:00', '2026-01-01T00:00:00Z', 1), ['2026-01-02T00:00:00Z']);
  assert.deepEqual(occurrences('24:00:00', '2026-01-01T00:00:00Z', 1), ['2026-01-25T00:00:00Z']);
});

test('only schedules of a minute and longer are monitored by default', () => {
  assert.equal(parseSchedule('*/30 * * * * *', 'UTC').isMonitored, false);
  assert.equal(parseSchedule('0 * * * * *', 'UTC').isMonitored, true);
  assert.equal(parseSchedule('00:00:30', 'UTC').isMonitored, false);
});

test('what NCRONTAB does not know is refused, though cron-parser knows it', () => {
  const refused: [string, RegExp][] = [
    ['*/5 * * * *', /six fields/],
    ['0 0 0 L * *', /day 'L'/],
    ['0 0 0 * * 5#2', /day of week/],
    ['0 0 0 * * 7', /day of week '7'/],
    ['0 0 0 ? * *', /day/],
    ['61 * * * * *', /61|onstraint/],
    ['@daily', /six fields/],
    ['00:00:00', /longer than nothing/],
  ];
  for (const [schedule, why] of refused) assert.throws(() => parseSchedule(schedule, 'UTC'), why, schedule);
});
