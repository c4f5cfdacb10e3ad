import type { AppInvocation } from '../app.js';
import { jobExportPrefix } from '../arm/job-export.js';

const exportsKeptMs = 24 * 60 * 60 * 1000;

/** Once an hour: files of job exports that are older than a day go. Their names begin with the system time of their making. */
export async function housekeeping(app: AppInvocation): Promise<void> {
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
