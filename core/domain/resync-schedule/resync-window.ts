import { Temporal } from 'temporal-polyfill';

export interface ResyncWindow {
  /** Times of day, `HH:MM`, as clocks in `timeZone` show them. */
  windowStart: string;
  windowEnd: string;
  /** IANA name. */
  timeZone: string;
}

/**
 * Does the window that began today or yesterday still run? Start and end are instants, found once for each day: on a day on
 * which clocks change, the window is longer or shorter but never falls into two. A time that does not exist on that day comes
 * as much later as clocks were moved; of one that exists twice the first counts.
 */
export function isInWindow({ windowStart, windowEnd, timeZone }: ResyncWindow, now: Temporal.Instant): boolean {
  const start = Temporal.PlainTime.from(windowStart);
  const end = Temporal.PlainTime.from(windowEnd);
  const endsNextDay = Temporal.PlainTime.compare(end, start) <= 0;
  const today = now.toZonedDateTimeISO(timeZone).toPlainDate();
  return [today, today.subtract({ days: 1 })].some((date) => {
    const instant = (day: Temporal.PlainDate, plainTime: Temporal.PlainTime) =>
      day.toZonedDateTime({ timeZone, plainTime }).toInstant();
    return (
      Temporal.Instant.compare(instant(date, start), now) <= 0 &&
      Temporal.Instant.compare(now, instant(endsNextDay ? date.add({ days: 1 }) : date, end)) < 0
    );
  });
}
