import { planResyncs } from '../../core/domain/resync-schedule/plan-resyncs.js';
import type { VaultId } from '../../core/domain/ids.js';
import { list, read } from '../../core/records/access.js';
import { surroundingsInVault, settingsOf } from '../../core/records/item-surroundings.js';
import { rows } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { startResync } from '../jobs/start-resync.js';

/** Once a minute: begins the resynchronizations whose time has come. One that cannot begin stops no other. */
export async function scheduleResyncs(app: AppInvocation): Promise<void> {
  for (const { value } of await list(app.table, rows.vaultIndexes())) {
    try {
      await scheduleInVault(app, value.vaultId);
    } catch (error) {
      app.log(`resynchronizations of vault ${value.vaultId} could not be planned; tried again in a minute`, error);
    }
  }
}

async function scheduleInVault(app: AppInvocation, vaultId: VaultId): Promise<void> {
  const items = (await list(app.table, rows.items(vaultId))).map(({ value }) => value);
  if (!items.some(({ replication }) => replication.resyncRequired !== undefined)) return;
  const [vault, settings, surroundingsOf, now] = await Promise.all([
    read(app.table, rows.vault(vaultId)),
    settingsOf(app.table, vaultId),
    surroundingsInVault(app.table, vaultId),
    app.clock.now(),
  ]);
  if (vault === undefined) return;
  const candidates = items.map((item) => {
    const { fabric } = surroundingsOf(item);
    return { item, siteTimeZone: fabric?.inventory.timeZone, relayHeardAt: fabric?.lastHeartbeatAt };
  });
  for (const item of planResyncs(candidates, settings, now)) {
    try {
      const job = await startResync(app, vault.value, item, 'schedule');
      app.log(`resynchronization of ${item.vmName} begins: job ${job.jobName}`);
    } catch (error) {
      app.log(`the resynchronization of ${item.vmName} could not begin; tried again in a minute`, error);
    }
  }
}
