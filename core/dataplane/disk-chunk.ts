import type { DiskReader } from './random-access.js';

/** A piece of a disk's content. Streams of chunks ascend and do not overlap. */
export type DiskChunk =
  | { readonly kind: 'data'; readonly offsetBytes: number; readonly data: Buffer }
  | { readonly kind: 'zeros'; readonly offsetBytes: number; readonly lengthBytes: number };

export const chunkMaxBytes = 1024 * 1024;

export const chunkLengthBytes = (chunk: DiskChunk): number =>
  chunk.kind === 'data' ? chunk.data.length : chunk.lengthBytes;

/**
 * All of `[fromBytes, toBytes)` without gaps, in chunks of at most `chunkMaxBytes` of data; what the disk has not
 * allocated comes as zeros without being read. The next chunk is read while the caller works on the last.
 */
export async function* readDiskChunks(
  disk: DiskReader,
  fromBytes: number,
  toBytes: number,
): AsyncGenerator<DiskChunk, void> {
  let ahead: Promise<DiskChunk> | undefined;
  try {
    for await (const range of pieces(disk, fromBytes, toBytes)) {
      const { offsetBytes, lengthBytes } = range;
      const next: Promise<DiskChunk> = range.allocated
        ? disk.read(offsetBytes, lengthBytes).then((data) => ({ kind: 'data', offsetBytes, data }))
        : Promise.resolve({ kind: 'zeros', offsetBytes, lengthBytes });
      // Its error is thrown where it is awaited, one step later.
      next.catch(() => undefined);
      const ready = ahead;
      ahead = next;
      if (ready !== undefined) yield await ready;
    }
    if (ahead !== undefined) yield await ahead;
  } finally {
    await ahead?.catch(() => undefined);
  }
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
