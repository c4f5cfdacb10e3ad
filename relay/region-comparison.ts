import type { DiskChunk } from '../core/dataplane/disk-chunk.js';
import { mapInOrder } from '../core/dataplane/in-order.js';
import type { DiskReader } from '../core/dataplane/random-access.js';
import {
  chunkCountOf,
  chunkDigest,
  digestBytes,
  groupDigest,
  regionEndBytes,
  type DigestFile,
  type DigestRegion,
} from '../core/dataplane/resync/digest-file.js';
import type { ChunkMap } from '../core/domain/replication/chunk-map.js';
import { chunksInGroup, resyncChunkBytes } from '../core/domain/replication/resync-geometry.js';

/** Neighbouring chunks are read together up to this many: 1 MiB, the size from which a disk reads at its full speed. */
const chunksInRead = 16;
/** Those that are only hashed: what one read costs beside its bytes shows there. */
const hashedChunksInRead = 64;
/** Reads under way at once: the next ones run while the last is hashed. */
const readsAtOnce = 3;
/**
 * Digests of groups that do not differ are read along rather than asked for around: a request and its answer carry about as
 * much beside the digests as four groups have.
 */
const gapGroupsMax = 4;

/** The source's side of one region's comparison. */
export interface HashedRegion {
  readonly region: DigestRegion;
  /** 16 bytes for each chunk of the region; zero for one of zeros, and for one that is not looked at. */
  readonly chunkTable: Buffer;
  /** By the site's record of changed chunks; undefined: every chunk is looked at. */
  readonly record: ChunkMap | undefined;
}

/**
 * Hashes the chunks of a region that are to be compared: those that the record marks, or all. What the disk has not allocated
 * is zero without being read. Memory: 12 MiB of reads and 64 KiB of digests.
 */
export async function hashRegion(
  disk: DiskReader,
  region: DigestRegion,
  record: ChunkMap | undefined,
  signal: AbortSignal,
): Promise<HashedRegion> {
  const chunkTable = Buffer.alloc(chunkCountOf(region) * digestBytes);
  const firstChunk = region.fromBytes / resyncChunkBytes;
  const buffers = Array.from({ length: readsAtOnce }, () =>
    Buffer.allocUnsafeSlow(hashedChunksInRead * resyncChunkBytes),
  );
  let next = 0;
  // No more reads are under way or being hashed than there are buffers: a buffer comes round when its content is hashed.
  const reads = mapInOrder(chunksToRead(disk, region, record), readsAtOnce, async (run) => ({
    atChunk: run.from,
    data: await readRun(disk, run, buffers[next++ % readsAtOnce]),
  }));
  for await (const { atChunk, data } of reads) {
    signal.throwIfAborted();
    for (let at = 0, chunk = atChunk - firstChunk; at < data.length; at += resyncChunkBytes, chunk++) {
      chunkDigest(data.subarray(at, at + resyncChunkBytes)).copy(chunkTable, chunk * digestBytes);
    }
  }
  return { region, chunkTable, record };
}

/** Chunks side by side, by their place on the disk; `to` is the first one behind them. */
interface ChunkRun {
  readonly from: number;
  readonly to: number;
}

async function* chunksToRead(
  disk: DiskReader,
  region: DigestRegion,
  record: ChunkMap | undefined,
): AsyncGenerator<ChunkRun> {
  const endBytes = regionEndBytes(region);
  let next = region.fromBytes / resyncChunkBytes;
  let run: { from: number; to: number } | undefined;
  for await (const { offsetBytes, lengthBytes } of disk.allocatedRanges(region.fromBytes)) {
    if (offsetBytes >= endBytes) break;
    const end = Math.ceil(Math.min(offsetBytes + lengthBytes, endBytes) / resyncChunkBytes);
    // Ranges need not lie on chunks: one that two of them share is read once.
    for (let chunk = Math.max(next, Math.floor(offsetBytes / resyncChunkBytes)); chunk < end; chunk++) {
      if (record !== undefined && !record.has(chunk)) continue;
      if (run?.to === chunk && chunk - run.from < hashedChunksInRead) run.to++;
      else {
        if (run) yield run;
        run = { from: chunk, to: chunk + 1 };
      }
    }
    next = Math.max(next, end);
  }
  if (run) yield run;
}

