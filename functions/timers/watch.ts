import { randomBytes } from 'node:crypto';
import type { Temporal } from 'temporal-polyfill';
import { healthEvents, type ReplicationEvent } from '../../core/domain/health/health-events.js';
import type { VaultId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { insert, list } from '../../core/records/access.js';
import { changeItem } from '../../core/records/item-change.js';
import { healthOf, surroundingsInVault, type ItemSurroundings } from '../../core/records/item-surroundings.js';
import { eventNameOf, rows } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';

/**
 * Once a minute: looks at the health of every item, since RPO and silence grow without anybody writing a row, and tells by events
 * what changed since it last did. An item that cannot be looked at stops no other.
 */
export async function watch(app: AppInvocation): Promise<void> {
  for (const { value } of await list(app.table, rows.vaultIndexes())) {
    try {
      await watchVault(app, value.vaultId);
    } catch (error) {
      app.log(`the health of vault ${value.vaultId} could not be looked at; tried again in a minute`, error);
    }
  }
}

async function watchVault(app: AppInvocation, vaultId: VaultId): Promise<void> {
  const items = await list(app.table, rows.items(vaultId));
  if (items.length === 0) return;
  const surroundingsOf = await surroundingsInVault(app.table, vaultId);
  const now = await app.clock.now();
  for (const { value: item } of items) {
    const surroundings = surroundingsOf(item);
    if (eventsOf(item, surroundings, now).events.length === 0) continue;
    try {
      await tell(app, vaultId, item, surroundings, now);
    } catch (error) {
      app.log(`the change of health of ${item.vmName} could not be written; tried again in a minute`, error);
    }
  }
}

const eventsOf = (item: ProtectedItem, surroundings: ItemSurroundings, now: Temporal.Instant) =>
  healthEvents(item, healthOf(item, surroundings, now), now.toString());

/** What is told and that it was told change together, by the item's row as it is then. */
async function tell(
  app: AppInvocation,
  vaultId: VaultId,
  { itemId, protectionId }: ProtectedItem,
  surroundings: ItemSurroundings,
  now: Temporal.Instant,
): Promise<void> {
  await changeItem(app.table, { vaultId, itemId, protectionId }, (item) => {
    const { told, events } = eventsOf(item, surroundings, now);
    if (events.length === 0) return { kind: 'unchanged' };
    const operations = events.map((event, index) => {
      const unique = `${String(index).padStart(2, '0')}${randomBytes(8).toString('hex')}`;
      const named: ReplicationEvent = { ...event, eventName: eventNameOf(now, unique) };
      return insert(rows.event(vaultId, named.eventName), named);
    });
    return { kind: 'changed', item: { ...item, health: told }, operations };
  });
}
