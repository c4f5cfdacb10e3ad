import type { ProtectedItem, ReplicationProgress } from './protected-item.js';
import type { ProtectionState } from './state-table.js';

/** In these states something is sent that could wait; a failover takes what it can get. */
const pausableStates: readonly ProtectionState[] = [
  'InitialReplicationInProgress',
  'FinalizingProtection',
  'Protected',
  'Resynchronizing',
];

export const canPauseOrResume = ({ state, replication: { phase } }: ProtectedItem): boolean =>
  pausableStates.includes(state) && phase !== 'none' && phase !== 'stopped';

/** A repeat changes nothing. */
export function paused(item: ProtectedItem, now: string): ProtectedItem {
  if (item.replication.paused) return item;
  return { ...item, replication: { ...item.replication, paused: true, pausedAt: now } };
}

/**
 * Replication goes on, and whatever waits after a failure is tried at once: that also holds where nothing was paused. What only an
 * operator could mend counts as mended; if it is not, it comes back with the next attempt.
 */
export function resumed(item: ProtectedItem, now: string): ProtectedItem {
  const { pausedAt: _, lastError, relayError, resyncRequired, ...rest } = item.replication;
  const replication: ReplicationProgress = {
    ...rest,
    paused: false,
    ...(rest.paused ? { resumedAt: now } : {}),
    resumedCount: rest.resumedCount + 1,
    ...(lastError === undefined || lastError.blocking === true ? {} : { lastError }),
    ...(relayError === undefined || relayError.blocking === true ? {} : { relayError }),
  };
  if (resyncRequired === undefined) return { ...item, replication };
  const { nextAttemptAt: _wait, ...mark } = resyncRequired;
  return { ...item, replication: { ...replication, resyncRequired: mark } };
}
