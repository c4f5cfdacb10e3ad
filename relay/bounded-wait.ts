import type { Temporal } from 'temporal-polyfill';
import type { Clock } from '../core/ports/clock.js';
import { pauseUnless } from './interruptible-pause.js';

/**
 * Resolves when business time has reached `until`, or after as much system time as that is away now, whichever comes first:
 * business time runs no slower, unless the clock was set back, and then nobody waits for the same hours twice. Rejects with
 * the signal's reason.
 */
export async function waitAtMostUntil(clock: Clock, until: Temporal.Instant, signal: AbortSignal): Promise<void> {
  const now = await clock.now();
  signal.throwIfAborted();
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  const longest = pauseUnless(either, Math.max(0, until.epochMilliseconds - now.epochMilliseconds));
  try {
    await Promise.race([clock.waitUntil(until, either), longest.then(() => signal.throwIfAborted())]);
  } finally {
    over.abort();
  }
}
