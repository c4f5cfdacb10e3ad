import { Temporal } from 'temporal-polyfill';
import type { ClosedCycle, TrackingStatus } from '../core/ports/hypervisor-host.js';
import type { Assignment } from '../core/domain/relay-protocol/wire.js';
import type { ItemState } from './item-state.js';
import { isBaseApplied, isBaseReceived, isBaseStarted, sendsBase } from './plan-base-step.js';
import { missedCycleCount, nextSwitchDue } from './rhythm.js';

/** All that the next step of an item depends on. */
export interface ItemFacts {
  /** What the app wants, with what it has confirmed since. */
  assignment: Assignment;
  tracking: TrackingStatus;
  /** Ascending. */
  closedCycles: readonly ClosedCycle[];
  local: ItemState;
  now: Temporal.Instant;
  /** Cycles through this one are closed without waiting for the interval: the VM is off, and its last writes are wanted. */
  switchDueThrough?: number;
  /** A closed log that turned out to be unusable when it was read. */
  unusableLog?: LostPart & { cycle: number };
  /** After a failover: the site does not say whether a checkpoint still stands. */
  isSiteSilent?: boolean;
  /** The checkpoint that a base is sent from, or what belongs to it, turned out to be gone. */
  lostBase?: LostPart;
}

/** What only a resynchronization can replace. */
export interface LostPart {
  epoch: number;
  reason: string;
  message: string;
  at: string;
}

export type ItemStep =
  | {
      kind: 'rest';
      why: 'idle' | 'paused' | 'stopped' | 'resyncRequired' | 'finalSent' | 'nextCycle';
      until?: Temporal.Instant;
    }
  | { kind: 'startBase' }
  | { kind: 'requireResync'; reason: string; message: string; at: string }
  | { kind: 'releaseCheckpoint'; checkpointId: string }
  | { kind: 'unlockSource'; lockId: string }
  | { kind: 'discardCycles'; throughCycle: number }
  | { kind: 'sendCycle'; cycle: ClosedCycle; closesBase: boolean }
  | {
      kind: 'switchLogs';
      cycle: number;
      consistency: 'crashConsistent' | 'applicationConsistent';
      closesBase: boolean;
      missedCycleCount: number;
    }
  | { kind: 'relationshipMissing' };

/** A site that was failed over from is asked so often for a checkpoint that it may still hold. */
const silentSiteMinutes = 10;

/**
 * What an item's cycles need next. Pure: the truth is the site's closed logs and the app's confirmations, so that a relay
 * that was killed anywhere plans the same step again. No log is switched while a closed cycle is unsent: a late cycle
 * delays the next, and at most one cycle waits on-premises beside the open logs.
 */
export function planNextStep(facts: ItemFacts): ItemStep {
  const { assignment, tracking, local, now, lostBase } = facts;
  if (assignment.phase === 'stopped') {
    const again = facts.isSiteSilent === true ? { until: now.add({ minutes: silentSiteMinutes }) } : {};
    return releaseStanding(tracking) ?? { kind: 'rest', why: 'stopped', ...again };
  }
  // A failback has a lane of its own.
  if (assignment.phase === 'idle' || assignment.phase === 'failback') return { kind: 'rest', why: 'idle' };
  const unlock = planUnlock(facts);
  if (unlock !== undefined) return unlock;
  const isStartDue = sendsBase(assignment.phase) && !isBaseStarted(local) && !isBaseApplied(assignment);
  // What the site lost is told whatever the item waits for; before a base it is the epoch before that lost it.
  // The app knows: whatever base the checkpoint was for, the next one has a checkpoint of its own.
  const doomed = assignment.resyncRequired && !isStartDue ? releaseStanding(tracking) : undefined;
  if (doomed !== undefined) return doomed;
  if (tracking.kind === 'resyncRequired' && !isStartDue) {
    return { kind: 'requireResync', reason: tracking.reason, message: tracking.message, at: tracking.at };
  }
  const release = isBaseApplied(assignment) ? releaseStanding(tracking) : undefined;
  if (release !== undefined && tracking.kind === 'tracking') return release;
  const isHeld = assignment.paused || assignment.resyncRequired;
  if (isHeld && isStartDue) return rest(assignment);
  if (isHeld) return planDiscard(facts) ?? rest(assignment);
  if (lostBase?.epoch === assignment.epoch) {
    return { kind: 'requireResync', reason: lostBase.reason, message: lostBase.message, at: lostBase.at };
  }
  if (isStartDue) return { kind: 'startBase' };
  if (tracking.kind !== 'tracking') return { kind: 'relationshipMissing' };
  return planCycle(facts, tracking.lastClosedCycle) ?? planSwitch(facts, tracking.lastClosedCycle, now);
}

