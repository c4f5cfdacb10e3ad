/** From the closed logs of a disk, oldest first, to what it now holds where it changed: last write wins. */
import { UnderstudyError } from '../../domain/errors.js';
import { chunkMaxBytes, type DiskChunk } from '../disk-chunk.js';
import { damagedHrl } from '../hrl/errors.js';
import type { HrlReader } from '../hrl/reader.js';
import { mapInOrder } from '../in-order.js';
import type { DiskRange } from '../random-access.js';
import { WriteIndex, type Piece } from './newest-writes.js';

/** 112 MiB of index; at 4 KiB a write that is 16 GiB of log. */
export const writesMax = 4 * 1024 * 1024;
const pageBytes = 512;
/** Chunks in the making: small scattered writes are a chunk each, and wait for their reads together. */
const chunksAtOnce = 8;
/** Reads of one chunk's data that run at once. */
const readsAtOnce = 4;
/** Writes that lie side by side in the log are read together up to this length. */
const readMaxBytes = 1024 * 1024;

export interface CoalescedWrites {
  readonly writeCount: number;
  /** Data in the logs, before coalescing. */
  readonly writtenBytes: number;
  /** What changed, merged where it touches. */
  ranges(): Generator<DiskRange, void>;
  /** The newest data of what changed, in chunks of at most `chunkMaxBytes`; every log entry's checksum is verified. */
  chunks(): AsyncGenerator<DiskChunk, void>;
}

/** Reads the logs' metadata; data is read as `chunks` goes. The logs must stay open until then. */
export async function coalesceLogs(logs: readonly HrlReader[], diskSizeBytes: number): Promise<CoalescedWrites> {
  const index = new WriteIndex();
  let writtenBytes = 0;
  for (const [log, reader] of logs.entries()) {
    for await (const entry of reader.entries()) {
      const { offsetBytes, lengthBytes, dataAtBytes, dataChecksum } = entry;
      if (offsetBytes + lengthBytes > diskSizeBytes || offsetBytes % pageBytes !== 0 || lengthBytes % pageBytes !== 0) {
        throw damagedHrl(
          `log ${reader.header.uniqueId}, a write`,
          dataAtBytes,
          `${lengthBytes} bytes at ${offsetBytes} are not whole sectors of a disk of ${diskSizeBytes} bytes`,
        );
      }
      if (index.count === writesMax) throw tooManyWrites();
      index.add({ offsetBytes, lengthBytes, log, dataAtBytes, dataChecksum });
      writtenBytes += lengthBytes;
    }
  }
  return {
    writeCount: index.count,
    writtenBytes,
    ranges: () => mergeRanges(index.pieces()),
    chunks: () => mapInOrder(chunkGroups(index.pieces()), chunksAtOnce, (group) => readGroup(logs, group)),
  };
}

function* mergeRanges(pieces: Iterable<DiskRange>): Generator<DiskRange, void> {
  let merged: { offsetBytes: number; lengthBytes: number } | undefined;
  for (const { offsetBytes, lengthBytes } of pieces) {
    if (merged?.offsetBytes !== undefined && merged.offsetBytes + merged.lengthBytes === offsetBytes) {
      merged.lengthBytes += lengthBytes;
    } else {
      if (merged !== undefined) yield merged;
      merged = { offsetBytes, lengthBytes };
    }
  }
  if (merged !== undefined) yield merged;
}

/** Pieces that touch, together at most a chunk long; a longer piece is cut. */
function* chunkGroups(pieces: Iterable<Piece>): Generator<Piece[], void> {
  let group: Piece[] = [];
  let groupBytes = 0;
  let endBytes = -1;
  for (const piece of pieces) {
    let { offsetBytes, lengthBytes } = piece;
    while (lengthBytes > 0) {
      if (group.length > 0 && (offsetBytes !== endBytes || groupBytes === chunkMaxBytes)) {
        yield group;
        group = [];
        groupBytes = 0;
      }
      const taken = Math.min(lengthBytes, chunkMaxBytes - groupBytes);
      group.push({ offsetBytes, lengthBytes: taken, write: piece.write });
      groupBytes += taken;
      offsetBytes += taken;
      lengthBytes -= taken;
      endBytes = offsetBytes;
    }
  }
  if (group.length > 0) yield group;
}

async function readGroup(logs: readonly HrlReader[], group: readonly Piece[]): Promise<DiskChunk> {
  const offsetBytes = group[0]?.offsetBytes ?? 0;
  const data = Buffer.allocUnsafeSlow(group.reduce((sum, piece) => sum + piece.lengthBytes, 0));
  const reads = contiguousReads(group);
  const worker = async (): Promise<void> => {
    for (let read = reads.shift(); read !== undefined; read = reads.shift()) {
      const log = logs[read.log];
      if (log === undefined) throw new RangeError(`log ${read.log}`);
      const contents = await log.readContiguous(read.pieces.map((piece) => piece.write));
      read.pieces.forEach((piece, at) => {
        const from = piece.offsetBytes - piece.write.offsetBytes;
        contents[at]?.copy(data, piece.offsetBytes - offsetBytes, from, from + piece.lengthBytes);
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(readsAtOnce, reads.length) }, worker));
  return { kind: 'data', offsetBytes, data };
}

/** Whole writes, since their checksums cover them whole; those that follow one another in a log become one read. */
function contiguousReads(group: readonly Piece[]): { log: number; pieces: Piece[] }[] {
  const reads: { log: number; pieces: Piece[]; endBytes: number; lengthBytes: number }[] = [];
  for (const piece of group) {
    const { log, dataAtBytes, lengthBytes } = piece.write;
    const last = reads.at(-1);
    if (last?.log === log && last.endBytes === dataAtBytes && last.lengthBytes + lengthBytes <= readMaxBytes) {
      last.pieces.push(piece);
      last.endBytes += lengthBytes;
      last.lengthBytes += lengthBytes;
    } else {
      reads.push({ log, pieces: [piece], endBytes: dataAtBytes + lengthBytes, lengthBytes });
    }
  }
  return reads;
}

function tooManyWrites(): UnderstudyError {
  return new UnderstudyError({
    code: 'US2050',
    message: `the logs of this cycle hold more than ${writesMax} writes, the bound of one cycle`,
    possibleCauses: 'The guest wrote in very many small places, or cycles were held up for long.',
    recommendedAction: 'Resynchronize the item: that compares the disks instead of following every write.',
    details: { writesMax },
  });
}
