import { Temporal } from 'temporal-polyfill';
import type { Assignment } from '../core/domain/relay-protocol/wire.js';
import type { ItemState } from './item-state.js';

type Interval = Pick<Assignment, 'replicationIntervalSeconds'>;
type Starts = Pick<ItemState, 'lastSwitchAt' | 'checkpointAt'>;

/**
 * An interval after the logs were last closed, or begun; undefined where that was never, or after now: a clock that was set
 * back must not make an interval be waited for twice. The checkpoint's time is the host's, whose clock may be ahead.
 */
export function nextSwitchDue(
  { replicationIntervalSeconds }: Interval,
  starts: Starts,
  now: Temporal.Instant,
): Temporal.Instant | undefined {
  return lastStart(starts, now)?.add({ seconds: replicationIntervalSeconds });
}

function lastStart({ lastSwitchAt, checkpointAt }: Starts, now: Temporal.Instant): Temporal.Instant | undefined {
  const isPast = (at: Temporal.Instant): boolean => Temporal.Instant.compare(at, now) <= 0;
  const [switched, begun] = [lastSwitchAt, checkpointAt].map((at) => at && Temporal.Instant.from(at));
  if (switched && !isPast(switched)) return undefined;
  const starts = [switched, begun].flatMap((at) => (at && isPast(at) ? [at] : []));
  return starts.sort((a, b) => Temporal.Instant.compare(b, a))[0];
}

/**
 * Whole intervals since a cycle was due. While replication was paused none was. Where the interval was edited meanwhile, the
 * present one counts from then, and what was missed before stands as it was noted.
 */
export function missedCycleCount(
  assignment: Interval,
  local: Starts & Pick<ItemState, 'pausedSeconds' | 'pausedAt' | 'interval'>,
  now: Temporal.Instant,
): number {
  const start = lastStart(local, now);
  if (start === undefined) return 0;
  const edited = local.interval?.edited;
  const editedAt = edited && Temporal.Instant.from(edited.at);
  const isEditedSince = editedAt !== undefined && Temporal.Instant.compare(editedAt, start) > 0;
  // An edit counts once it is noted.
  const seconds = local.interval?.seconds ?? assignment.replicationIntervalSeconds;
  const dueOfStart = start.add({ seconds });
  const due = isEditedSince && Temporal.Instant.compare(editedAt, dueOfStart) > 0 ? editedAt : dueOfStart;
  const pausedUntil = local.pausedAt === undefined ? now : Temporal.Instant.from(local.pausedAt);
  const lateSeconds = pausedUntil.since(due).total('seconds') - (local.pausedSeconds ?? 0);
  const missedBefore = isEditedSince ? (edited?.missedCycleCount ?? 0) : 0;
  return missedBefore + Math.max(0, Math.floor(lateSeconds / seconds));
}

type Notes = { [Name in 'pausedAt' | 'pausedSeconds' | 'interval']?: ItemState[Name] | undefined };

/** What is to be noted of the assignment before anything is planned by it: since when it pauses, or has another interval. */
export function rhythmNotes(assignment: Assignment, local: ItemState, now: Temporal.Instant): Notes | undefined {
  return pauseNotes(assignment, local, now) ?? intervalNotes(assignment, local, now);
}

/** Keeps account of the time that replication is paused: no cycle is missed in it. */
function pauseNotes({ paused }: Assignment, local: ItemState, now: Temporal.Instant): Notes | undefined {
  const { pausedAt, pausedSeconds = 0 } = local;
  if (paused && pausedAt === undefined) return { pausedAt: now.toString() };
  if (paused || pausedAt === undefined) return undefined;
  const seconds = now.since(Temporal.Instant.from(pausedAt)).total('seconds');
  return { pausedAt: undefined, pausedSeconds: pausedSeconds + seconds };
}

/** Pauses count anew from an edit, as the intervals do. */
function intervalNotes(assignment: Assignment, local: ItemState, now: Temporal.Instant): Notes | undefined {
  const seconds = assignment.replicationIntervalSeconds;
  if (local.interval?.seconds === seconds) return undefined;
  if (local.interval === undefined) return { interval: { seconds } };
  const edited = { at: now.toString(), missedCycleCount: missedCycleCount(assignment, local, now) };
  return {
    interval: { seconds, edited },
    pausedSeconds: undefined,
    ...(local.pausedAt !== undefined && { pausedAt: now.toString() }),
  };
}