/** A planned failover that failed or was given up leaves its lock behind: the VM is used again at once, whatever else waits. */
function planUnlock({ assignment, tracking }: ItemFacts): ItemStep | undefined {
  if (tracking.kind === 'notReplicated' || tracking.lockId === undefined) return undefined;
  return tracking.lockId === assignment.sourceLock ? undefined : { kind: 'unlockSource', lockId: tracking.lockId };
}

/** Nobody asks for its base any more, and as long as it stands every write of the guest grows its side file. */
function releaseStanding(tracking: TrackingStatus): ItemStep | undefined {
  if (tracking.kind === 'notReplicated' || tracking.checkpointId === undefined) return undefined;
  return { kind: 'releaseCheckpoint', checkpointId: tracking.checkpointId };
}

const rest = ({ paused }: Assignment): ItemStep => ({ kind: 'rest', why: paused ? 'paused' : 'resyncRequired' });

/** What the app has need not be kept, and must not count as logged and unacknowledged. */
function planDiscard({ assignment, closedCycles }: ItemFacts): ItemStep | undefined {
  const { receivedCycle } = assignment;
  return closedCycles.some(({ cycle }) => cycle <= receivedCycle)
    ? { kind: 'discardCycles', throughCycle: receivedCycle }
    : undefined;
}

/** What to do about the cycles that are closed, if anything. */
function planCycle(facts: ItemFacts, lastClosedCycle: number): ItemStep | undefined {
  const { assignment, closedCycles, local, now, unusableLog } = facts;
  const received = assignment.receivedCycle;
  const gap = (found: string): ItemStep => ({
    kind: 'requireResync',
    reason: 'sequenceGap',
    message: `The app has received the cycles through ${received} of ${assignment.vmName}, but ${found}.`,
    at: now.toString(),
  });
  if (lastClosedCycle < received) return gap(`the site has closed only those through ${lastClosedCycle}`);
  const discard = planDiscard(facts);
  if (discard) return discard;
  const [next] = closedCycles;
  if (next === undefined) {
    return lastClosedCycle > received
      ? gap(`the logs through ${lastClosedCycle} are no longer at the site`)
      : undefined;
  }
  if (next.cycle !== received + 1) return gap(`the oldest closed cycle at the site is ${next.cycle}`);
  if (unusableLog?.epoch === assignment.epoch && unusableLog.cycle === next.cycle) {
    return { kind: 'requireResync', reason: unusableLog.reason, message: unusableLog.message, at: unusableLog.at };
  }
  return { kind: 'sendCycle', cycle: next, closesBase: local.closingCycle === next.cycle };
}

/** When the logs are to be switched next: at once to complete a base, else an interval after the last time. */
function planSwitch(facts: ItemFacts, lastClosedCycle: number, now: Temporal.Instant): ItemStep {
  const { assignment, local, switchDueThrough = 0 } = facts;
  const cycle = lastClosedCycle + 1;
  const base = { kind: 'switchLogs', cycle, closesBase: false, missedCycleCount: 0 } as const;
  const final = assignment.sourceLock !== undefined && local.final?.lockId === assignment.sourceLock && local.final;
  if (final) {
    return lastClosedCycle >= final.cycle
      ? { kind: 'rest', why: 'finalSent' }
      : { ...base, consistency: 'crashConsistent' };
  }
  if (sendsBase(assignment.phase)) {
    const chosen = local.closingCycle;
    if (chosen === undefined ? isBaseReceived(assignment) : chosen === cycle) {
      return { ...base, consistency: 'crashConsistent', closesBase: true };
    }
  }
  const consistency = isApplicationConsistentDue(assignment, local, now) ? 'applicationConsistent' : 'crashConsistent';
  const due = nextSwitchDue(assignment, local, now);
  if (due === undefined || cycle <= switchDueThrough) return { ...base, consistency };
  if (Temporal.Instant.compare(now, due) < 0) return { kind: 'rest', why: 'nextCycle', until: due };
  return { ...base, consistency, missedCycleCount: missedCycleCount(assignment, local, now) };
}

function isApplicationConsistentDue(assignment: Assignment, local: ItemState, now: Temporal.Instant): boolean {
  const hours = assignment.appConsistentFrequencyHours;
  if (hours === 0 || assignment.phase !== 'delta') return false;
  if (local.lastApplicationConsistentAt === undefined) return true;
  const hoursSince = now.since(Temporal.Instant.from(local.lastApplicationConsistentAt)).total('hours');
  return hoursSince < 0 || hoursSince >= hours;
}
