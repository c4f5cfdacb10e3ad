import { mapInOrder } from './in-order.js';
import type { DiskReader } from './random-access.js';

/** A piece of a disk's content. Streams of chunks ascend and do not overlap. */
export type DiskChunk =
  | { readonly kind: 'data'; readonly offsetBytes: number; readonly data: Buffer }
  | { readonly kind: 'zeros'; readonly offsetBytes: number; readonly lengthBytes: number };

export const chunkMaxBytes = 1024 * 1024;

export const chunkLengthBytes = (chunk: DiskChunk): number =>
  chunk.kind === 'data' ? chunk.data.length : chunk.lengthBytes;

/** One chunk is read while the caller works on the last. */
const chunksAtOnce = 2;

/**
 * All of `[fromBytes, toBytes)` without gaps, in chunks of at most `chunkMaxBytes` of data; what the disk has not
 * allocated comes as zeros without being read.
 */
export function readDiskChunks(disk: DiskReader, fromBytes: number, toBytes: number): AsyncGenerator<DiskChunk, void> {
  return mapInOrder(pieces(disk, fromBytes, toBytes), chunksAtOnce, async ({ allocated, offsetBytes, lengthBytes }) =>
    allocated
      ? { kind: 'data', offsetBytes, data: await disk.read(offsetBytes, lengthBytes) }
      : { kind: 'zeros', offsetBytes, lengthBytes },
  );
}

interface Piece {
  readonly allocated: boolean;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

async function* pieces(disk: DiskReader, fromBytes: number, toBytes: number): AsyncGenerator<Piece> {
  let at = fromBytes;
  for await (const range of disk.allocatedRanges(fromBytes)) {
    const start = Math.max(range.offsetBytes, fromBytes);
    const end = Math.min(range.offsetBytes + range.lengthBytes, toBytes);
    if (range.offsetBytes >= toBytes) break;
    if (end <= start) continue;
    if (start > at) yield { allocated: false, offsetBytes: at, lengthBytes: start - at };
    for (at = start; at < end; at += chunkMaxBytes) {
      yield { allocated: true, offsetBytes: at, lengthBytes: Math.min(chunkMaxBytes, end - at) };
    }
    at = end;
  }
  if (at < toBytes) yield { allocated: false, offsetBytes: at, lengthBytes: toBytes - at };
}
