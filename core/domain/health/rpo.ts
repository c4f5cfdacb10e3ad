import type { Temporal } from 'temporal-polyfill';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import { sendsBase } from '../replication/acceptance.js';
import { applyFailedReason } from '../replication/next-step.js';
import { secondsSince } from './seconds-since.js';

/**
 * Seconds between now and the source's time of the last state that the replica can be brought to; undefined before the first.
 * Cycles that come while a base is open, or that cannot be applied, lead to no such state: the last one before them counts.
 */
export function rpoSeconds(
  { state, replication }: Pick<ProtectedItem, 'state' | 'replication'>,
  now: Temporal.Instant,
): number | undefined {
  const { phase, torn, baseClosedByCycle, receivedTakenAt, appliedTakenAt, resyncRequired } = replication;
  const baseIsOpen = (torn || sendsBase(phase)) && baseClosedByCycle === undefined;
  if (baseIsOpen && state === 'InitialReplicationInProgress') return undefined;
  const takenAt = baseIsOpen || resyncRequired?.reason === applyFailedReason ? appliedTakenAt : receivedTakenAt;
  return takenAt === undefined ? undefined : Math.max(0, secondsSince(takenAt, now));
}
