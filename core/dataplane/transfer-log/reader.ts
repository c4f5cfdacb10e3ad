/** Reading a transfer log: the index first, then any slice of its frames. The layout stands in layout.ts. */
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';
import type { DiskChunk } from '../disk-chunk.js';
import { mapInOrder } from '../in-order.js';
import type { RandomReader } from '../random-access.js';
import { damagedFrame, damagedTransferLog, notTransferLog, truncatedTransferLog } from './errors.js';
import {
  footerBytes,
  frameDigest,
  frameMaxBytes,
  framesMax,
  headerBytes,
  indexEntryBytes,
  logDigest,
  pageBytes,
  parseFooter,
  parseFrame,
  parseTransferLogHeader,
  type Frame,
  type TransferLogHeader,
} from './layout.js';

const decompress = promisify(brotliDecompress);

/** Neighbouring payloads are fetched together up to this length: one range request of the size that storage likes. */
const fetchMaxBytes = 4 * 1024 * 1024;
/** Fetches in flight: the next one runs while the last is decompressed. Memory: this many times fetch and content. */
const fetchesAtOnce = 2;

export interface TransferLogIndex {
  readonly header: TransferLogHeader;
  readonly frameCount: number;
  readonly changedBytes: number;
  readonly payloadBytes: number;
  readonly lengthBytes: number;
  readonly digest: string;
  frame(index: number): Frame;
}

/**
 * Reads and verifies header, index and footer. With `expected`, from the announcement, a log that is whole but another
 * one is refused too.
 */
export async function readTransferLogIndex(
  log: RandomReader,
  expected?: { readonly digest: string; readonly lengthBytes: number },
): Promise<TransferLogIndex> {
  const { lengthBytes } = log;
  if (expected !== undefined && expected.lengthBytes !== lengthBytes) {
    throw truncatedTransferLog(expected.lengthBytes, lengthBytes);
  }
  if (lengthBytes < headerBytes + footerBytes) throw notTransferLog(`it has only ${lengthBytes} bytes`);
  const headerBlock = await log.read(0, headerBytes);
  const header = parseTransferLogHeader(headerBlock);
  const footer = parseFooter(await log.read(lengthBytes - footerBytes, footerBytes));
  if (footer.frameCount > framesMax) throw damagedTransferLog('footer', `${footer.frameCount} frames`);
  const indexBytes = footer.frameCount * indexEntryBytes;
  const neededBytes = headerBytes + footer.payloadBytes + indexBytes + footerBytes;
  if (neededBytes !== lengthBytes) throw truncatedTransferLog(neededBytes, lengthBytes);
  if (footer.indexAtBytes !== headerBytes + footer.payloadBytes) {
    throw damagedTransferLog('footer', `the index at ${footer.indexAtBytes}`);
  }
  const index = await log.read(footer.indexAtBytes, indexBytes);
  const digest = logDigest(headerBlock, [index]).toString('hex');
  if (digest !== footer.digest.toString('hex')) {
    throw damagedTransferLog('index', `digest ${footer.digest.toString('hex')}, its content gives ${digest}`);
  }
  if (expected !== undefined && expected.digest !== digest) {
    throw damagedTransferLog('index', `digest ${digest}, but ${expected.digest} was announced`);
  }
  const changedBytes = checkFrames(header, index, footer.frameCount, footer.payloadBytes);
  if (changedBytes !== footer.changedBytes) throw damagedTransferLog('footer', `${footer.changedBytes} changed bytes`);
  return {
    header,
    frameCount: footer.frameCount,
    changedBytes,
    payloadBytes: footer.payloadBytes,
    lengthBytes,
    digest,
    frame: (at) => {
      if (!(at >= 0 && at < footer.frameCount)) throw new RangeError(`frame ${at} of ${footer.frameCount}`);
      return parseFrame(index, at);
    },
  };
}

