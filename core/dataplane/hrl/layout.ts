/**
 * HRL, Hyper-V Replica Log: every write to a disk with its data, in order. [MS-HRL] 2.1 to 2.6. Little-endian, packed.
 *
 *   0      header, 4096 bytes                                                                   2.2
 *            0 "msctlog "  8 version u32  12 time u32  16 creator, 4 bytes  20 creator version u32
 *            24 original size u64  32 current size u64  40 checksum u32  44 end of log u64 (0 while open)
 *            52 error u32  56 metadata size u32  60 unique id GUID  76 previous unique id GUID
 *            92 last modified u32  96 total metadata entries u64  104 file type u32  108 flags u16
 *            110 the VHDX's data write GUID
 *   4096   metadata block without entries, then again and again: the data of up to 127 entries, one after the other,
 *          and the metadata block that describes them
 *            block header, 32 bytes: 0 distance back to the previous block u64, 0 for the first                2.3
 *              8 valid entries u32  12 checksum u32
 *            entries, 32 bytes each: 0 offset on the disk u64  8 checksum u32  12 data length u32              2.4
 *              16 time u32  20 operation u8 = 1  21 data checksum u32  25 location u8 = 0
 *
 * Times are seconds since 2000-01-01T00:00:00Z. A checksum is the one's complement of the byte sum without itself (2.6).
 */
import { byteSum, complementOfByteSum } from '../byte-sum.js';
import { readGuid, writeGuid } from '../guid.js';
import { damagedHrl, notHrl } from './errors.js';

export const hrlHeaderBytes = 4096;
/** [MS-HRL] 2.2, the default of MetadataSize; what we write. */
export const metadataBlockBytes = 4096;
export const blockHeaderBytes = 32;
export const entryBytes = 32;
export const entriesPerBlock = (metadataBlockBytes - blockHeaderBytes) / entryBytes;
/** The longest entry that we read whole. A guest's write has a few MiB at most. */
export const entryDataMaxBytes = 64 * 1024 * 1024;
const metadataBlockMaxBytes = 1024 * 1024;
const version2 = 0x0002_0000;
const writeOperation = 1;
const epoch2000Ms = Date.UTC(2000, 0, 1);

export interface HrlHeader {
  readonly createdAtMs: number;
  readonly currentSizeBytes: number;
  /** 0 while the log is open. */
  readonly endOfLogBytes: number;
  readonly metadataBlockBytes: number;
  readonly uniqueId: string;
  /** The log before this one: logs form a chain. */
  readonly previousUniqueId: string;
  readonly lastModifiedAtMs: number;
  readonly totalEntries: number;
  /** The VHDX's data write GUID while the log was written: another one there reveals an offline change. */
  readonly dataWriteGuid: string;
}

export interface HrlMetadataEntry {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly timeMs: number;
  readonly dataChecksum: number;
}

export function encodeHrlHeader(header: HrlHeader): Buffer {
  const block = Buffer.alloc(hrlHeaderBytes);
  block.write('msctlog ', 0, 'latin1');
  block.writeUInt32LE(version2, 8);
  block.writeUInt32LE(toSeconds2000(header.createdAtMs), 12);
  block.write('ct  ', 16, 'latin1');
  block.writeUInt32LE(0x000a_0000, 20);
  block.writeBigUInt64LE(BigInt(header.currentSizeBytes), 32);
  block.writeBigUInt64LE(BigInt(header.endOfLogBytes), 44);
  block.writeUInt32LE(header.metadataBlockBytes, 56);
  writeGuid(block, 60, header.uniqueId);
  writeGuid(block, 76, header.previousUniqueId);
  block.writeUInt32LE(toSeconds2000(header.lastModifiedAtMs), 92);
  block.writeBigUInt64LE(BigInt(header.totalEntries), 96);
  writeGuid(block, 110, header.dataWriteGuid);
  block.writeUInt32LE(checksumWithout(block, 40), 40);
  return block;
}