function readRun(disk: DiskReader, { from, to }: ChunkRun, into?: Buffer): Promise<Buffer> {
  const fromBytes = from * resyncChunkBytes;
  return disk.read(fromBytes, Math.min(to * resyncChunkBytes, disk.sizeBytes) - fromBytes, into);
}

/**
 * The chunks of the region in which source and replica differ, ascending, by their place in the region. Groups are compared
 * first; the replica's digests of chunks are read only where a group differs or is only in part looked at.
 */
export async function differingChunks(
  { chunkTable, region, record }: HashedRegion,
  replica: DigestFile,
): Promise<number[]> {
  const firstChunk = region.fromBytes / resyncChunkBytes;
  const chunkCount = chunkTable.length / digestBytes;
  const isLookedAt = (chunk: number) => record === undefined || record.has(firstChunk + chunk);
  const chunksOf = (group: number) => {
    const from = group * chunksInGroup;
    return { from, to: Math.min(from + chunksInGroup, chunkCount) };
  };
  const mayDiffer = (group: number): boolean => {
    const { from, to } = chunksOf(group);
    let lookedAt = 0;
    for (let chunk = from; chunk < to; chunk++) if (isLookedAt(chunk)) lookedAt++;
    if (lookedAt < to - from) return lookedAt > 0;
    const digest = groupDigest(chunkTable.subarray(from * digestBytes, to * digestBytes));
    return !digest.equals(replica.groupDigest(group));
  };
  const groups = Array.from({ length: replica.groupCount }, (_, group) => group).filter(mayDiffer);
  const differing: number[] = [];
  for (const { from: firstGroup, to } of joinNear(groups)) {
    const theirs = await replica.chunkDigests(firstGroup, to - firstGroup);
    const base = firstGroup * chunksInGroup;
    for (let at = 0; at < theirs.length; at += digestBytes) {
      const chunk = base + at / digestBytes;
      if (!isLookedAt(chunk)) continue;
      const ourAt = chunk * digestBytes;
      if (theirs.compare(chunkTable, ourAt, ourAt + digestBytes, at, at + digestBytes) !== 0) differing.push(chunk);
    }
  }
  return differing;
}

/** Ascending numbers as runs, those with small gaps joined. */
function joinNear(groups: readonly number[]): { from: number; to: number }[] {
  const runs: { from: number; to: number }[] = [];
  for (const group of groups) {
    const last = runs.at(-1);
    if (last && group - last.to <= gapGroupsMax) last.to = group + 1;
    else runs.push({ from: group, to: group + 1 });
  }
  return runs;
}

/** The content of these chunks, neighbours together, for a transfer log. What is zero at the source comes as zeros, unread. */
export function readChunks(
  disk: DiskReader,
  { region, chunkTable }: HashedRegion,
  chunks: readonly number[],
): AsyncGenerator<DiskChunk, void> {
  const firstChunk = region.fromBytes / resyncChunkBytes;
  const runs: { from: number; to: number; zero: boolean }[] = [];
  for (const chunk of chunks) {
    const at = chunk * digestBytes;
    const zero = chunkTable.subarray(at, at + digestBytes).every((byte) => byte === 0);
    const place = firstChunk + chunk;
    const last = runs.at(-1);
    if (last?.to === place && last.zero === zero && (zero || place - last.from < chunksInRead)) last.to++;
    else runs.push({ from: place, to: place + 1, zero });
  }
  return mapInOrder(runs, readsAtOnce, async (run) => {
    const offsetBytes = run.from * resyncChunkBytes;
    const lengthBytes = Math.min(run.to * resyncChunkBytes, disk.sizeBytes) - offsetBytes;
    return run.zero
      ? { kind: 'zeros', offsetBytes, lengthBytes }
      : { kind: 'data', offsetBytes, data: await readRun(disk, run) };
  });
}
