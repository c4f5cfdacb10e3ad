import type { VaultId } from '../../core/domain/ids.js';
import { list } from '../../core/records/access.js';
import { surroundingsInVault } from '../../core/records/item-surroundings.js';
import { rows } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { eventsOf, tellEvents } from '../tell-health.js';

/**
 * Once a minute: looks at the health of every item, since RPO and silence grow without anybody writing a row, and tells by events
 * what changed since it was last told. An item that cannot be looked at stops no other.
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
      await tellEvents(app, vaultId, item, surroundings, now);
    } catch (error) {
      app.log(`the change of health of ${item.vmName} could not be written; tried again in a minute`, error);
    }
  }
}
