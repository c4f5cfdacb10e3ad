import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Temporal } from 'temporal-polyfill';
import { isInWindow } from '../../../../../core/domain/resync-schedule/resync-window.js';

const berlin = 'Europe/Berlin';
const newYork = 'America/New_York';
const at = (window: string, timeZone: string, instant: string): boolean => {
  const [windowStart = '', windowEnd = ''] = window.split('-');
  return isInWindow({ windowStart, windowEnd, timeZone }, Temporal.Instant.from(instant));
};

/** Edges of windows as instants: the first that is inside, and the first that is not any more. */
const edges: [what: string, window: string, timeZone: string, opens: string, closes: string][] = [
  ['a winter night', '18:30-06:00', berlin, '2026-01-05T17:30:00Z', '2026-01-06T05:00:00Z'],
  ['a summer night', '18:30-06:00', berlin, '2026-07-05T16:30:00Z', '2026-07-06T04:00:00Z'],
  ['a window within a day', '01:00-04:00', newYork, '2026-01-05T06:00:00Z', '2026-01-05T09:00:00Z'],
  ['a window that ends at midnight', '22:00-00:00', berlin, '2026-01-05T21:00:00Z', '2026-01-05T23:00:00Z'],
  ['a window that starts at midnight', '00:00-06:00', berlin, '2026-01-04T23:00:00Z', '2026-01-05T05:00:00Z'],
  // Clocks go from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25.
  ['Berlin, the short night', '18:30-06:00', berlin, '2026-03-28T17:30:00Z', '2026-03-29T04:00:00Z'],
  ['Berlin, the long night', '18:30-06:00', berlin, '2026-10-24T16:30:00Z', '2026-10-25T05:00:00Z'],
  [
    'a start that does not exist comes an hour later',
    '02:30-06:00',
    berlin,
    '2026-03-29T01:30:00Z',
    '2026-03-29T04:00:00Z',
  ],
  ['an end that does not exist too', '01:00-02:30', berlin, '2026-03-29T00:00:00Z', '2026-03-29T01:30:00Z'],
  [
    'of a start that comes twice the first counts',
    '02:30-06:00',
    berlin,
    '2026-10-25T00:30:00Z',
    '2026-10-25T05:00:00Z',
  ],
  ['of an end that comes twice too', '22:00-02:30', berlin, '2026-10-24T20:00:00Z', '2026-10-25T00:30:00Z'],
  // From 02:00 to 03:00 on 2026-03-08, and from 02:00 to 01:00 on 2026-11-01.
  ['New York, the short night', '18:30-06:00', newYork, '2026-03-07T23:30:00Z', '2026-03-08T10:00:00Z'],
  ['New York, the long night', '18:30-06:00', newYork, '2026-10-31T22:30:00Z', '2026-11-01T11:00:00Z'],
];
for (const [what, window, timeZone, opens, closes] of edges) {
  test(`${what} (${window}): from ${opens} to before ${closes}`, () => {
    const before = (instant: string) => Temporal.Instant.from(instant).subtract({ seconds: 1 }).toString();
    assert.deepEqual(
      [before(opens), opens, before(closes), closes].map((instant) => at(window, timeZone, instant)),
      [false, true, true, false],
    );
  });
}

test('on every day of a year the window opens once and closes once, whatever clocks do', () => {
  const minute = fc.integer({ min: 0, max: 24 * 60 - 1 });
  const text = (minutes: number) =>
    `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;
  fc.assert(
    fc.property(
      minute,
      minute,
      fc.constantFrom(berlin, newYork, 'Asia/Kolkata', 'Australia/Lord_Howe'),
      fc.constantFrom('2026-03-07', '2026-03-28', '2026-04-04', '2026-10-03', '2026-10-24', '2026-10-31', '2026-06-15'),
      (start, end, timeZone, date) => {
        // A window of nearly a day may close and open in the same minute where a day is shorter than others.
        fc.pre((end - start + 1440) % 1440 >= 5 && (start - end + 1440) % 1440 >= 65);
        const noon = Temporal.PlainDate.from(date).toZonedDateTime({ timeZone, plainTime: text(start) });
        const first = noon.subtract({ minutes: 1 }).toInstant();
        const until = noon.add({ days: 1 }).subtract({ minutes: 1 }).toInstant();
        let changes = 0;
        let inside = at(`${text(start)}-${text(end)}`, timeZone, first.toString());
        assert(!inside, 'before it opens it is closed');
        for (let now = first; Temporal.Instant.compare(now, until) <= 0; now = now.add({ minutes: 1 })) {
          const next = at(`${text(start)}-${text(end)}`, timeZone, now.toString());
          if (next !== inside) changes++;
          inside = next;
        }
        assert.equal(changes, 2);
      },
    ),
    { numRuns: 30 },
  );
});
