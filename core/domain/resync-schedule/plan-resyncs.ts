import { Temporal } from 'temporal-polyfill';
import { hasRelayContact } from '../health/contact.js';
import { rpoSeconds } from '../health/rpo.js';
import { isTimeZone, type ReplicationSettings } from '../policy/replication-settings.js';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import { allowedOperations } from '../protected-item/state-table.js';
import { isInWindow } from './resync-window.js';

/** An item of the vault, and what its site says of itself. */
export interface ResyncCandidate {
  item: ProtectedItem;
  /** As the site reports it: not checked. */
  siteTimeZone: string | undefined;
  /** When the item's relay was last heard of at all. */
  relayHeardAt: string | undefined;
}

/**
 * Which resynchronizations begin now, worst RPO first. `candidates` are all items of a vault: those that move count against
 * `atOnceMax`, whoever began them. Nothing here ends one: a window that closes lets what runs run on.
 */
export function planResyncs(
  candidates: readonly ResyncCandidate[],
  { resync }: Pick<ReplicationSettings, 'resync'>,
  now: Temporal.Instant,
): ProtectedItem[] {
  if (resync.mode === 'manual') return [];
  const runningCount = candidates.filter((candidate) => isRunning(candidate, now)).length;
  return candidates
    .filter((candidate) => isReady(candidate, now))
    .filter(({ siteTimeZone }) => resync.mode === 'immediate' || isInWindow(windowFor(resync, siteTimeZone), now))
    .map(({ item }) => item)
    .sort((a, b) => exposureSeconds(b, now) - exposureSeconds(a, now) || compareText(a.itemId, b.itemId))
    .slice(0, Math.max(0, resync.atOnceMax - runningCount));
}

/** Held by what does not pass by itself: an operator paused it, or must act on an error. */
const isHeld = ({ replication: { paused, lastError, relayError } }: ProtectedItem): boolean =>
  paused || lastError?.blocking === true || relayError?.blocking === true;

/** One that nobody carries on, because its relay is silent or an operator holds it, takes no other's place. */
const isRunning = ({ item, relayHeardAt }: ResyncCandidate, now: Temporal.Instant): boolean =>
  item.replication.resync !== undefined && !isHeld(item) && hasRelayContact(item, relayHeardAt, now);

function isReady({ item, relayHeardAt }: ResyncCandidate, now: Temporal.Instant): boolean {
  const { resyncRequired } = item.replication;
  if (resyncRequired === undefined || isHeld(item) || !allowedOperations(item).includes('RepairReplication'))
    return false;
  if (!hasRelayContact(item, relayHeardAt, now)) return false;
  const { nextAttemptAt } = resyncRequired;
  return nextAttemptAt === undefined || Temporal.Instant.compare(Temporal.Instant.from(nextAttemptAt), now) <= 0;
}

/** A site that names no zone of the database is taken to live by UTC. */
function windowFor({ windowStart, windowEnd, timeZone }: ReplicationSettings['resync'], siteTimeZone?: string) {
  const ofSite = siteTimeZone !== undefined && isTimeZone(siteTimeZone) ? siteTimeZone : 'UTC';
  return { windowStart, windowEnd, timeZone: timeZone ?? ofSite };
}

/** What never had a recovery point would lose everything. */
const exposureSeconds = (item: ProtectedItem, now: Temporal.Instant): number =>
  rpoSeconds(item, now) ?? Number.MAX_SAFE_INTEGER;

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
