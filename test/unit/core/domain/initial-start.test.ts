import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import { nextStart } from '../../../../core/domain/policy/initial-start.js';

const next = (timeOfDay: string, now: string): string =>
  nextStart(timeOfDay, 'Europe/Berlin', Temporal.Instant.from(now)).toString();

test('the next time of day in the site’s time zone, also where clocks change', () => {
  assert.equal(next('22:30:00', '2026-01-05T10:00:00Z'), '2026-01-05T21:30:00Z');
  assert.equal(next('22:30', '2026-01-05T21:30:00Z'), '2026-01-05T21:30:00Z');
  assert.equal(next('22:30', '2026-01-05T21:30:01Z'), '2026-01-06T21:30:00Z');
  assert.equal(next('22:30', '2026-07-05T10:00:00Z'), '2026-07-05T20:30:00Z');
  // 29 March 2026, 02:00 to 03:00 is left out; 25 October 2026, 02:00 to 03:00 comes twice.
  assert.equal(next('02:30', '2026-03-28T23:30:00Z'), '2026-03-29T01:30:00Z');
  assert.equal(next('02:30', '2026-10-24T23:00:00Z'), '2026-10-25T00:30:00Z');
});
