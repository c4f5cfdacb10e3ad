/**
 * VHDX, log: metadata updates that a crash may have kept from their place. [MS-VHDX] 2.3.
 *
 * A ring of entries, each whole 4 KiB sectors: descriptor sectors, then one data sector for each data descriptor.
 *   entry header, 64 bytes: 0 "loge"  4 CRC-32C of the entry  8 entry length u32  12 tail u32  16 sequence number u64
 *     24 descriptor count u32  32 log GUID  48 flushed file offset u64  56 last file offset u64
 *   descriptors of 32 bytes follow at once: "desc" 4 trailing bytes  8 leading bytes  16 file offset u64  24 sequence
 *     or "zero" 8 length u64  16 file offset u64  24 sequence
 *   data sector: 0 "data"  4 sequence high u32  8 bytes 8 to 4091 of the update  4092 sequence low u32
 */
import { readGuid, zeroGuid } from '../guid.js';
import type { RandomReader, RandomWriter } from '../random-access.js';
import { truncatedVhdx, vhdxLogUnusable } from './errors.js';
import { checksumOf, mib, type VhdxHeader } from './header.js';

const sectorBytes = 4096;
const entryHeaderBytes = 64;
const descriptorBytes = 32;
/** The log is replayed in memory. Hyper-V's logs have 1 MiB. */
const logMaxBytes = 64 * mib;
/** Zeros that a log may ask for, in sectors; BAT and metadata of the largest disk are far below. */
const zeroSectorsMax = 256 * 1024;

/** What the log adds to the file. A sector without data is zeros. */
export interface LogReplay {
  readonly sectors: ReadonlyMap<number, Buffer | undefined>;
  /** The file must be at least this long after the replay. */
  readonly lengthBytes: number;
}

interface LogEntry {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly tailBytes: number;
  readonly sequenceNumber: bigint;
  readonly flushedFileBytes: number;
  readonly lastFileBytes: number;
  readonly bytes: Buffer;
}

/** Undefined when there is nothing to replay. */
export async function readLog(file: RandomReader, header: VhdxHeader): Promise<LogReplay | undefined> {
  if (header.logGuid === zeroGuid) return undefined;
  const { logOffsetBytes, logLengthBytes } = header;
  if (logLengthBytes === 0 || logLengthBytes % mib !== 0 || logOffsetBytes < mib || logOffsetBytes % mib !== 0) {
    throw vhdxLogUnusable(`it stands at ${logOffsetBytes}, length ${logLengthBytes}: not whole MiB after the header`);
  }
  if (logLengthBytes > logMaxBytes) throw vhdxLogUnusable(`it is ${logLengthBytes} bytes long, at most ${logMaxBytes}`);
  if (logOffsetBytes + logLengthBytes > file.lengthBytes) {
    throw truncatedVhdx('the log', logOffsetBytes + logLengthBytes, file.lengthBytes);
  }
  const log = await file.read(logOffsetBytes, logLengthBytes);
  const sequence = findActiveSequence(log, header.logGuid);
  const head = sequence.at(-1);
  if (head === undefined) throw vhdxLogUnusable('it holds no complete sequence of entries');
  if (file.lengthBytes < head.flushedFileBytes) {
    throw truncatedVhdx('the file as its log knows it', head.flushedFileBytes, file.lengthBytes);
  }
  return { sectors: collectSectors(sequence), lengthBytes: head.lastFileBytes };
}

/** [MS-VHDX] 2.3.3: the valid and complete sequence with the largest sequence number. */
function findActiveSequence(log: Buffer, logGuid: string): LogEntry[] {
  let active: LogEntry[] = [];
  let tail = 0;
  for (;;) {
    const current: LogEntry[] = [];
    let head = tail;
    let scannedBytes = 0;
    for (;;) {
      const entry = scannedBytes < log.length ? parseEntry(log, head, logGuid) : undefined;
      const previous = current.at(-1);
      if (entry === undefined) break;
      if (previous !== undefined && entry.sequenceNumber !== previous.sequenceNumber + 1n) break;
      current.push(entry);
      scannedBytes += entry.lengthBytes;
      head = (head + entry.lengthBytes) % log.length;
    }
    const last = current.at(-1);
    const first = last === undefined ? -1 : current.findIndex((entry) => entry.offsetBytes === last.tailBytes);
    const newest = active.at(-1)?.sequenceNumber ?? 0n;
    if (last !== undefined && first >= 0 && last.sequenceNumber > newest) active = current.slice(first);
    const next = last === undefined || first < 0 ? (tail + sectorBytes) % log.length : head;
    if (next <= tail) return active;
    tail = next;
  }
}

function parseEntry(log: Buffer, offsetBytes: number, logGuid: string): LogEntry | undefined {
  if (log.toString('latin1', offsetBytes, offsetBytes + 4) !== 'loge') return undefined;
  const lengthBytes = log.readUInt32LE(offsetBytes + 8);
  const tailBytes = log.readUInt32LE(offsetBytes + 12);
  if (lengthBytes === 0 || lengthBytes % sectorBytes !== 0 || lengthBytes > log.length) return undefined;
  if (tailBytes % sectorBytes !== 0 || tailBytes >= log.length) return undefined;
  const bytes = ringSlice(log, offsetBytes, lengthBytes);
  const entry: LogEntry = {
    offsetBytes,
    lengthBytes,
    tailBytes,
    sequenceNumber: bytes.readBigUInt64LE(16),
    flushedFileBytes: Number(bytes.readBigUInt64LE(48)),
    lastFileBytes: Number(bytes.readBigUInt64LE(56)),
    bytes,
  };
  const valid =
    entry.sequenceNumber > 0n &&
    readGuid(bytes, 32) === logGuid &&
    bytes.readUInt32LE(4) === checksumOf(bytes) &&
    areDescriptorsValid(entry);
  return valid ? entry : undefined;
}

