import { Temporal } from 'temporal-polyfill';
import type { Clock } from '../../core/ports/clock.js';

/** Business time that stands still until a test advances it. */
export class ManualClock implements Clock {
  #now: Temporal.Instant;
  readonly #waiting = new Set<{ until: Temporal.Instant; wake: () => void }>();

  constructor(start = '2024-03-01T12:00:00Z') {
    this.#now = Temporal.Instant.from(start);
  }

  now(): Promise<Temporal.Instant> {
    return Promise.resolve(this.#now);
  }

  waitUntil(until: Temporal.Instant, signal?: AbortSignal): Promise<void> {
    if (Temporal.Instant.compare(until, this.#now) <= 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiting = { until, wake: resolve };
      this.#waiting.add(waiting);
      const giveUp = () => {
        this.#waiting.delete(waiting);
        reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
      };
      if (signal?.aborted) giveUp();
      signal?.addEventListener('abort', giveUp, { once: true });
    });
  }

  /** The instants that someone waits for, ascending. */
  get awaited(): string[] {
    return [...this.#waiting].map(({ until }) => until.toString()).sort();
  }

  advance(seconds: number): void {
    this.#now = this.#now.add({ seconds });
    for (const waiting of this.#waiting) {
      if (Temporal.Instant.compare(waiting.until, this.#now) > 0) continue;
      this.#waiting.delete(waiting);
      waiting.wake();
    }
  }
}
