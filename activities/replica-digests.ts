import { mapInOrder } from '../core/dataplane/in-order.js';
import {
  chunkCountOf,
  chunkDigest,
  digestBytes,
  openDigestFile,
  regionEndBytes,
  type DigestRegion,
} from '../core/dataplane/resync/digest-file.js';
import { isZero } from '../core/dataplane/zero-runs.js';
import { UnderstudyError } from '../core/domain/errors.js';
import type { ItemId, VaultId } from '../core/domain/ids.js';
import type { ProtectedItem, ReplicaDisk } from '../core/domain/protected-item/protected-item.js';
import { digestBlobName, transferStorageAccountId } from '../core/domain/replication/blob-names.js';
import {
  isInScope,
  resyncChunkBytes,
  resyncRegionBytes,
  type GroupMap,
} from '../core/domain/replication/resync-geometry.js';
import type { DiskSource } from '../core/ports/cloud-compute.js';
import type { ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import type { TransferStore } from '../core/ports/transfer-store.js';
import { read } from '../core/records/access.js';
import { rows } from '../core/records/rows.js';

/** What of the disk is compared, by the site's record of changed chunks; undefined is all of it. */
export async function readScope(
  table: StateTable,
  of: { vaultId: VaultId; itemId: ItemId; epoch: number },
  diskIndex: number,
): Promise<GroupMap | undefined> {
  const stored = await read(table, rows.resyncScope(of.vaultId, of.itemId, diskIndex));
  if (stored?.value.epoch !== of.epoch) return undefined;
  return { groupBytes: stored.value.groupBytes, bitmap: Buffer.from(stored.value.bitmap, 'base64') };
}

export const regionOf = (item: ProtectedItem, disk: ReplicaDisk, fromBytes: number): DigestRegion => ({
  protectionId: item.protectionId,
  diskId: disk.diskId,
  epoch: item.replication.epoch,
  diskSizeBytes: disk.sourceSizeBytes,
  fromBytes,
});

/**
 * The replica's checksums of a piece of a base before it is applied, as entries of the checksum table. Undefined where none are
 * known, as in initial replication; `spared` where the site's record lets the piece be passed over.
 */
export async function checksumsBefore(
  { table, transfers }: { table: StateTable; transfers: TransferStore },
  source: { vaultId: VaultId; item: ProtectedItem; diskIndex: number; disk: ReplicaDisk },
  piece: { fromBytes: number; toBytes: number },
): Promise<Buffer | 'spared' | undefined> {
  const { vaultId, item, diskIndex, disk } = source;
  const { phase, epoch } = item.replication;
  if (phase !== 'resynchronization') return undefined;
  const scope = await readScope(table, { vaultId, itemId: item.itemId, epoch }, diskIndex);
  if (scope !== undefined && !isInScope(scope, piece)) return 'spared';
  const region = regionOf(item, disk, piece.fromBytes);
  if (piece.fromBytes % resyncRegionBytes !== 0 || piece.toBytes !== regionEndBytes(region)) return undefined;
  const accountId = transferStorageAccountId(item);
  const blobName = digestBlobName(item.protectionId, epoch, disk.diskId, piece.fromBytes);
  const found = await transfers.stat(accountId, blobName);
  if (found === undefined) return undefined;
  try {
    const file = await openDigestFile(transfers.openReader(accountId, blobName, found), region);
    return await file.chunkDigests(0, file.groupCount);
  } catch (error) {
    // Damaged, or deleted meanwhile because another run was faster: nothing is known then, and nothing wrong is kept.
    if (error instanceof UnderstudyError && unusable.has(error.code)) return undefined;
    throw error;
  }
}

const unusable: ReadonlySet<string> = new Set(['US2060', 'US2061', 'US3011']);

/**
 * `readBytes`: what one request reads at most, since storage reads long ranges several times as fast as short ones. `gapBytes`:
 * others are read along between chunks that are wanted, where that costs less than another request.
 */
interface Reading {
  readonly readBytes: number;
  readonly readsAtOnce: number;
  readonly gapBytes: number;
}
/** Where only some chunks matter, most reads are short, and none so long that more of them at once take more memory. */
const scattered = { readBytes: 5 * 1024 * 1024, readsAtOnce: 6, gapBytes: 512 * 1024 };
const whole = { readBytes: 16 * 1024 * 1024, readsAtOnce: 2, gapBytes: 4 * 1024 * 1024 };

/**
 * 16 bytes for each chunk of the region: what is kept; for the others what reading gives. What was never written is zeros and is
 * not read. A chunk that is not known and not in scope stays zero: nobody looks at it.
 */
export async function digestChunks(
  replicas: ReplicaStore,
  source: DiskSource,
  region: DigestRegion,
  { scope, kept }: { scope: GroupMap | undefined; kept: Buffer | undefined },
): Promise<Buffer> {
  const chunkTable = Buffer.alloc(chunkCountOf(region) * digestBytes);
  kept?.copy(chunkTable);
  const isWanted = wantedChunks(region, chunkTable, scope);
  if (!isWanted.includes(1)) return chunkTable;
  const reading: Reading = scope !== undefined || !isZero(chunkTable) ? scattered : whole;
  const pieces = piecesToRead(replicas, source, region, isWanted, reading);
  const contents = mapInOrder(pieces, reading.readsAtOnce, async (piece) => ({
    fromBytes: piece.fromBytes,
    content: await replicas.readPages(source.blob, piece.fromBytes, piece.toBytes - piece.fromBytes, source.snapshotId),
  }));
  for await (const { fromBytes, content } of contents) {
    const firstChunk = (fromBytes - region.fromBytes) / resyncChunkBytes;
    for (let at = 0, chunk = firstChunk; at < content.length; at += resyncChunkBytes, chunk++) {
      if (isWanted[chunk] !== 1) continue;
      chunkDigest(content.subarray(at, at + resyncChunkBytes)).copy(chunkTable, chunk * digestBytes);
    }
  }
  return chunkTable;
}

/** One byte for each chunk of the region: 1 where its digest has to be found by reading. */
function wantedChunks(region: DigestRegion, chunkTable: Buffer, scope: GroupMap | undefined): Uint8Array {
  const isWanted = new Uint8Array(chunkCountOf(region));
  const endBytes = regionEndBytes(region);
  for (let chunk = 0; chunk < isWanted.length; chunk++) {
    const isKnown = !isZero(chunkTable.subarray(chunk * digestBytes, (chunk + 1) * digestBytes));
    const fromBytes = region.fromBytes + chunk * resyncChunkBytes;
    const range = { fromBytes, toBytes: Math.min(fromBytes + resyncChunkBytes, endBytes) };
    if (!isKnown && (scope === undefined || isInScope(scope, range))) isWanted[chunk] = 1;
  }
  return isWanted;
}

/** Stretches of whole chunks that hold what is wanted and was ever written, none longer than one read. */
async function* piecesToRead(
  replicas: ReplicaStore,
  source: DiskSource,
  region: DigestRegion,
  isWanted: Uint8Array,
  { gapBytes, readBytes }: Reading,
): AsyncGenerator<{ fromBytes: number; toBytes: number }> {
  const endBytes = regionEndBytes(region);
  let open: { fromBytes: number; toBytes: number } | undefined;
  let nextChunk = 0;
  const within = { fromBytes: region.fromBytes, toBytes: endBytes };
  for await (const range of replicas.allocatedRanges(source.blob, source.snapshotId, within)) {
    const from = range.offsetBytes - region.fromBytes;
    const end = Math.ceil((from + range.lengthBytes) / resyncChunkBytes);
    for (let chunk = Math.max(nextChunk, Math.floor(from / resyncChunkBytes)); chunk < end; chunk++) {
      if (isWanted[chunk] !== 1) continue;
      const fromBytes = region.fromBytes + chunk * resyncChunkBytes;
      const toBytes = Math.min(fromBytes + resyncChunkBytes, endBytes);
      if (open && fromBytes - open.toBytes <= gapBytes && toBytes - open.fromBytes <= readBytes) open.toBytes = toBytes;
      else {
        if (open) yield open;
        open = { fromBytes, toBytes };
      }
    }
    nextChunk = Math.max(nextChunk, end);
  }
  if (open) yield open;
}