function ringSlice(log: Buffer, offsetBytes: number, lengthBytes: number): Buffer {
  if (offsetBytes + lengthBytes <= log.length) return log.subarray(offsetBytes, offsetBytes + lengthBytes);
  return Buffer.concat([log.subarray(offsetBytes), log.subarray(0, offsetBytes + lengthBytes - log.length)]);
}

function* descriptors(entry: LogEntry): Generator<{ kind: string; at: number; fileOffsetBytes: number }> {
  const count = entry.bytes.readUInt32LE(24);
  for (let index = 0; index < count; index++) {
    const at = entryHeaderBytes + index * descriptorBytes;
    if (at + descriptorBytes > entry.lengthBytes) return;
    const kind = entry.bytes.toString('latin1', at, at + 4);
    yield { kind, at, fileOffsetBytes: Number(entry.bytes.readBigUInt64LE(at + 16)) };
  }
}

const dataStart = (entry: LogEntry): number =>
  Math.ceil((entryHeaderBytes + entry.bytes.readUInt32LE(24) * descriptorBytes) / sectorBytes) * sectorBytes;

function areDescriptorsValid(entry: LogEntry): boolean {
  const { bytes, sequenceNumber, lengthBytes } = entry;
  let dataAt = dataStart(entry);
  if (dataAt > lengthBytes) return false;
  for (const { kind, at, fileOffsetBytes } of descriptors(entry)) {
    if (bytes.readBigUInt64LE(at + 24) !== sequenceNumber) return false;
    if (!Number.isSafeInteger(fileOffsetBytes) || fileOffsetBytes % sectorBytes !== 0) return false;
    if (kind === 'zero') {
      if (bytes.readBigUInt64LE(at + 8) % BigInt(sectorBytes) !== 0n) return false;
    } else if (kind === 'desc') {
      if (dataAt + sectorBytes > lengthBytes) return false;
      if (bytes.toString('latin1', dataAt, dataAt + 4) !== 'data') return false;
      const sequence =
        (BigInt(bytes.readUInt32LE(dataAt + 4)) << 32n) | BigInt(bytes.readUInt32LE(dataAt + sectorBytes - 4));
      if (sequence !== sequenceNumber) return false;
      dataAt += sectorBytes;
    } else {
      return false;
    }
  }
  return dataAt === lengthBytes;
}

function collectSectors(sequence: readonly LogEntry[]): Map<number, Buffer | undefined> {
  const sectors = new Map<number, Buffer | undefined>();
  for (const entry of sequence) {
    let dataAt = dataStart(entry);
    for (const { kind, at, fileOffsetBytes } of descriptors(entry)) {
      if (kind === 'zero') {
        const count = Number(entry.bytes.readBigUInt64LE(at + 8)) / sectorBytes;
        if (count > zeroSectorsMax) throw vhdxLogUnusable(`it zeroes ${count * sectorBytes} bytes in one step`);
        for (let index = 0; index < count; index++) sectors.set(fileOffsetBytes + index * sectorBytes, undefined);
      } else {
        const sector = Buffer.from(entry.bytes.subarray(dataAt, dataAt + sectorBytes));
        entry.bytes.copy(sector, 0, at + 8, at + 16);
        entry.bytes.copy(sector, sectorBytes - 4, at + 4, at + 8);
        sectors.set(fileOffsetBytes, sector);
        dataAt += sectorBytes;
      }
    }
  }
  return sectors;
}

/** The file as it is after the replay, without writing to it. */
export class ReplayedFile implements RandomReader {
  readonly #file: RandomReader;
  readonly #sectors: LogReplay['sectors'];
  readonly lengthBytes: number;

  constructor(file: RandomReader, replay: LogReplay) {
    this.#file = file;
    this.#sectors = replay.sectors;
    let lengthBytes = Math.max(file.lengthBytes, replay.lengthBytes);
    for (const offsetBytes of replay.sectors.keys()) lengthBytes = Math.max(lengthBytes, offsetBytes + sectorBytes);
    this.lengthBytes = lengthBytes;
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const endBytes = offsetBytes + lengthBytes;
    if (endBytes > this.lengthBytes) throw truncatedVhdx('the range to read', endBytes, this.lengthBytes);
    const inFileBytes = Math.max(0, Math.min(lengthBytes, this.#file.lengthBytes - offsetBytes));
    const stored = inFileBytes > 0 ? await this.#file.read(offsetBytes, inFileBytes) : Buffer.alloc(0);
    const result = inFileBytes === lengthBytes ? stored : Buffer.concat([stored], lengthBytes);
    for (let at = offsetBytes - (offsetBytes % sectorBytes); at < endBytes; at += sectorBytes) {
      if (!this.#sectors.has(at)) continue;
      const from = Math.max(at, offsetBytes);
      const to = Math.min(at + sectorBytes, endBytes);
      const sector = this.#sectors.get(at);
      if (sector === undefined) result.fill(0, from - offsetBytes, to - offsetBytes);
      else sector.copy(result, from - offsetBytes, from - at, to - at);
    }
    return result;
  }
}

/** Carries the log's updates to their places. Repeating it changes nothing. */
export async function replayInto(file: RandomWriter, replay: LogReplay): Promise<void> {
  const zeros = Buffer.alloc(sectorBytes);
  for (const [offsetBytes, sector] of replay.sectors) await file.write(offsetBytes, sector ?? zeros);
  if (file.lengthBytes < replay.lengthBytes) await file.resize(replay.lengthBytes);
  await file.flush();
}
