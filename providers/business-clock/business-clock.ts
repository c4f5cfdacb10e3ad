import { setTimeout as sleep } from 'node:timers/promises';
import { Temporal } from 'temporal-polyfill';
import { z } from 'zod';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { Clock } from '../../core/ports/clock.js';

/** Business time as the host serves it at `url`; system time where there is no URL. */
export function openBusinessClock(url: string | undefined): Clock {
  return url === undefined || url === '' ? new SystemClock() : new ServedClock(url);
}

/** Timers of Node end at 24.8 days; the machine may sleep meanwhile, so that we look again now and then. */
const systemLookMs = 60_000;

class SystemClock implements Clock {
  async now(): Promise<Temporal.Instant> {
    return Temporal.Now.instant();
  }

  async waitUntil(instant: Temporal.Instant, signal?: AbortSignal): Promise<void> {
    for (;;) {
      signal?.throwIfAborted();
      const leftMs = instant.epochMilliseconds - Date.now();
      if (leftMs <= 0) return;
      await pause(Math.min(leftMs, systemLookMs), signal);
    }
  }
}

const reading = z.object({ now: z.iso.datetime({ offset: true }), speed: z.number().positive() });
/** How soon an advanced clock is noticed. All who wait share one reading, so that many cost no more than one. */
const pollMs = 200;
const answerTimeoutMs = 5_000;

interface Reading {
  now: Temporal.Instant;
  speed: number;
  atMs: number;
}

class ServedClock implements Clock {
  private asking: Promise<Reading> | undefined;
  private askingNext: Promise<Reading> | undefined;
  private last: Reading | undefined;

  constructor(private readonly url: string) {}

  async now(): Promise<Temporal.Instant> {
    return (await this.fresh()).now;
  }

  async waitUntil(instant: Temporal.Instant, signal?: AbortSignal): Promise<void> {
    for (;;) {
      signal?.throwIfAborted();
      const found = await this.recent().catch(() => undefined);
      signal?.throwIfAborted();
      if (!found) {
        // The host is down. Business time cannot be seen to pass: wait until it is back, or the signal.
        await pause(pollMs, signal);
        continue;
      }
      const leftMs = Temporal.Instant.compare(found.now, instant) >= 0 ? 0 : until(found, instant) / found.speed;
      if (leftMs <= 0) return;
      await pause(Math.min(leftMs, pollMs), signal);
    }
  }

  /** At most a little old, and never ahead of the host. */
  private async recent(): Promise<Reading> {
    const { last } = this;
    if (last && performance.now() - last.atMs < pollMs / 4) return last;
    return this.fresh();
  }

  /** Not older than the call. However many ask, one question is under way, and the next one is asked for all who came meanwhile. */
  private fresh(): Promise<Reading> {
    if (this.asking === undefined) {
      this.asking = this.fetchReading().finally(() => (this.asking = undefined));
      return this.asking;
    }
    this.askingNext ??= this.asking
      .catch(() => undefined)
      .then(() => {
        this.askingNext = undefined;
        return this.fresh();
      });
    return this.askingNext;
  }

  private async fetchReading(): Promise<Reading> {
    let found: unknown;
    try {
      const response = await fetch(this.url, { signal: AbortSignal.timeout(answerTimeoutMs) });
      found = response.ok ? await response.json() : `status ${response.status}`;
    } catch (error) {
      throw unreadable(this.url, error instanceof Error ? describe(error) : String(error), error);
    }
    const parsed = reading.safeParse(found);
    if (!parsed.success) throw unreadable(this.url, `the answer ${JSON.stringify(found)}`, parsed.error);
    const { now, speed } = parsed.data;
    this.last = { now: Temporal.Instant.from(now), speed, atMs: performance.now() };
    return this.last;
  }
}

const until = (found: Reading, instant: Temporal.Instant): number =>
  instant.since(found.now).total({ unit: 'milliseconds' });

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(Math.ceil(ms), undefined, signal && { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

const describe = (error: Error): string =>
  error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;

function unreadable(url: string, found: string, cause: unknown): UnderstudyError {
  return new UnderstudyError({
    code: 'US6040',
    message: `US6040 reading business time at ${url}: ${found}`,
    retry: 'later',
    possibleCauses: 'The local host is down or is just starting.',
    recommendedAction: 'Start the host, or unset UNDERSTUDY_CLOCK_URL to use system time.',
    cause,
  });
}
