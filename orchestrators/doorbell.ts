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

/** How often rows are read where no doorbell rang: the longer it was waited, the more seldom, so that histories stay short. */
const pollSecondsMin = 10;
const pollSecondsMax = 60;
/** A look comes late by a twentieth of the wait at most. */
const pollShare = 1 / 20;

/**
 * Looks until `look` finds something, or gives up. A doorbell wait that lost against its timer stays open and would swallow
 * the next ring: so after the first such loss it only polls.
 */
export function* lookUntil<Found>(
  context: OrchestrationContext,
  look: () => Steps<Found | undefined>,
  timeoutSeconds: number,
): Steps<Found | undefined> {
  const begunMs = context.df.currentUtcDateTime.getTime();
  const deadline = secondsAfter(context.df.currentUtcDateTime, timeoutSeconds).getTime();
  let listening = true;
  for (;;) {
    const found = yield* look();
    if (found !== undefined || context.df.currentUtcDateTime.getTime() >= deadline) return found;
    const waitedSeconds = Math.round((context.df.currentUtcDateTime.getTime() - begunMs) / 1000);
    const pollSeconds = Math.min(Math.max(pollSecondsMin, Math.round(waitedSeconds * pollShare)), pollSecondsMax);
    if (listening) listening = (yield* waitForDoorbell(context, pollSeconds)) === 'rung';
    else yield* sleep(context, pollSeconds);
  }
}
