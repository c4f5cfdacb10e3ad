import { encodeDigestFile, regionEndBytes, type DigestRegion } from '../core/dataplane/resync/digest-file.js';
import type { VaultId } from '../core/domain/ids.js';
import type { ProtectedItem, ReplicaDisk } from '../core/domain/protected-item/protected-item.js';
import { digestBlobName, transferStorageAccountId } from '../core/domain/replication/blob-names.js';
import { isInScope, resyncRegionBytes, type GroupMap } from '../core/domain/replication/resync-geometry.js';
import { isBlocked } from '../core/domain/replication/next-step.js';
import type { DiskSource } from '../core/ports/cloud-compute.js';
import { FencedError, type ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import { read } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { keptChecksums } from './kept-checksums.js';
import { digestChunks, readScope, regionOf } from './replica-digests.js';

/** Regions that one round checksums: bounds what a crash repeats, and how long the relay waits for the first. */
const regionsInRoundMax = 4;
/** Where little of them has to be read. */
const keptRegionsInRoundMax = 16;

/** The next regions to checksum; where the site's record spares some, the mark moves over them at no cost. */
export const makeReadDigestWork =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.readDigestWork> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || !isCompared(stored.value)) return superseded;
    const item = stored.value;
    if (isBlocked(item)) return { kind: 'idle' };
    // Which regions matter is known when the relay has its checkpoint.
    const { resync, checkpointAt } = item.replication;
    if (resync?.changedSince !== undefined && checkpointAt === undefined) return { kind: 'idle' };
    const diskIndex = item.disks.findIndex((disk) => disk.digestedThroughBytes < disk.sourceSizeBytes);
    const disk = item.disks[diskIndex];
    if (!disk) return { kind: 'finished' };
    const regionsMax = resync?.checksumsOf === undefined ? regionsInRoundMax : keptRegionsInRoundMax;
    return { kind: 'digest', diskIndex, ...planRegions(disk, await readScope(table, input, diskIndex), regionsMax) };
  };

/** The relay compares its disks with the cloud's: to send what differs, or to fetch it. */
const isCompared = ({ replication: { phase }, failback }: ProtectedItem): boolean =>
  phase === 'resynchronization' || (phase === 'failback' && failback?.round !== undefined);

function planRegions(
  disk: ReplicaDisk,
  scope: GroupMap | undefined,
  regionsMax: number,
): { fromBytes: number[]; throughBytes: number } {
  const fromBytes: number[] = [];
  let at = disk.digestedThroughBytes;
  while (at < disk.sourceSizeBytes && fromBytes.length < regionsMax) {
    const toBytes = Math.min(at + resyncRegionBytes, disk.sourceSizeBytes);
    if (scope === undefined || isInScope(scope, { fromBytes: at, toBytes })) fromBytes.push(at);
    at = toBytes;
  }
  return { fromBytes, throughBytes: at };
}

export const makeDigestRegion =
  ({
    table,
    replicas,
    transfers,
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'transfers'>): Activity<typeof activities.digestRegion> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const disk = stored?.value.disks[input.diskIndex];
    if (!owned(stored, input) || !disk || disk.digestedThroughBytes > input.fromBytes) return superseded;
    const item = stored.value;
    const source = await sourceOf(replicas, item, disk);
    if (source === undefined) return superseded;
    const scope = await readScope(table, input, input.diskIndex);
    const region = regionOf(item, disk, input.fromBytes);
    const kept = await keptFor({ table, replicas }, { ...input, item }, region);
    const content = encodeDigestFile(region, await digestChunks(replicas, source, region, { scope, kept }));
    const blobName = digestBlobName(item.protectionId, input.epoch, disk.diskId, input.fromBytes);
    // What was written first stays: a run that comes late would see chunks that the relay has sent meanwhile.
    await transfers.putOnce(transferStorageAccountId(item), blobName, content);
    return done;
  };

/** What is compared with: a failback's round holds it still; the replica is fenced. */
async function sourceOf(
  replicas: ReplicaStore,
  item: ProtectedItem,
  disk: ReplicaDisk,
): Promise<DiskSource | undefined> {
  if (item.replication.phase === 'failback') {
    return item.failback?.round?.sources.find(({ diskId }) => diskId === disk.diskId);
  }
  try {
    // Before anything is read on whose word chunks are not sent: no writer of an earlier epoch may reach the disk any more.
    await replicas.raiseFence(disk.replica, { epoch: item.replication.epoch, cycle: item.replication.baseCycle });
  } catch (error) {
    if (error instanceof FencedError) return undefined;
    throw error;
  }
  return { blob: disk.replica };
}

/** What the base before tells of the region, where it may be believed. */
async function keptFor(
  stores: { table: StateTable; replicas: ReplicaStore },
  source: { vaultId: VaultId; item: ProtectedItem; diskIndex: number },
  region: DigestRegion,
): Promise<Buffer | undefined> {
  const epoch = source.item.replication.resync?.checksumsOf;
  if (epoch === undefined) return undefined;
  return keptChecksums(stores, source, { fromBytes: region.fromBytes, toBytes: regionEndBytes(region) }, epoch);
}

export const makeCommitDigests =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.commitDigests> =>
  async (input) => {
    const change = await changeItem(table, input, (item) => {
      const disk = item.disks[input.diskIndex];
      if (!disk || disk.digestedThroughBytes >= input.throughBytes) return { kind: 'unchanged' };
      const digested = { ...disk, digestedThroughBytes: input.throughBytes };
      return { kind: 'changed', item: { ...item, disks: item.disks.map((each) => (each === disk ? digested : each)) } };
    });
    return change.kind === 'superseded' ? superseded : done;
  };
