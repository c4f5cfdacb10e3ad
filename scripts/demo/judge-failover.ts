import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { asVaultId } from '../../core/domain/ids.js';
import { read } from '../../core/records/access.js';
import { itemIdOf, rows } from '../../core/records/rows.js';
import { stateTableName } from '../../functions/composition.js';
import { openReplicaStore } from '../../providers/azure-storage/replica-store.js';
import { openTableStateTable } from '../../providers/azure-storage/state-table.js';
import { openLocalAzure } from '../../providers/local-azure/local-azure.js';
import { localVaultId, type Environment } from '../supervisor/environment.js';
import { downloadDisk, firstDifference, qemuCompare } from './compare-disks.js';
import { runSite } from './run-site.js';

export interface JudgedDisk {
  name: string;
  sizeBytes: number;
  /** Of the source's VHDX file. */
  sourceFileBytes: number;
  /** Transfer-log bytes that travelled for this disk, base included. */
  sentBytes: number;
  /** By our own reader; undefined: identical. */
  firstDifferenceBytes: number | undefined;
  qemu: 'identical' | 'different' | 'missing';
}

/**
 * Compares the failed-over VM's disks with the source as it was at the recovery point's log switch. The source is rebuilt
 * from the site's own journal of acknowledged guest writes, which shares no code path with change logs and transfer logs.
 */
export async function judgeFailover(options: {
  environment: Environment;
  dataFolder: string;
  siteFolder: string;
  fabricName: string;
  containerName: string;
  itemName: string;
  vmName: string;
  outFolder: string;
}): Promise<JudgedDisk[]> {
  const vaultId = asVaultId(localVaultId);
  const table = openTableStateTable({
    connectionString: options.environment.azurite.connectionString,
    tableName: stateTableName,
  });
  const itemId = itemIdOf(vaultId, options.fabricName, options.containerName, options.itemName);
  const stored = await read(table, rows.item(vaultId, itemId));
  const failover = stored?.value.failover;
  if (!stored || !failover) throw new Error(`${options.vmName} was not failed over`);
  await runSite(options.siteFolder, [
    'disk-at',
    '--vm',
    options.vmName,
    '--cycle',
    String(failover.cycle),
    '--out',
    options.outFolder,
  ]);
  const store = await openReplicaStore({ inventory: openLocalAzure(join(options.dataFolder, 'azure.json')) });
  const judged: JudgedDisk[] = [];
  for (const disk of stored.value.disks) {
    const failoverDisk = failover.disks.find(({ diskId }) => diskId === disk.diskId);
    if (!failoverDisk) throw new Error(`${options.vmName} has no failover disk for ${disk.name}`);
    const source = join(options.outFolder, `${disk.name}.raw`);
    const replica = join(options.outFolder, `${disk.name}.vhd`);
    await downloadDisk(store, failoverDisk.blob, replica);
    judged.push({
      name: disk.name,
      sizeBytes: disk.sourceSizeBytes,
      sourceFileBytes: (await stat(join(options.siteFolder, options.vmName, `${disk.name}.vhdx`))).blocks * 512,
      sentBytes: disk.bytesReceived,
      firstDifferenceBytes: await firstDifference(source, replica, disk.sourceSizeBytes),
      qemu: await qemuCompare(source, replica),
    });
  }
  return judged;
}
