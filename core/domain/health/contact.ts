import { Temporal } from 'temporal-polyfill';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import { secondsSince } from './seconds-since.js';

/** A relay that says nothing for this long cannot send: ten heartbeats. */
const silenceMaxSeconds = 5 * 60;

/** When the relay was last heard of: with a report of this item, or at all. */
export function lastContactAt(
  { replication: { lastHeartbeatAt } }: Pick<ProtectedItem, 'replication'>,
  relayHeardAt: string | undefined,
): string | undefined {
  if (lastHeartbeatAt === undefined || relayHeardAt === undefined) return lastHeartbeatAt ?? relayHeardAt;
  const itemsIsLater =
    Temporal.Instant.compare(Temporal.Instant.from(lastHeartbeatAt), Temporal.Instant.from(relayHeardAt)) > 0;
  return itemsIsLater ? lastHeartbeatAt : relayHeardAt;
}

export function hasRelayContact(
  item: Pick<ProtectedItem, 'replication'>,
  relayHeardAt: string | undefined,
  now: Temporal.Instant,
  silenceSeconds = silenceMaxSeconds,
): boolean {
  const at = lastContactAt(item, relayHeardAt);
  return at !== undefined && secondsSince(at, now) <= silenceSeconds;
}