/** Frames ascend on the disk and in the log, without overlap and without gaps between payloads. */
function checkFrames(header: TransferLogHeader, index: Buffer, frameCount: number, payloadBytes: number): number {
  let endBytes = header.fromBytes;
  let payloadAtBytes = headerBytes;
  let changedBytes = 0;
  for (let at = 0; at < frameCount; at++) {
    const frame = parseFrame(index, at);
    const { offsetBytes, lengthBytes, storedBytes, codec } = frame;
    const sound =
      offsetBytes >= endBytes &&
      offsetBytes + lengthBytes <= header.toBytes &&
      offsetBytes % pageBytes === 0 &&
      lengthBytes % pageBytes === 0 &&
      lengthBytes > 0 &&
      (codec === 'zeros' ? storedBytes === 0 : lengthBytes <= frameMaxBytes && storedBytes > 0) &&
      (codec !== 'stored' || storedBytes === lengthBytes) &&
      (codec !== 'brotli' || storedBytes < lengthBytes) &&
      frame.payloadAtBytes === payloadAtBytes;
    if (!sound) {
      throw damagedTransferLog(
        `frame ${at}`,
        `${lengthBytes} bytes at ${offsetBytes}, ${storedBytes} stored (${codec})`,
      );
    }
    endBytes = offsetBytes + lengthBytes;
    payloadAtBytes += storedBytes;
    changedBytes += lengthBytes;
  }
  if (payloadAtBytes - headerBytes !== payloadBytes)
    throw damagedTransferLog('footer', `${payloadBytes} payload bytes`);
  return changedBytes;
}

/** The content of the frames `[from, to)`, in order, every digest verified. */
export async function* readFrames(
  log: RandomReader,
  index: TransferLogIndex,
  from = 0,
  to = index.frameCount,
): AsyncGenerator<DiskChunk, void> {
  for await (const chunks of mapInOrder(fetchGroups(index, from, to), fetchesAtOnce, (group) =>
    readGroup(log, group),
  )) {
    yield* chunks;
  }
}

/** Frames whose payloads lie side by side and fit one fetch, compressed and uncompressed. */
function* fetchGroups(index: TransferLogIndex, from: number, to: number): Generator<Frame[]> {
  let group: Frame[] = [];
  let contentBytes = 0;
  for (let at = from; at < to; at++) {
    const frame = index.frame(at);
    const frameBytes = frame.codec === 'zeros' ? 0 : frame.lengthBytes;
    if (group.length > 0 && contentBytes + frameBytes > fetchMaxBytes) {
      yield group;
      group = [];
      contentBytes = 0;
    }
    group.push(frame);
    contentBytes += frameBytes;
  }
  if (group.length > 0) yield group;
}

async function readGroup(log: RandomReader, group: readonly Frame[]): Promise<DiskChunk[]> {
  const startBytes = group[0]?.payloadAtBytes ?? 0;
  const storedBytes = group.reduce((sum, frame) => sum + frame.storedBytes, 0);
  const payloads = storedBytes > 0 ? await log.read(startBytes, storedBytes) : Buffer.alloc(0);
  return Promise.all(
    group.map(async (frame): Promise<DiskChunk> => {
      const { offsetBytes, lengthBytes } = frame;
      if (frame.codec === 'zeros') return { kind: 'zeros', offsetBytes, lengthBytes };
      const payloadAt = frame.payloadAtBytes - startBytes;
      const payload = payloads.subarray(payloadAt, payloadAt + frame.storedBytes);
      const data = frame.codec === 'stored' ? payload : await decompressFrame(frame, payload);
      const digest = frameDigest(data);
      if (!digest.equals(frame.digest)) {
        throw damagedFrame(
          frame.index,
          offsetBytes,
          `digest ${digest.toString('hex')}, expected ${frame.digest.toString('hex')}`,
        );
      }
      return { kind: 'data', offsetBytes, data };
    }),
  );
}

async function decompressFrame(frame: Frame, payload: Buffer): Promise<Buffer> {
  try {
    const data = await decompress(payload, { maxOutputLength: frame.lengthBytes });
    if (data.length === frame.lengthBytes) return data;
    throw new RangeError(`${data.length} bytes instead of ${frame.lengthBytes}`);
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    throw damagedFrame(frame.index, frame.offsetBytes, `it does not decompress: ${found}`);
  }
}
