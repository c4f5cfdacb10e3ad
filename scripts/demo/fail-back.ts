import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { FoundItem, Vault } from '../../cli/vault-client.js';
import { asVaultId } from '../../core/domain/ids.js';
import type { ProtectedItem, ReplicaBlob } from '../../core/domain/protected-item/protected-item.js';
import { list, read } from '../../core/records/access.js';
import { itemIdOf, rows } from '../../core/records/rows.js';
import { localVmsTableName, stateTableName } from '../../functions/composition.js';
import { openReplicaStore } from '../../providers/azure-storage/replica-store.js';
import { openTableStateTable } from '../../providers/azure-storage/state-table.js';
import { openLocalAzure } from '../../providers/local-azure/local-azure.js';
import { openLocalGuest } from '../../providers/local-compute/guest.js';
import { openLocalCompute } from '../../providers/local-compute/local-compute.js';
import { localVaultId, type Environment } from '../supervisor/environment.js';
import { downloadDisk, firstDifference, qemuCompare } from './compare-disks.js';
import { runSite } from './run-site.js';

const mib = 1024 * 1024;
/** What the guest writes to each disk in Azure, before and while its data is synchronized. */
const writtenBytes = [3 * mib, mib] as const;
const polling = { updateIntervalInMs: 250 };
const stageTimeoutMs = 120_000;

export interface ReturnedDisk extends Record<string, string | number> {
  vm: string;
  disk: string;
  result: string;
}

export interface FailBackOptions {
  vault: Vault;
  environment: Environment;
  found: FoundItem;
  vmName: string;
  dataFolder: string;
  siteFolder: string;
  outFolder: string;
  signal: AbortSignal;
  tell: (message: string) => void;
}

/**
 * Lets the guest write in Azure, fails the VM back with its data synchronized first, commits, and replicates it from the site
 * again. The disks are compared twice: those that the VM starts from at the site with those that it had in Azure, and its next
 * recovery point with the site.
 */
