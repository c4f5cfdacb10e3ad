import type { OrchestrationContext } from 'durable-functions';
import { secondsAfter } from '../core/domain/workflows/dates.js';
import { doorbellEvent } from '../core/domain/workflows/workflows.js';
import { sleep, type Steps } from './orchestrator.js';

/** Waits until the doorbell rings or the time is over; whichever it was, rows are read again. */
export function* waitForDoorbell(context: OrchestrationContext, seconds: number): Steps<'rung' | 'elapsed'> {
  const rung = context.df.waitForExternalEvent(doorbellEvent);
  const timer = context.df.createTimer(secondsAfter(context.df.currentUtcDateTime, seconds));
  const winner = yield context.df.Task.any([rung, timer]);
  if (winner === timer) return 'elapsed';
  timer.cancel();
  return 'rung';
}

/** How often rows are read where no doorbell rang: soon at first, and more seldom the longer it lasts. */
const pollSecondsMin = 10;
const pollSecondsMax = 60;
/** Of the time that was waited already: what is found is found late by so much, and history grows with the time's logarithm. */
const pollShare = 0.1;

/**
 * Looks until `look` finds something, or gives up. A doorbell wait that lost against its timer stays open and would swallow
 * the next ring: so after the first such loss it only polls.
 */
export function* lookUntil<Found>(
  context: OrchestrationContext,
  look: () => Steps<Found | undefined>,
  timeoutSeconds: number,
): Steps<Found | undefined> {
  const startMs = context.df.currentUtcDateTime.getTime();
  let listening = true;
  for (;;) {
    const found = yield* look();
    const waitedSeconds = (context.df.currentUtcDateTime.getTime() - startMs) / 1000;
    if (found !== undefined || waitedSeconds >= timeoutSeconds) return found;
    const pauseSeconds = pauseAfter(waitedSeconds, timeoutSeconds);
    if (listening) listening = (yield* waitForDoorbell(context, pauseSeconds)) === 'rung';
    else yield* sleep(context, pauseSeconds);
  }
}

/** Whole seconds, so that the last pause is not cut into ever smaller ones. */
function pauseAfter(waitedSeconds: number, timeoutSeconds: number): number {
  const pauseSeconds = Math.min(Math.max(Math.floor(waitedSeconds * pollShare), pollSecondsMin), pollSecondsMax);
  return Math.min(pauseSeconds, Math.ceil(timeoutSeconds - waitedSeconds));
}