export function parseHrlHeader(block: Buffer): HrlHeader {
  const cookie = block.toString('latin1', 0, 8);
  if (cookie !== 'msctlog ' && cookie !== 'msctlog\0') throw notHrl(`it starts with ${JSON.stringify(cookie)}`);
  const checksum = checksumWithout(block, 40);
  if (block.readUInt32LE(40) !== checksum) {
    throw damagedHrl('header', 0, `checksum ${block.readUInt32LE(40)}, its content gives ${checksum}`);
  }
  const version = block.readUInt32LE(8);
  if (version !== version2) throw notHrl(`its log format version is 0x${version.toString(16).padStart(8, '0')}`);
  const header: HrlHeader = {
    createdAtMs: fromSeconds2000(block.readUInt32LE(12)),
    currentSizeBytes: Number(block.readBigUInt64LE(32)),
    endOfLogBytes: Number(block.readBigUInt64LE(44)),
    metadataBlockBytes: block.readUInt32LE(56),
    uniqueId: readGuid(block, 60),
    previousUniqueId: readGuid(block, 76),
    lastModifiedAtMs: fromSeconds2000(block.readUInt32LE(92)),
    totalEntries: Number(block.readBigUInt64LE(96)),
    dataWriteGuid: readGuid(block, 110),
  };
  const size = header.metadataBlockBytes;
  if (size % 512 !== 0 || size < 512 || size > metadataBlockMaxBytes) {
    throw damagedHrl('header', 56, `metadata size ${size} is not a multiple of 512 up to 1 MiB`);
  }
  return header;
}

export function encodeMetadataBlock(previousDistanceBytes: number, entries: readonly HrlMetadataEntry[]): Buffer {
  const block = Buffer.alloc(metadataBlockBytes);
  block.writeBigUInt64LE(BigInt(previousDistanceBytes), 0);
  block.writeUInt32LE(entries.length, 8);
  block.writeUInt32LE(checksumWithout(block.subarray(0, blockHeaderBytes), 12), 12);
  entries.forEach((entry, index) => {
    const row = block.subarray(blockHeaderBytes + index * entryBytes, blockHeaderBytes + (index + 1) * entryBytes);
    row.writeBigUInt64LE(BigInt(entry.offsetBytes), 0);
    row.writeUInt32LE(entry.lengthBytes, 12);
    row.writeUInt32LE(toSeconds2000(entry.timeMs), 16);
    row.writeUInt8(writeOperation, 20);
    row.writeUInt32LE(entry.dataChecksum, 21);
    row.writeUInt32LE(checksumWithout(row, 8), 8);
  });
  return block;
}

export interface HrlBlockHeader {
  readonly previousDistanceBytes: number;
  readonly entryCount: number;
}

export function parseBlockHeader(bytes: Buffer, atBytes: number, blockBytes: number): HrlBlockHeader {
  const checksum = checksumWithout(bytes.subarray(0, blockHeaderBytes), 12);
  if (bytes.readUInt32LE(12) !== checksum) {
    throw damagedHrl('metadata block', atBytes, `checksum ${bytes.readUInt32LE(12)}, its header gives ${checksum}`);
  }
  const entryCount = bytes.readUInt32LE(8);
  const fit = Math.floor((blockBytes - blockHeaderBytes) / entryBytes);
  if (entryCount > fit) throw damagedHrl('metadata block', atBytes, `${entryCount} entries, ${fit} fit`);
  return { previousDistanceBytes: Number(bytes.readBigUInt64LE(0)), entryCount };
}

export function parseMetadataEntry(row: Buffer, atBytes: number): HrlMetadataEntry {
  const checksum = checksumWithout(row, 8);
  if (row.readUInt32LE(8) !== checksum) {
    throw damagedHrl('metadata entry', atBytes, `checksum ${row.readUInt32LE(8)}, its content gives ${checksum}`);
  }
  const operation = row.readUInt8(20);
  if (operation !== writeOperation)
    throw damagedHrl('metadata entry', atBytes, `operation ${operation} is not a write`);
  const entry: HrlMetadataEntry = {
    offsetBytes: Number(row.readBigUInt64LE(0)),
    lengthBytes: row.readUInt32LE(12),
    timeMs: fromSeconds2000(row.readUInt32LE(16)),
    dataChecksum: row.readUInt32LE(21),
  };
  if (!Number.isSafeInteger(entry.offsetBytes) || entry.lengthBytes === 0 || entry.lengthBytes > entryDataMaxBytes) {
    throw damagedHrl('metadata entry', atBytes, `a write of ${entry.lengthBytes} bytes at ${entry.offsetBytes}`);
  }
  return entry;
}

export const dataChecksum = complementOfByteSum;

/** The four bytes at `fieldBytes` are the checksum itself and do not count. */
function checksumWithout(structure: Buffer, fieldBytes: number): number {
  return ~(byteSum(structure) - byteSum(structure.subarray(fieldBytes, fieldBytes + 4))) >>> 0;
}

function toSeconds2000(timeMs: number): number {
  return Math.min(Math.max(Math.floor((timeMs - epoch2000Ms) / 1000), 0), 0xffff_ffff);
}

function fromSeconds2000(seconds: number): number {
  return epoch2000Ms + seconds * 1000;
}