export async function failBack(options: FailBackOptions): Promise<ReturnedDisk[]> {
  const { vault, environment, found, vmName, siteFolder, signal, tell } = options;
  const { sdk, scope } = vault;
  const { connectionString } = environment.azurite;
  const inventory = openLocalAzure(join(options.dataFolder, 'azure.json'));
  const replicas = await openReplicaStore({ inventory });
  const records = openTableStateTable({ connectionString, tableName: localVmsTableName });
  const guest = openLocalGuest({ compute: openLocalCompute({ inventory, replicas, records }), replicas });
  const table = openTableStateTable({ connectionString, tableName: stateTableName });
  const vaultId = asVaultId(localVaultId);
  const itemId = itemIdOf(vaultId, found.fabricName, found.containerName, found.itemName);
  const itemNow = async (): Promise<ProtectedItem> => {
    const stored = await read(table, rows.item(vaultId, itemId));
    if (!stored) throw new Error(`${vmName} is not replicated`);
    return stored.value;
  };
  const address = [...scope, found.fabricName, found.containerName, found.itemName] as const;
  const compare = async (
    siteEpoch: number,
    cycle: number,
    blobOf: (diskId: string) => [ReplicaBlob, string?] | undefined,
  ) => {
    const out = join(options.outFolder, `${vmName}-${siteEpoch}-${cycle}`);
    await mkdir(out, { recursive: true });
    await runSite(siteFolder, [
      'disk-at',
      '--vm',
      vmName,
      '--cycle',
      String(cycle),
      '--epoch',
      String(siteEpoch),
      '--out',
      out,
    ]);
    const verdicts = new Map<string, string>();
    for (const { diskId, name, sourceSizeBytes } of (await itemNow()).disks) {
      const [blob, snapshotId] = blobOf(diskId) ?? [];
      if (!blob) throw new Error(`${vmName} has no disk ${name} to compare`);
      const [atSite, inAzure] = [join(out, `${name}.raw`), join(out, `${name}.vhd`)];
      await downloadDisk(replicas, blob, inAzure, snapshotId);
      const differsAt = await firstDifference(atSite, inAzure, sourceSizeBytes);
      const isSame = differsAt === undefined && (await qemuCompare(atSite, inAzure)) !== 'different';
      verdicts.set(diskId, isSame ? 'identical' : 'DIFFERENT');
    }
    return verdicts;
  };

  const { failover, disks } = await itemNow();
  const write = async (bytes: number, at: number): Promise<void> => {
    for (const { lun } of disks) await guest.write(failover?.vmArmId ?? '', lun, at, randomBytes(bytes));
  };
  await runSite(siteFolder, ['power', 'off', '--vm', vmName]);
  await write(writtenBytes[0], 16 * mib);
  tell(
    `${vmName}: its guest wrote ${writtenBytes[0] / mib} MiB to each disk in Azure; failing back, it runs on meanwhile`,
  );
  const poller = await sdk.replicationProtectedItems.beginPlannedFailover(...address, {
    properties: {
      failoverDirection: 'RecoveryToPrimary',
      providerSpecificDetails: { instanceType: 'HyperVReplicaAzureFailback', dataSyncOption: 'ForSynchronization' },
    },
  });
  const waiting = await within(signal, `the data of ${vmName} to be synchronized`, async () => {
    const jobs = await vault.jobs();
    return jobs.find(({ properties }) => properties?.state === 'Suspended' && properties.targetObjectName === vmName);
  });
  const synchronized = (await itemNow()).failback?.round?.copied?.fetchedBytes ?? 0;
  await write(writtenBytes[1], 40 * mib);
  tell(`${vmName}: synchronized, ${(synchronized / mib).toFixed(1)} MiB fetched; completing the failback`);
  await sdk.replicationJobs.beginResumeAndWait(...scope, waiting.name ?? '', {}, polling);
  await poller.pollUntilDone();
  const back = await itemNow();
  const siteEpoch = back.failback?.round?.epoch ?? 0;
  const fetched = synchronized + (back.failback?.round?.copied?.fetchedBytes ?? 0);
  tell(`${vmName}: runs at the site again`);
  const returned = await compare(siteEpoch, back.replication.receivedCycle, (diskId) => {
    const blob = failover?.disks.find((disk) => disk.diskId === diskId)?.blob;
    return blob && [blob];
  });
  await sdk.replicationProtectedItems.beginFailoverCommitAndWait(...address, polling);
  await sdk.replicationProtectedItems.beginReprotectAndWait(...address, { properties: {} }, polling);
  const point = await within(signal, `a recovery point of ${vmName}`, async () => {
    const points = await list(table, rows.points(vaultId, itemId));
    return points.map(({ value }) => value).find(({ state }) => state === 'ready');
  });
  const again = await itemNow();
  const replicated = await compare(siteEpoch, point.cycle, (diskId) => {
    const replica = again.disks.find((disk) => disk.diskId === diskId)?.replica;
    const snapshotId = point.disks.find((disk) => disk.diskId === diskId)?.snapshotId;
    return replica && snapshotId !== undefined ? [replica, snapshotId] : undefined;
  });
  tell(`${vmName}: replicated from the site again`);
  return disks.map(({ diskId, name, bytesReceived }) => {
    const [atSite, inAzure] = [returned.get(diskId) ?? 'unknown', replicated.get(diskId) ?? 'unknown'];
    const sent = (again.disks.find((disk) => disk.diskId === diskId)?.bytesReceived ?? 0) - bytesReceived;
    return {
      vm: vmName,
      disk: name,
      'fetched MiB (VM)': Math.round((fetched / mib) * 10) / 10,
      'sent since MiB': Math.round((sent / mib) * 10) / 10,
      'came back': atSite,
      'replicated again': inAzure,
      result: atSite === 'identical' && inAzure === 'identical' ? 'identical' : 'DIFFERENT',
    };
  });
}

async function within<T>(signal: AbortSignal, what: string, look: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + stageTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`waited ${stageTimeoutMs / 1000} s for ${what}`);
    await delay(250, undefined, { signal });
  }
}
