import {
  chunkCountOf,
  chunkDigest,
  digestBytes,
  encodeDigestFile,
  type DigestRegion,
} from '../core/dataplane/resync/digest-file.js';
import { mapInOrder } from '../core/dataplane/in-order.js';
import type { ProtectedItem, ReplicaDisk } from '../core/domain/protected-item/protected-item.js';
import { digestBlobName, transferStorageAccountId } from '../core/domain/replication/blob-names.js';
import { isInScope, resyncChunkBytes, resyncRegionBytes } from '../core/domain/replication/resync-geometry.js';
import { isBlocked } from '../core/domain/replication/next-step.js';
import type { EpochWorkflowInput } from '../core/domain/workflows/workflows.js';
import { FencedError, type ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import { read } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';

/** Regions that one round checksums: bounds what a crash repeats, and how long the relay waits for the first. */
const regionsInRoundMax = 4;

interface Scope {
  groupBytes: number;
  bitmap: Buffer;
}

/** What of the disk is compared, by the site's record of changed chunks; undefined is all of it. */
async function readScope(table: StateTable, input: EpochWorkflowInput, diskIndex: number): Promise<Scope | undefined> {
  const stored = await read(table, rows.resyncScope(input.vaultId, input.itemId, diskIndex));
  if (stored?.value.epoch !== input.epoch) return undefined;
  return { groupBytes: stored.value.groupBytes, bitmap: Buffer.from(stored.value.bitmap, 'base64') };
}

/** The next regions to checksum; where the site's record spares some, the mark moves over them at no cost. */
export const makeReadDigestWork =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.readDigestWork> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || stored.value.replication.phase !== 'resynchronization') return superseded;
    const item = stored.value;
    if (isBlocked(item)) return { kind: 'idle' };
    // Which regions matter is known when the relay has its checkpoint.
    const { resync, checkpointAt } = item.replication;
    if (resync?.changedSince !== undefined && checkpointAt === undefined) return { kind: 'idle' };
    const diskIndex = item.disks.findIndex((disk) => disk.digestedThroughBytes < disk.sourceSizeBytes);
    const disk = item.disks[diskIndex];
    if (!disk) return { kind: 'finished' };
    return { kind: 'digest', diskIndex, ...planRegions(disk, await readScope(table, input, diskIndex)) };
  };

