import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Temporal } from 'temporal-polyfill';
import { healthEvents, type ReplicationEvent } from '../core/domain/health/health-events.js';
import type { ItemId, VaultId } from '../core/domain/ids.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { insert, read } from '../core/records/access.js';
import { changeItem } from '../core/records/item-change.js';
import { healthOf, surroundingsOfItem, type ItemSurroundings } from '../core/records/item-surroundings.js';
import { eventNameOf, rows } from '../core/records/rows.js';
import type { App } from './app.js';

/**
 * Tells by events what changed in an item's health, for those who just changed it: what comes and goes between two looks of the
 * watch would else never be told. A failure is the watch's to make good.
 */
export async function tellHealth(app: App, vaultId: VaultId, itemId: ItemId): Promise<void> {
  const patience = new AbortController();
  await Promise.race([
    tell(app, vaultId, itemId),
    sleep(patienceMilliseconds, undefined, { signal: patience.signal }).catch(() => undefined),
  ]);
  patience.abort();
}

/** What was changed is committed: its caller does not wait for long until it is told. */
const patienceMilliseconds = 5000;

async function tell(app: App, vaultId: VaultId, itemId: ItemId): Promise<void> {
  try {
    const item = (await read(app.table, rows.item(vaultId, itemId)))?.value;
    if (item === undefined) return;
    const surroundings = await surroundingsOfItem(app.table, vaultId, item);
    await tellEvents(app, vaultId, item, surroundings);
  } catch (error) {
    app.log(`the health of item ${itemId} could not be told now; the next look will tell it`, error);
  }
}

export const eventsOf = (item: ProtectedItem, surroundings: ItemSurroundings, now: Temporal.Instant) =>
  healthEvents(item, healthOf(item, surroundings, now), now.toString());

/** What is told and that it was told change together, by the item's row as it is then. */
export async function tellEvents(
  app: App,
  vaultId: VaultId,
  { itemId, protectionId }: ProtectedItem,
  surroundings: ItemSurroundings,
): Promise<void> {
  await changeItem(app.table, { vaultId, itemId, protectionId }, async (item) => {
    // At each attempt: who looks for what is new takes it that what is written is not much older than its time says.
    const now = await app.clock.now();
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
