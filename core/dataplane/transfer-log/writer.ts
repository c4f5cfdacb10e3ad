/** Making a transfer log from a stream of chunks, in bounded memory. The layout stands in layout.ts. */
import { promisify } from 'node:util';
import { brotliCompress, constants } from 'node:zlib';
import { UnderstudyError } from '../../domain/errors.js';
import { chunkLengthBytes, type DiskChunk } from '../disk-chunk.js';
import { mapInOrder } from '../in-order.js';
import { zeroRuns } from '../zero-runs.js';
import {
  encodeFooter,
  encodeFrame,
  encodeTransferLogHeader,
  footerBytes,
  frameDigest,
  frameMaxBytes,
  framesMax,
  headerBytes,
  indexEntryBytes,
  logDigest,
  pageBytes,
  zeroFrameMaxBytes,
  zerosDigest,
  type Frame,
  type TransferLogHeader,
} from './layout.js';

const compress = promisify(brotliCompress);

/** Frames that are being compressed at once: as many as Node's thread pool has threads; each holds two buffers. */
const compressedAtOnceDefault = 4;
/** Below this gain the frame is stored as it is: reading it back then costs nothing. */
const worthwhileRatio = 0.95;

export interface TransferLogSummary {
  readonly lengthBytes: number;
  /** 64 hex digits over header and index, and through them over all content. */
  readonly digest: string;
  readonly frameCount: number;
  /** What the frames take in the log, compressed. */
  readonly payloadBytes: number;
  /** What the frames cover on the disk, zeros included. */
  readonly changedBytes: number;
}

export interface TransferLogWriterOptions {
  readonly compressedAtOnce?: number;
  readonly signal?: AbortSignal;
}

export interface TransferLogStream {
  /** The log from its first byte to its last. To be iterated once. */
  readonly bytes: AsyncIterable<Buffer>;
  /** Only after `bytes` has ended. */
  summary(): TransferLogSummary;
}

/** Data, or how many bytes of zeros. */
interface Content {
  readonly offsetBytes: number;
  readonly content: Buffer | number;
}

interface Part {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly codec: Frame['codec'];
  readonly payload: Buffer;
  readonly digest: Buffer;
}

/** The chunks must ascend without overlap, lie inside the header's range and be whole pages of 512 bytes. */
export function writeTransferLog(
  header: TransferLogHeader,
  chunks: AsyncIterable<DiskChunk>,
  options: TransferLogWriterOptions = {},
): TransferLogStream {
  let summary: TransferLogSummary | undefined;
  return {
    bytes: encode(header, chunks, options, (result) => (summary = result)),
    summary: () => {
      if (summary === undefined) throw new Error('the transfer log is not written to its end yet');
      return summary;
    },
  };
}

async function* encode(
  header: TransferLogHeader,
  chunks: AsyncIterable<DiskChunk>,
  options: TransferLogWriterOptions,
  finish: (summary: TransferLogSummary) => void,
): AsyncGenerator<Buffer, void> {
  const headerBlock = encodeTransferLogHeader(header);
  yield headerBlock;
  const index = new IndexBlocks();
  let payloadAtBytes = headerBytes;
  let changedBytes = 0;
  const atOnce = options.compressedAtOnce ?? compressedAtOnceDefault;
  for await (const part of mapInOrder(parts(header, chunks), atOnce, makePart)) {
    options.signal?.throwIfAborted();
    if (index.frameCount === framesMax) throw tooManyFrames();
    const { payload, ...frame } = part;
    index.add(encodeFrame({ ...frame, storedBytes: payload.length, payloadAtBytes }));
    payloadAtBytes += payload.length;
    changedBytes += part.lengthBytes;
    if (payload.length > 0) yield payload;
  }
  const digest = logDigest(headerBlock, index.blocks());
  const payloadBytes = payloadAtBytes - headerBytes;
  const { frameCount } = index;
  yield* index.blocks();
  yield encodeFooter({ indexAtBytes: payloadAtBytes, frameCount, changedBytes, payloadBytes, digest });
  finish({
    lengthBytes: payloadAtBytes + frameCount * indexEntryBytes + footerBytes,
    digest: digest.toString('hex'),
    frameCount,
    payloadBytes,
    changedBytes,
  });
}

/** The index as it grows, in blocks: an entry takes its 48 bytes and no more. */
class IndexBlocks {
  static readonly entriesPerBlock = 4096;
  readonly #blocks: Buffer[] = [];
  frameCount = 0;

