import { Temporal } from 'temporal-polyfill';
import type { ClosedCycle, TrackingStatus } from '../core/ports/hypervisor-host.js';
import type { Assignment } from '../core/domain/relay-protocol/wire.js';
import type { ItemState } from './item-state.js';
import { segmentsAheadMax } from './limits.js';

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
  unusableLog?: { epoch: number; cycle: number; reason: string; message: string; at: string };
}

export type ItemStep =
  | { kind: 'rest'; why: 'idle' | 'paused' | 'stopped' | 'nextCycle'; until?: Temporal.Instant }
  | { kind: 'startInitialReplication' }
  | { kind: 'requireResync'; reason: string; message: string; at: string }
  | { kind: 'releaseCheckpoint'; checkpointId: string }
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

/**
 * What an item's cycles need next. Pure: the truth is the site's closed logs and the app's confirmations, so that a relay
 * that was killed anywhere plans the same step again. No log is switched while a closed cycle is unsent: a late cycle
 * delays the next, and at most one cycle waits on-premises beside the open logs.
 */
export function planNextStep(facts: ItemFacts): ItemStep {
  const { assignment, tracking, local, now } = facts;
  if (assignment.phase === 'stopped') return { kind: 'rest', why: 'stopped' };
  if (assignment.paused) return { kind: 'rest', why: 'paused' };
  if (assignment.phase === 'idle') return { kind: 'rest', why: 'idle' };
  if (assignment.phase === 'initialReplication' && local.checkpointAt === undefined) {
    return { kind: 'startInitialReplication' };
  }
  if (tracking.kind === 'notReplicated') return { kind: 'relationshipMissing' };
  if (tracking.kind === 'resyncRequired') {
    return { kind: 'requireResync', reason: tracking.reason, message: tracking.message, at: tracking.at };
  }
  if (tracking.checkpointId !== undefined && isBaseApplied(assignment)) {
    return { kind: 'releaseCheckpoint', checkpointId: tracking.checkpointId };
  }
  return planCycle(facts, tracking.lastClosedCycle) ?? planSwitch(facts, tracking.lastClosedCycle, now);
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
  if (closedCycles.some(({ cycle }) => cycle <= received)) return { kind: 'discardCycles', throughCycle: received };
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

/** When the logs are to be switched next: at once to complete initial replication, else an interval after the last time. */
function planSwitch(
  { assignment, local, switchDueThrough = 0 }: ItemFacts,
  lastClosedCycle: number,
  now: Temporal.Instant,
): ItemStep {
  const cycle = lastClosedCycle + 1;
  const base = { kind: 'switchLogs', cycle, closesBase: false, missedCycleCount: 0 } as const;
  if (assignment.phase === 'initialReplication') {
    const chosen = local.closingCycle;
    if (chosen === undefined ? isBaseReceived(assignment) : chosen === cycle) {
      return { ...base, consistency: 'crashConsistent', closesBase: true };
    }
  }
  const consistency = isApplicationConsistentDue(assignment, local, now) ? 'applicationConsistent' : 'crashConsistent';
  const last = local.lastSwitchAt ?? local.checkpointAt;
  if (last === undefined || cycle <= switchDueThrough) return { ...base, consistency };
  const due = Temporal.Instant.from(last).add({ seconds: assignment.replicationIntervalSeconds });
  if (Temporal.Instant.compare(now, due) < 0) return { kind: 'rest', why: 'nextCycle', until: due };
  const lateSeconds = now.since(due).total('seconds');
  return { ...base, consistency, missedCycleCount: Math.floor(lateSeconds / assignment.replicationIntervalSeconds) };
}

function isApplicationConsistentDue(assignment: Assignment, local: ItemState, now: Temporal.Instant): boolean {
  const hours = assignment.appConsistentFrequencyHours;
  if (hours === 0 || assignment.phase !== 'delta') return false;
  const last = local.lastApplicationConsistentAt;
  return last === undefined || now.since(Temporal.Instant.from(last)).total('hours') >= hours;
}

/** Every byte of the base is acknowledged by the app. */
export function isBaseReceived(assignment: Assignment): boolean {
  return assignment.disks.every((disk) => disk.receivedThroughBytes >= disk.sizeBytes);
}

/** The base can no longer be asked for again: its checkpoint has served. */
function isBaseApplied(assignment: Assignment): boolean {
  return assignment.phase === 'delta' || assignment.disks.every((disk) => disk.appliedThroughBytes >= disk.sizeBytes);
}

export type BaseStep = { kind: 'rest' } | { kind: 'sendSegment'; diskId: string; fromBytes: number };

/**
 * Which piece of the base to send next: disk by disk from where the app has received, and no more than a few segments
 * ahead of what it has applied. `announced` are the ends of segments that this process announced.
 */
export function planBaseStep(
  { assignment, tracking, local }: Pick<ItemFacts, 'assignment' | 'tracking' | 'local'>,
  announced: readonly { diskId: string; toBytes: number }[],
): BaseStep {
  const rest: BaseStep = { kind: 'rest' };
  if (assignment.phase !== 'initialReplication' || assignment.paused || local.checkpointAt === undefined) return rest;
  if (tracking.kind !== 'tracking') return rest;
  const next = assignment.disks.find((disk) => disk.receivedThroughBytes < disk.sizeBytes);
  if (next === undefined) return rest;
  const applied = new Map(assignment.disks.map((disk) => [disk.diskId, disk.appliedThroughBytes]));
  const waiting = announced.filter(({ diskId, toBytes }) => toBytes > (applied.get(diskId) ?? 0));
  if (waiting.length >= segmentsAheadMax) return rest;
  return { kind: 'sendSegment', diskId: next.diskId, fromBytes: next.receivedThroughBytes };
}
