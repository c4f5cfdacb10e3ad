import type { Temporal } from 'temporal-polyfill';
import type { VaultId } from '../../core/domain/ids.js';
import { contactEvent } from '../../core/domain/health/site-health.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { decideAndCommit, insert, list, read, replace } from '../../core/records/access.js';
import { surroundingsInVault, type ItemSurroundings } from '../../core/records/item-surroundings.js';
import { eventNameOf, rows, type Fabric } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { friendlyNameOf, isConnected } from '../arm/fabrics.js';
import { turnItems } from '../relay-api/register.js';
import { eventsOf, tellEvents } from '../tell-health.js';

/**
 * Once a minute: looks at the health of every item and site, since RPO and silence grow without anybody writing a row, and tells by
 * events what changed since it was last told. One that cannot be looked at stops no other.
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
  await watchSites(app, vaultId);
  const items = await list(app.table, rows.items(vaultId));
  if (items.length === 0) return;
  const surroundingsOf = await surroundingsInVault(app.table, vaultId);
  const all = items.map(({ value: item }) => ({ item, surroundings: surroundingsOf(item) }));
  await turnToRelays(app, vaultId, all);
  const now = await app.clock.now();
  for (const { item, surroundings } of all) {
    if (eventsOf(item, surroundings, now).events.length === 0) continue;
    const what = `the change of health of ${item.vmName}`;
    await attempt(app, what, () => tellEvents(app, vaultId, item, surroundings));
  }
}

/** An item that was enabled at the moment when another relay took its site over is that relay's: else nobody would send it. */
async function turnToRelays(
  app: AppInvocation,
  vaultId: VaultId,
  items: readonly { item: ProtectedItem; surroundings: ItemSurroundings }[],
): Promise<void> {
  const late = new Map<string, Fabric>();
  for (const { item, surroundings } of items) {
    const { fabric } = surroundings;
    if (fabric?.relayId !== undefined && fabric.relayId !== item.relayId) late.set(fabric.fabricName, fabric);
  }
  for (const [fabricName, { relayId }] of late) {
    if (relayId === undefined) continue;
    await attempt(app, `whose relay sends ${fabricName}`, () => turnItems(app, { vaultId, fabricName, relayId }));
  }
}

async function attempt(app: AppInvocation, what: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    app.log(`${what} could not be written; tried again in a minute`, error);
  }
}

/** A relay that fell silent, or is heard of again, is told once each way: that it was told stands in the site's row. */
async function watchSites(app: AppInvocation, vaultId: VaultId): Promise<void> {
  const isTold = (fabric: Fabric, now: Temporal.Instant): boolean =>
    isConnected(fabric, now) === (fabric.silenceTold !== true);
  for (const { ref, value } of await list(app.table, rows.fabrics(vaultId))) {
    if (isTold(value, await app.clock.now())) continue;
    const what = `what became of the relay of ${friendlyNameOf(value)}`;
    await attempt(app, what, () =>
      decideAndCommit(app.table, ref.partition, async () => {
        const stored = await read(app.table, ref);
        const now = await app.clock.now();
        if (stored === undefined || isTold(stored.value, now)) return { operations: [], result: undefined };
        const connected = isConnected(stored.value, now);
        const { silenceTold: _, ...fabric } = stored.value;
        const site = { ...fabric, name: friendlyNameOf(fabric) };
        const eventName = eventNameOf(now, `site-${fabric.fabricName}`);
        const event = { ...contactEvent(site, connected, now.toString()), eventName };
        return {
          operations: [
            replace(stored, connected ? fabric : { ...fabric, silenceTold: true as const }),
            insert(rows.event(vaultId, eventName), event),
          ],
          result: undefined,
        };
      }),
    );
  }
}
