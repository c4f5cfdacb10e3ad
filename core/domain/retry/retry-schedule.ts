import { Temporal } from 'temporal-polyfill';

/**
 * When the next attempt starts after recoverable failures (docs/architecture.md, "Who drives"): 1, 2, 4, 8 and 10 minutes
 * between the starts of attempts, then every 30: attempts at minutes 0, 1, 3, 7, 15, 25, 55, 85, …
 * Success forgets the failures; renewed contact or an operator's resume ends a wait at once.
 */
const firstWaitsMinutes: readonly number[] = [1, 2, 4, 8, 10];
const lastingWaitMinutes = 30;

/** Minutes between the start of the attempt that failed as the `failedAttempts`-th in a row and the start of the next. */
export function retryWaitMinutes(failedAttempts: number): number {
  if (!Number.isInteger(failedAttempts) || failedAttempts < 1) {
    throw new RangeError(`${failedAttempts} failed attempts: the count starts at 1`);
  }
  return firstWaitsMinutes[failedAttempts - 1] ?? lastingWaitMinutes;
}

/** Business time at which the next attempt starts. An attempt that lasted longer than its wait is followed at once. */
export function nextAttemptAt(
  attemptStartedAt: Temporal.Instant,
  failedAttempts: number,
  now: Temporal.Instant,
): Temporal.Instant {
  const due = attemptStartedAt.add({ minutes: retryWaitMinutes(failedAttempts) });
  return Temporal.Instant.compare(due, now) < 0 ? now : due;
}