function planRegions(disk: ReplicaDisk, scope: Scope | undefined): { fromBytes: number[]; throughBytes: number } {
  const fromBytes: number[] = [];
  let at = disk.digestedThroughBytes;
  while (at < disk.sourceSizeBytes && fromBytes.length < regionsInRoundMax) {
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
    try {
      // Before anything is read on whose word chunks are not sent: no writer of an earlier epoch may reach the disk any more.
      await replicas.raiseFence(disk.replica, { epoch: input.epoch, cycle: item.replication.baseCycle });
    } catch (error) {
      if (error instanceof FencedError) return superseded;
      throw error;
    }
    const scope = await readScope(table, input, input.diskIndex);
    const region = regionOf(item, disk, input.fromBytes);
    const content = encodeDigestFile(region, await digestChunks(replicas, disk, region, scope));
    const blobName = digestBlobName(item.protectionId, input.epoch, disk.diskId, input.fromBytes);
    // What was written first stays: a run that comes late would see chunks that the relay has sent meanwhile.
    await transfers.putOnce(transferStorageAccountId(item), blobName, content);
    return done;
  };

const regionOf = (item: ProtectedItem, disk: ReplicaDisk, fromBytes: number): DigestRegion => ({
  protectionId: item.protectionId,
  diskId: disk.diskId,
  epoch: item.replication.epoch,
  diskSizeBytes: disk.sourceSizeBytes,
  fromBytes,
});

/** What one request reads: storage reads long ranges several times as fast as short ones. */
const readBytes = 16 * 1024 * 1024;
const readsAtOnce = 2;
/** What was never written between two ranges is read along up to this length: zeros cost less than another request. */
const gapMaxBytes = 4 * 1024 * 1024;
/** Where only some chunks matter, most reads are short. */
const scatteredReadsAtOnce = 6;

/** What was never written is zeros and is not read, nor is what the site vouches for. */
async function digestChunks(
  replicas: ReplicaStore,
  disk: ReplicaDisk,
  region: DigestRegion,
  scope: Scope | undefined,
): Promise<Buffer> {
  const chunkTable = Buffer.alloc(chunkCountOf(region) * digestBytes);
  const pieces = piecesToRead(replicas, disk, region, scope);
  const contents = mapInOrder(pieces, scope ? scatteredReadsAtOnce : readsAtOnce, async ({ fromBytes, toBytes }) => ({
    fromBytes,
    content: await replicas.readPages(disk.replica, fromBytes, toBytes - fromBytes),
  }));
  for await (const { fromBytes, content } of contents) {
    const firstChunk = (fromBytes - region.fromBytes) / resyncChunkBytes;
    for (let chunk = 0; chunk * resyncChunkBytes < content.length; chunk++) {
      const part = content.subarray(chunk * resyncChunkBytes, (chunk + 1) * resyncChunkBytes);
      chunkDigest(part).copy(chunkTable, (firstChunk + chunk) * digestBytes);
    }
  }
  return chunkTable;
}

/** Stretches of whole chunks that hold something and matter, none longer than one read. */
async function* piecesToRead(
  replicas: ReplicaStore,
  disk: ReplicaDisk,
  region: DigestRegion,
  scope: Scope | undefined,
): AsyncGenerator<{ fromBytes: number; toBytes: number }> {
  const within = {
    fromBytes: region.fromBytes,
    toBytes: Math.min(region.fromBytes + resyncRegionBytes, region.diskSizeBytes),
  };
  for await (const { fromBytes, toBytes: end } of stretches(replicas, disk, within)) {
    let at = fromBytes;
    while (at < end) {
      const piece = { fromBytes: at, toBytes: Math.min(alignDown(at, readBytes) + readBytes, end) };
      yield* scope === undefined ? [piece] : partsInScope(scope, piece);
      at = piece.toBytes;
    }
  }
}

/** Allocated ranges in whole chunks, those with small gaps between them joined. */
async function* stretches(
  replicas: ReplicaStore,
  disk: ReplicaDisk,
  within: { fromBytes: number; toBytes: number },
): AsyncGenerator<{ fromBytes: number; toBytes: number }> {
  let open: { fromBytes: number; toBytes: number } | undefined;
  for await (const range of replicas.allocatedRanges(disk.replica, undefined, within)) {
    const fromBytes = alignDown(range.offsetBytes);
    const toBytes = Math.min(alignUp(range.offsetBytes + range.lengthBytes), within.toBytes);
    if (open && fromBytes - open.toBytes <= gapMaxBytes) open.toBytes = Math.max(open.toBytes, toBytes);
    else {
      if (open) yield open;
      open = { fromBytes, toBytes };
    }
  }
  if (open) yield open;
}

/** Runs of the scope's groups, cut to the piece. */
function* partsInScope(
  scope: Scope,
  { fromBytes, toBytes }: { fromBytes: number; toBytes: number },
): Generator<{ fromBytes: number; toBytes: number }> {
  let run: { fromBytes: number; toBytes: number } | undefined;
  for (let at = fromBytes; at < toBytes;) {
    const group = { fromBytes: at, toBytes: Math.min(alignDown(at, scope.groupBytes) + scope.groupBytes, toBytes) };
    if (!isInScope(scope, group)) {
      if (run) yield run;
      run = undefined;
    } else if (run) run.toBytes = group.toBytes;
    else run = { ...group };
    at = group.toBytes;
  }
  if (run) yield run;
}

const alignDown = (bytes: number, step = resyncChunkBytes): number => Math.floor(bytes / step) * step;
const alignUp = (bytes: number): number => Math.ceil(bytes / resyncChunkBytes) * resyncChunkBytes;

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
