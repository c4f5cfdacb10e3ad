import { checksumTableBytes, checksumTableSpan } from '../core/dataplane/resync/checksum-table.js';
import { digestBytes } from '../core/dataplane/resync/digest-file.js';
import type { VaultId } from '../core/domain/ids.js';
import type { ProtectedItem, ReplicaBlob, ReplicaDisk } from '../core/domain/protected-item/protected-item.js';
import { sendsBase } from '../core/domain/replication/acceptance.js';
import { checksumTableBlob, transferStorageAccountId } from '../core/domain/replication/blob-names.js';
import type { Fence } from '../core/domain/replication/fence.js';
import {
  emptyGroupMap,
  isInScope,
  markGroups,
  resyncChunkBytes,
  resyncRegionBytes,
  type GroupMap,
} from '../core/domain/replication/resync-geometry.js';
import { FencedError, type ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import { decideAndCommit, insert, list, read, replace } from '../core/records/access.js';
import { rows, vaultPartition, type StoredWrittenGroups } from '../core/records/rows.js';

/**
 * Kept checksums: what a base brought is digested as it is applied, and what is written after it is noted before it is written,
 * so that a resynchronization reads of the replica only what changed since (docs/decisions/kept-checksums.md).
 */

type Part = { fromBytes: number; toBytes: number };
type Stores = { table: StateTable; replicas: ReplicaStore };
type OfDisk = { vaultId: VaultId; item: ProtectedItem; diskIndex: number };

const tableOf = (item: ProtectedItem, disk: ReplicaDisk): ReplicaBlob =>
  checksumTableBlob(transferStorageAccountId(item), item.protectionId, disk.diskId);

/**
 * Keeps the entries of a part of the disk; without any, nothing is known of it. Where they cannot be kept, the part is noted as
 * written, and replication goes on. Rejects with FencedError for a writer of an earlier epoch.
 */
export async function keepChecksums(
  { table, replicas }: Stores,
  source: OfDisk & { disk: ReplicaDisk },
  part: Part,
  entries: Buffer | undefined,
  fence: Fence,
): Promise<void> {
  const { item, disk } = source;
  const blob = tableOf(item, disk);
  const { offsetBytes, lengthBytes } = checksumTableSpan(part.fromBytes, part.toBytes);
  try {
    await replicas.createDisk(blob, checksumTableBytes(disk.sourceSizeBytes));
    await replicas.raiseFence(blob, fence);
    await (entries?.some((byte) => byte !== 0) === true
      ? replicas.writePages(blob, offsetBytes, entries, fence)
      : replicas.clearPages(blob, offsetBytes, lengthBytes, fence));
  } catch (error) {
    if (error instanceof FencedError) throw error;
    await noteWritten(table, source, [{ offsetBytes: part.fromBytes, lengthBytes: part.toBytes - part.fromBytes }]);
  }
}

/**
 * The entries of a part of the disk as kept since the base of `epoch`: zero for what is not known, or was written since.
 * Undefined where nothing is kept.
 */
export async function keptChecksums(
  { table, replicas }: Stores,
  { vaultId, item, diskIndex }: OfDisk,
  part: Part,
  epoch: number,
): Promise<Buffer | undefined> {
  const disk = item.disks[diskIndex];
  // Notes that are gone, because a later base has its own, say nothing of what was written.
  const written = await read(table, rows.writtenGroups(vaultId, item, diskIndex, epoch));
  if (!disk || written === undefined) return undefined;
  const blob = tableOf(item, disk);
  if ((await replicas.properties(blob)) === undefined) return undefined;
  const { offsetBytes, lengthBytes } = checksumTableSpan(part.fromBytes, part.toBytes);
  const entries = await replicas.readPages(blob, offsetBytes, lengthBytes);
  const map = mapOf(written.value);
  for (let at = part.fromBytes, entry = 0; at < part.toBytes; at += resyncChunkBytes, entry += digestBytes) {
    const chunk = { fromBytes: at, toBytes: Math.min(at + resyncChunkBytes, part.toBytes) };
    if (isInScope(map, chunk)) entries.fill(0, entry, entry + digestBytes);
  }
  return entries;
}

const mapOf = ({ groupBytes, bitmap }: StoredWrittenGroups): GroupMap => ({
  groupBytes,
  bitmap: Buffer.from(bitmap, 'base64'),
});

/** Under which base writes are noted now; undefined: no checksums are kept that they could belie. */
const notedEpoch = ({ replication }: ProtectedItem): number | undefined =>
  sendsBase(replication.phase) ? replication.epoch : replication.checksums?.epoch;

/** Notes what of a disk is about to be written: before the first page is. */
export async function noteWritten(
  table: StateTable,
  source: OfDisk,
  ranges: Iterable<{ offsetBytes: number; lengthBytes: number }>,
): Promise<void> {
  const epoch = notedEpoch(source.item);
  if (epoch === undefined) return;
  await note(table, source, epoch, (map) => {
    let isNew = false;
    for (const range of ranges) if (markGroups(map, range)) isNew = true;
    return isNew;
  });
}

/** Without notes nothing is believed: a base that is complete has some, be they empty. */
export const beginNotes = (table: StateTable, source: OfDisk, epoch: number): Promise<void> =>
  note(table, source, epoch, () => false);

/** `mark` marks groups, and says whether any was not marked before. */
async function note(
  table: StateTable,
  { vaultId, item, diskIndex }: OfDisk,
  epoch: number,
  mark: (map: GroupMap) => boolean,
): Promise<void> {
  const disk = item.disks[diskIndex];
  if (!disk) return;
  const ref = rows.writtenGroups(vaultId, item, diskIndex, epoch);
  await decideAndCommit(table, vaultPartition(vaultId), async () => {
    const stored = await read(table, ref);
    const map = stored ? mapOf(stored.value) : emptyGroupMap(disk.sourceSizeBytes);
    if (!mark(map) && stored !== undefined) return { operations: [], result: undefined };
    const value = { epoch, groupBytes: map.groupBytes, bitmap: map.bitmap.toString('base64') };
    return { operations: [stored ? replace(stored, value) : insert(ref, value)], result: undefined };
  });
}

/**
 * Of regions that the site's record spared whole, neither side was looked at: there the entries and notes of the base before
 * still count under the new one. Before the resynchronization is told to be complete.
 */
export async function carryNotes(
  table: StateTable,
  source: OfDisk,
  epochs: { from: number; to: number },
  scope: GroupMap,
): Promise<void> {
  const { vaultId, item, diskIndex } = source;
  const sizeBytes = item.disks[diskIndex]?.sourceSizeBytes ?? 0;
  const earlier = await read(table, rows.writtenGroups(vaultId, item, diskIndex, epochs.from));
  const before = earlier && mapOf(earlier.value);
  const carried = (fromBytes: number): Part | undefined => {
    const region = Math.floor(fromBytes / resyncRegionBytes) * resyncRegionBytes;
    const toBytes = Math.min(region + resyncRegionBytes, sizeBytes);
    const group = { fromBytes, toBytes: Math.min(fromBytes + (before?.groupBytes ?? 0), sizeBytes) };
    const isSpared = !isInScope(scope, { fromBytes: region, toBytes });
    return isSpared && before !== undefined && isInScope(before, group) ? group : undefined;
  };
  await note(table, source, epochs.to, (map) => {
    let isNew = false;
    for (let at = 0; before !== undefined && at < sizeBytes; at += before.groupBytes) {
      const group = carried(at);
      if (group && markGroups(map, { offsetBytes: at, lengthBytes: group.toBytes - at })) isNew = true;
    }
    return isNew;
  });
}

/** A transaction takes 100 operations. */
const deletedAtOnceMax = 90;

/** Notes of bases before `epoch`: no resynchronization goes back to them any more. */
export async function dropNotesBefore(
  table: StateTable,
  { vaultId, item }: { vaultId: VaultId; item: ProtectedItem },
  epoch: number,
): Promise<void> {
  const notes = await list(table, rows.writtenGroupsOf(vaultId, item));
  const old = notes.filter(({ value }) => value.epoch < epoch);
  for (let at = 0; at < old.length; at += deletedAtOnceMax) {
    const some = old.slice(at, at + deletedAtOnceMax);
    await table.transact(
      vaultPartition(vaultId),
      some.map(({ ref: { rowKey } }) => ({ kind: 'delete', rowKey })),
    );
  }
}

/** Deletes all that is kept: the disks are no replica any more. */
export async function dropChecksums(
  { table, replicas }: Stores,
  source: { vaultId: VaultId; item: ProtectedItem },
): Promise<void> {
  for (const disk of source.item.disks) await replicas.deleteDisk(tableOf(source.item, disk));
  await dropNotesBefore(table, source, Number.POSITIVE_INFINITY);
}
