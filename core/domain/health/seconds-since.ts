import { Temporal } from 'temporal-polyfill';

/** Whole seconds of business time. */
export const secondsSince = (instant: string, now: Temporal.Instant): number =>
  Math.floor((now.epochMilliseconds - Temporal.Instant.from(instant).epochMilliseconds) / 1000);
