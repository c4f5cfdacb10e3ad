import type { VaultId } from '../../core/domain/ids.js';
import { contactEvent } from '../../core/domain/health/site-health.js';
import { decideAndCommit, insert, list, read, replace } from '../../core/records/access.js';
import { surroundingsInVault } from '../../core/records/item-surroundings.js';
import { eventNameOf, rows, type Fabric } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { friendlyNameOf, isConnected } from '../arm/fabrics.js';
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
  const now = await app.clock.now();
  for (const { value: item } of items) {
    const surroundings = surroundingsOf(item);
    if (eventsOf(item, surroundings, now).events.length === 0) continue;
    try {
      await tellEvents(app, vaultId, item, surroundings, now);
    } catch (error) {
      app.log(`the change of health of ${item.vmName} could not be written; tried again in a minute`, error);
    }
  }
}

/** A relay that fell silent, or is heard of again, is told once each way: that it was told stands in the site's row. */
async function watchSites(app: AppInvocation, vaultId: VaultId): Promise<void> {
  const now = await app.clock.now();
  const isTold = (fabric: Fabric): boolean => isConnected(fabric, now) === (fabric.silenceTold !== true);
  for (const { ref, value } of await list(app.table, rows.fabrics(vaultId))) {
    if (isTold(value)) continue;
    try {
      await decideAndCommit(app.table, ref.partition, async () => {
        const stored = await read(app.table, ref);
        if (stored === undefined || isTold(stored.value)) return { operations: [], result: undefined };
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
      });
    } catch (error) {
      app.log(
        `what became of the relay of ${friendlyNameOf(value)} could not be written; tried again in a minute`,
        error,
      );
    }
  }
}
