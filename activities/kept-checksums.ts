import { checksumTableBytes, checksumTableSpan } from '../core/dataplane/resync/checksum-table.js';
import { digestBytes } from '../core/dataplane/resync/digest-file.js';
import type { ItemId, VaultId } from '../core/domain/ids.js';
import type { ProtectedItem, ReplicaBlob, ReplicaDisk } from '../core/domain/protected-item/protected-item.js';
import { sendsBase } from '../core/domain/replication/acceptance.js';
import { checksumTableBlob, transferStorageAccountId } from '../core/domain/replication/blob-names.js';
import type { Fence } from '../core/domain/replication/fence.js';
import {
  emptyGroupMap,
  isInScope,
  markGroups,
  resyncChunkBytes,
  type GroupMap,
} from '../core/domain/replication/resync-geometry.js';
import type { ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import { decideAndCommit, insert, list, read, replace } from '../core/records/access.js';
import { rows, vaultPartition, type StoredWrittenGroups } from '../core/records/rows.js';

/**
 * Kept checksums: what a base brought is digested as it is applied, and what is written after it is noted before it is written,
 * so that a resynchronization reads of the replica only what changed since (docs/decisions/kept-checksums.md).
 */

type Part = { fromBytes: number; toBytes: number };

const tableOf = (item: ProtectedItem, disk: ReplicaDisk): ReplicaBlob =>
  checksumTableBlob(transferStorageAccountId(item), item.protectionId, disk.diskId);

/** Keeps the entries of a part of the disk. Rejects with FencedError for a writer of an earlier epoch or cycle. */
export async function keepChecksums(
  replicas: ReplicaStore,
  source: { item: ProtectedItem; disk: ReplicaDisk },
  part: Part,
  entries: Buffer,
  fence: Fence,
): Promise<void> {
  const blob = tableOf(source.item, source.disk);
  await replicas.createDisk(blob, checksumTableBytes(source.disk.sourceSizeBytes));
  await replicas.raiseFence(blob, fence);
  const { offsetBytes, lengthBytes } = checksumTableSpan(part.fromBytes, part.toBytes);
  await (entries.some((byte) => byte !== 0)
    ? replicas.writePages(blob, offsetBytes, entries, fence)
    : replicas.clearPages(blob, offsetBytes, lengthBytes, fence));
}

/**
 * The entries of a part of the disk as kept since the base of `epoch`: zero for what is not known, or was written since.
 * Undefined where nothing is kept.
 */
export async function keptChecksums(
  { table, replicas }: { table: StateTable; replicas: ReplicaStore },
  source: { vaultId: VaultId; item: ProtectedItem; diskIndex: number },
  part: Part,
  epoch: number,
): Promise<Buffer | undefined> {
  const { vaultId, item, diskIndex } = source;
  const disk = item.disks[diskIndex];
  if (!disk) return undefined;
  const blob = tableOf(item, disk);
  if ((await replicas.properties(blob)) === undefined) return undefined;
  const { offsetBytes, lengthBytes } = checksumTableSpan(part.fromBytes, part.toBytes);
  const entries = await replicas.readPages(blob, offsetBytes, lengthBytes);
  const written = await read(table, rows.writtenGroups(vaultId, item.itemId, diskIndex, epoch));
  if (written?.value.protectionId !== item.protectionId) return entries;
  const map = { groupBytes: written.value.groupBytes, bitmap: Buffer.from(written.value.bitmap, 'base64') };
  for (let at = part.fromBytes, entry = 0; at < part.toBytes; at += resyncChunkBytes, entry += digestBytes) {
    const chunk = { fromBytes: at, toBytes: Math.min(at + resyncChunkBytes, part.toBytes) };
    if (isInScope(map, chunk)) entries.fill(0, entry, entry + digestBytes);
  }
  return entries;
}

/** Under which base writes are noted now; undefined: no checksums are kept that they could belie. */
const notedEpoch = ({ replication }: ProtectedItem): number | undefined =>
  sendsBase(replication.phase) ? replication.epoch : replication.checksumEpoch;

/** Notes what of a disk is about to be written: before the first page is. */
export async function noteWritten(
  table: StateTable,
  source: { vaultId: VaultId; item: ProtectedItem; disk: ReplicaDisk },
  ranges: Iterable<{ offsetBytes: number; lengthBytes: number }>,
): Promise<void> {
  const epoch = notedEpoch(source.item);
  if (epoch === undefined) return;
  await note(table, { ...source, epoch }, (map) => {
    let isNew = false;
    for (const range of ranges) if (markGroups(map, range)) isNew = true;
    return isNew;
  });
}

/** `mark` marks groups, and says whether any was not marked before. */
async function note(
  table: StateTable,
  source: { vaultId: VaultId; item: ProtectedItem; disk: ReplicaDisk; epoch: number },
  mark: (map: GroupMap) => boolean,
): Promise<void> {
  const { vaultId, item, disk, epoch } = source;
  const ref = rows.writtenGroups(vaultId, item.itemId, item.disks.indexOf(disk), epoch);
  await decideAndCommit(table, vaultPartition(vaultId), async () => {
    const stored = await read(table, ref);
    const before = stored?.value.protectionId === item.protectionId ? stored.value : undefined;
    const map = before
      ? { groupBytes: before.groupBytes, bitmap: Buffer.from(before.bitmap, 'base64') }
      : emptyGroupMap(disk.sourceSizeBytes);
    if (!mark(map) && before !== undefined) return { operations: [], result: undefined };
    const value: StoredWrittenGroups = {
      protectionId: item.protectionId,
      epoch,
      groupBytes: map.groupBytes,
      bitmap: map.bitmap.toString('base64'),
    };
    return { operations: [stored ? replace(stored, value) : insert(ref, value)], result: undefined };
  });
}

/**
 * Of what the site's record of changed chunks spared, neither side was looked at: there the entries and notes of the base before
 * still count under the new one. Before the resynchronization is told to be complete.
 */
export async function carryNotes(
  table: StateTable,
  source: { vaultId: VaultId; item: ProtectedItem },
  epochs: { from: number; to: number },
): Promise<void> {
  const { vaultId, item } = source;
  for (const [diskIndex, disk] of item.disks.entries()) {
    const earlier = await read(table, rows.writtenGroups(vaultId, item.itemId, diskIndex, epochs.from));
    if (earlier?.value.protectionId !== item.protectionId) continue;
    await note(table, { vaultId, item, disk, epoch: epochs.to }, (map) => {
      let isNew = false;
      for (const [at, byte] of Buffer.from(earlier.value.bitmap, 'base64').entries()) {
        const after = (map.bitmap[at] ?? 0) | byte;
        if (after !== map.bitmap[at]) isNew = true;
        map.bitmap[at] = after;
      }
      return isNew;
    });
  }
}

/** A transaction takes 100 operations. */
const deletedAtOnceMax = 90;

/** Notes of bases that no resynchronization goes back to any more. */
export async function dropNotesBefore(
  table: StateTable,
  { vaultId, itemId }: { vaultId: VaultId; itemId: ItemId },
  epoch: number,
): Promise<void> {
  for (;;) {
    const old = (await list(table, rows.writtenGroupsOfItem(vaultId, itemId))).filter(
      ({ value }) => value.epoch < epoch,
    );
    if (old.length === 0) return;
    await table.transact(
      vaultPartition(vaultId),
      old.slice(0, deletedAtOnceMax).map(({ ref }) => ({ kind: 'delete', rowKey: ref.rowKey })),
    );
  }
}
