import { Temporal } from 'temporal-polyfill';
import type { Clock } from '../../core/ports/clock.js';

/** Business time for the site. Between readings of the clock the last one is carried on, for stamps that need no more. */
export class SiteTime {
  private offsetMs = 0;

  constructor(private readonly clock: Clock) {}

  async now(): Promise<Temporal.Instant> {
    const now = await this.clock.now();
    this.offsetMs = now.epochMilliseconds - Date.now();
    return now;
  }

  /** Never fails and asks nobody. */
  approximateMs(): number {
    return Date.now() + this.offsetMs;
  }

  approximateText(): string {
    return new Date(this.approximateMs()).toISOString();
  }

  /**
   * The last reading carried on. Taken while writes are held, right after `now` was asked without holding them: never
   * later than the truth where business time runs at least as fast as system time.
   */
  approximateNow(): Temporal.Instant {
    return Temporal.Instant.fromEpochMilliseconds(this.approximateMs());
  }
}
