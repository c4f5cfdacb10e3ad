import { Temporal } from 'temporal-polyfill';
import { list, remove } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { jobExportPrefix } from '../arm/job-export.js';
import { carryDeletionOn } from '../arm/vault-deletion.js';
import { registrationKeyLifeHours } from '../relay-api/registration-key.js';

const exportsKeptMs = 24 * 60 * 60 * 1000;

/**
 * Once an hour: deletions of vaults that broke off are carried to their end, and registration keys that registered nobody for long,
 * or whose relay has long been told its identity, are forgotten, as are old files of job exports. One failure stops no other.
 */
export async function housekeeping(app: AppInvocation): Promise<void> {
  await carryDeletionsOn(app);
  await forgetRegistrationKeys(app);
  await deleteExports(app);
}

async function carryDeletionsOn(app: AppInvocation): Promise<void> {
  for (const { value } of await list(app.table, rows.vaultIndexes())) {
    try {
      await carryDeletionOn(app.table, value.vaultId);
    } catch (error) {
      app.log(`the deletion of vault ${value.vaultId} could not be carried on; tried again in an hour`, error);
    }
  }
}

/**
 * While a key is good, a repeat of its registration gets the same answer (docs/architecture.md, rule 13). Afterwards a repeat of one
 * that broke off may still finish it, for as long again.
 */
async function forgetRegistrationKeys(app: AppInvocation): Promise<void> {
  const now = app.systemNow();
  for (const key of await list(app.table, rows.registrationKeys())) {
    const keptUntil = Temporal.Instant.from(key.value.expiresAt).add({ hours: registrationKeyLifeHours });
    if (Temporal.Instant.compare(now, keptUntil) < 0) continue;
    try {
      await app.table.transact(key.ref.partition, [remove(key)]);
    } catch (error) {
      app.log('an old registration key could not be forgotten; tried again in an hour', error);
    }
  }
}

/** Those older than a day. Their names begin with the system time of their making. */
async function deleteExports(app: AppInvocation): Promise<void> {
  const oldestMs = app.systemNow().epochMilliseconds - exportsKeptMs;
  for (const { armId } of await app.cloudInventory.storageAccounts()) {
    try {
      for await (const name of app.transfers.listBelow(armId, jobExportPrefix)) {
        const madeMs = timeOf(name.slice(jobExportPrefix.length));
        if (madeMs !== undefined && madeMs < oldestMs) await app.transfers.deleteBelow(armId, name);
      }
    } catch (error) {
      app.log(`the exports of jobs in ${armId} could not be looked through; tried again in an hour`, error);
    }
  }
}

/** UUID version 7 (RFC 9562, section 5.7): the first 48 bits are milliseconds since 1970. */
function timeOf(fileName: string): number | undefined {
  const [, high, low] = /^([0-9a-f]{8})-([0-9a-f]{4})-7/.exec(fileName) ?? [];
  return high === undefined || low === undefined ? undefined : Number.parseInt(`${high}${low}`, 16);
}
