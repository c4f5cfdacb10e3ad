import { Temporal } from 'temporal-polyfill';
import { z } from 'zod';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { Clock } from '../../core/ports/clock.js';

/** The host's clock can be advanced at any time: nobody sleeps longer than this without looking at it. */
const lookAgainMs = 500;
const answerWithinMs = 5_000;
const clockAnswer = z.object({ now: z.iso.datetime({ offset: true }), speed: z.number().positive().optional() });

/** Business time: of the host that serves `GET <url>` as `{ now, speed? }`, or system time where there is no url. */
export function openBusinessClock(url: string | undefined): Clock {
  return url === undefined || url === '' ? clockOf(readSystem) : clockOf(() => readHost(url));
}

interface Reading {
  now: Temporal.Instant;
  /** Business seconds in a second of system time. */
  speed: number;
}

const readSystem = async (): Promise<Reading> => ({ now: Temporal.Now.instant(), speed: 1 });

async function readHost(url: string): Promise<Reading> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(answerWithinMs) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const { now, speed } = clockAnswer.parse(await response.json());
    return { now: Temporal.Instant.from(now), speed: speed ?? 1 };
  } catch (error) {
    throw new UnderstudyError({
      code: 'US5090',
      message: `The business clock ${url} does not answer: ${error instanceof Error ? error.message : String(error)}`,
      possibleCauses: 'The local host (devhost) is not running or just starting.',
      recommendedAction: 'Start it with "npm start", or unset UNDERSTUDY_CLOCK_URL to use system time.',
      retry: 'later',
      httpStatus: 503,
      cause: error,
    });
  }
}

function clockOf(read: () => Promise<Reading>): Clock {
  return {
    now: async () => (await read()).now,
    waitUntil: async (instant, signal) => {
      for (;;) {
        signal?.throwIfAborted();
        // A host that is down for a moment stops no clock: look again.
        const reading = await read().catch(() => undefined);
        const leftMs = reading && (instant.epochMilliseconds - reading.now.epochMilliseconds) / reading.speed;
        if (leftMs !== undefined && leftMs <= 0) return;
        await sleep(Math.min(Math.max(leftMs ?? lookAgainMs, 1), lookAgainMs), signal);
      }
    },
  };
}

function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener('abort', stop, { once: true });
  });
}
