import { Temporal } from 'temporal-polyfill';

/**
 * The next time at which clocks in `timeZone` show this time of day. A time that does not exist on a day comes as much later as
 * clocks were moved; of one that exists twice the first counts.
 */
export function nextStart(timeOfDay: string, timeZone: string, now: Temporal.Instant): Temporal.Instant {
  const plainTime = Temporal.PlainTime.from(timeOfDay);
  const today = now.toZonedDateTimeISO(timeZone).toPlainDate();
  const at = (day: Temporal.PlainDate): Temporal.Instant => day.toZonedDateTime({ timeZone, plainTime }).toInstant();
  return Temporal.Instant.compare(at(today), now) >= 0 ? at(today) : at(today.add({ days: 1 }));
}