  add(entry: Buffer): void {
    const inBlock = this.frameCount % IndexBlocks.entriesPerBlock;
    if (inBlock === 0) this.#blocks.push(Buffer.alloc(IndexBlocks.entriesPerBlock * indexEntryBytes));
    entry.copy(this.#blocks.at(-1) ?? entry, inBlock * indexEntryBytes);
    this.frameCount += 1;
  }

  *blocks(): Generator<Buffer, void> {
    for (const [at, block] of this.#blocks.entries()) {
      const entries = Math.min(IndexBlocks.entriesPerBlock, this.frameCount - at * IndexBlocks.entriesPerBlock);
      yield block.subarray(0, entries * indexEntryBytes);
    }
  }
}

/** The frames' contents in the order of the disk, not yet compressed: zeros joined, data cut to frames. */
async function* parts(header: TransferLogHeader, chunks: AsyncIterable<DiskChunk>): AsyncGenerator<Content> {
  let endBytes = header.fromBytes;
  let zerosFrom: number | undefined;
  function* zerosBefore(offsetBytes: number): Generator<{ offsetBytes: number; content: number }> {
    if (zerosFrom === undefined) return;
    for (let at = zerosFrom; at < offsetBytes; at += zeroFrameMaxBytes) {
      yield { offsetBytes: at, content: Math.min(zeroFrameMaxBytes, offsetBytes - at) };
    }
    zerosFrom = undefined;
  }
  for await (const chunk of chunks) {
    checkChunk(header, chunk, endBytes);
    if (chunk.offsetBytes > endBytes) yield* zerosBefore(endBytes);
    endBytes = chunk.offsetBytes + chunkLengthBytes(chunk);
    const runs =
      chunk.kind === 'data' ? zeroRuns(chunk.data) : [{ zero: true, startBytes: 0, endBytes: chunk.lengthBytes }];
    for (const run of runs) {
      const runAt = chunk.offsetBytes + run.startBytes;
      if (run.zero || chunk.kind === 'zeros') {
        zerosFrom ??= runAt;
        continue;
      }
      yield* zerosBefore(runAt);
      for (let start = run.startBytes; start < run.endBytes; start += frameMaxBytes) {
        const content = chunk.data.subarray(start, Math.min(start + frameMaxBytes, run.endBytes));
        yield { offsetBytes: chunk.offsetBytes + start, content };
      }
    }
  }
  yield* zerosBefore(endBytes);
}

async function makePart({ offsetBytes, content }: Content): Promise<Part> {
  if (typeof content === 'number') {
    return { offsetBytes, lengthBytes: content, codec: 'zeros', payload: Buffer.alloc(0), digest: zerosDigest };
  }
  const compressed = isWorthCompressing(content).then((worth) => (worth ? compressQuickly(content) : content));
  const digest = frameDigest(content);
  const payload = await compressed;
  const lengthBytes = content.length;
  return payload.length < lengthBytes * worthwhileRatio
    ? { offsetBytes, lengthBytes, codec: 'brotli', payload, digest }
    : { offsetBytes, lengthBytes, codec: 'stored', payload: content, digest };
}

/** Broken promises of the caller: a wrong log is worse than none. */
function checkChunk(header: TransferLogHeader, chunk: DiskChunk, endBytes: number): void {
  const lengthBytes = chunkLengthBytes(chunk);
  const where = `${lengthBytes} bytes at ${chunk.offsetBytes}`;
  if (chunk.offsetBytes < endBytes)
    throw new RangeError(`${where} begin before ${endBytes}, where the log has come to`);
  if (chunk.offsetBytes + lengthBytes > header.toBytes) throw new RangeError(`${where} end after ${header.toBytes}`);
  if (lengthBytes <= 0 || lengthBytes % pageBytes !== 0 || chunk.offsetBytes % pageBytes !== 0) {
    throw new RangeError(`${where} are not whole pages of ${pageBytes}`);
  }
}

function tooManyFrames(): UnderstudyError {
  return new UnderstudyError({
    code: 'US2044',
    message: `the changes need more than ${framesMax} frames, the bound of one transfer log`,
    possibleCauses: 'The disk was written in very many small places since the last cycle.',
    recommendedAction: 'Resynchronize the item: that sends larger pieces.',
    details: { framesMax },
  });
}

/**
 * A few pieces of a large frame tell cheaply whether compressing all of it is in vain: encrypted or packed data would cost
 * most of the processor's time here and gain nothing.
 */
const probePieceBytes = 4096;
const probedFromBytes = 16 * probePieceBytes;

async function isWorthCompressing(content: Buffer): Promise<boolean> {
  if (content.length < probedFromBytes) return true;
  const middle = content.length >>> 1;
  const probe = Buffer.concat([
    content.subarray(0, probePieceBytes),
    content.subarray(middle, middle + probePieceBytes),
    content.subarray(-probePieceBytes),
  ]);
  return (await compressQuickly(probe)).length < probe.length * worthwhileRatio;
}

function compressQuickly(content: Buffer): Promise<Buffer> {
  return compress(content, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 0,
      [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
      // A window no larger than the content: small frames then need little memory to be set up.
      [constants.BROTLI_PARAM_LGWIN]: Math.max(constants.BROTLI_MIN_WINDOW_BITS, Math.ceil(Math.log2(content.length))),
    },
  });
}
