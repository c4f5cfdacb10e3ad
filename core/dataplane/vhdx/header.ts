/**
 * VHDX, header section: the file's first MiB. [MS-VHDX] 2.2. All integers are little-endian, checksums CRC-32C.
 *
 *   0      file type identifier: "vhdxfile", creator as UTF-16 (512 bytes); never overwritten    2.2.1
 *   64 K   header 1, 4 KiB   } the valid one with the larger sequence number is current          2.2.2
 *   128 K  header 2, 4 KiB   }
 *            0 "head"  4 checksum  8 sequence number  16 file write GUID  32 data write GUID
 *            48 log GUID  64 log version u16  66 version u16  68 log length u32  72 log offset u64
 *   192 K  region table 1, 64 KiB  } two copies                                                  2.2.3
 *   256 K  region table 2, 64 KiB  }
 *            0 "regi"  4 checksum  8 entry count u32, then entries of 32 bytes:
 *            0 GUID  16 file offset u64  24 length u32  28 required u32
 *   1 M    log, BAT, metadata and blocks, in any order, each aligned to 1 MiB
 */
import { crc32c } from '@node-rs/crc32';
import { readGuid, writeGuid, zeroGuid } from '../guid.js';
import type { RandomReader } from '../random-access.js';
import { damagedVhdx, notVhdx, truncatedVhdx, unsupportedVhdx } from './errors.js';

export const mib = 1024 * 1024;
export const headerOffsetsBytes = [64 * 1024, 128 * 1024] as const;
const headerLengthBytes = 4096;
const regionTableOffsetsBytes = [192 * 1024, 256 * 1024] as const;
const regionTableLengthBytes = 64 * 1024;
const regionEntriesMax = 2047;
const batRegionGuid = '2dc27766-f623-4200-9d64-115e9bfd4a08';
const metadataRegionGuid = '8b7ca206-4790-4b9a-b8fe-575f050f886e';

export interface VhdxHeader {
  readonly sequenceNumber: bigint;
  readonly fileWriteGuid: string;
  readonly dataWriteGuid: string;
  readonly logGuid: string;
  readonly logLengthBytes: number;
  readonly logOffsetBytes: number;
}

export interface Region {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface Regions {
  readonly bat: Region;
  readonly metadata: Region;
}

export async function checkFileIdentifier(file: RandomReader): Promise<void> {
  const length = Math.min(8, file.lengthBytes);
  const signature = (await file.read(0, length)).toString('latin1');
  if (signature !== 'vhdxfile') throw notVhdx(JSON.stringify(signature));
  if (file.lengthBytes < mib) throw truncatedVhdx('the header section', mib, file.lengthBytes);
}

export function encodeFileIdentifier(creator: string): Buffer {
  const block = Buffer.alloc(64 * 1024);
  block.write('vhdxfile', 0, 'latin1');
  block.write(creator.slice(0, 255), 8, 'utf16le');
  return block;
}

/** The current header, and which of the two places it stands in. [MS-VHDX] 2.2.2 */
export async function readCurrentHeader(file: RandomReader): Promise<{ header: VhdxHeader; place: 0 | 1 }> {
  const first = parseHeader(await file.read(headerOffsetsBytes[0], headerLengthBytes));
  const second = parseHeader(await file.read(headerOffsetsBytes[1], headerLengthBytes));
  if (first === undefined && second === undefined) {
    throw damagedVhdx('headers', headerOffsetsBytes[0], 'neither of the two has a valid signature and checksum');
  }
  const place = second !== undefined && (first === undefined || second.sequenceNumber > first.sequenceNumber) ? 1 : 0;
  const header = place === 0 ? first : second;
  if (header === undefined) throw damagedVhdx('headers', headerOffsetsBytes[place], 'no current header');
  if (header.version !== 1) {
    throw unsupportedVhdx(`VHDX version ${header.version}`, 'Convert the disk to VHDX version 2 (Convert-VHD).');
  }
  if (header.logVersion !== 0 && header.logGuid !== zeroGuid) {
    throw unsupportedVhdx(
      `VHDX log version ${header.logVersion}`,
      'Let the host that wrote it open and close the disk.',
    );
  }
  return { header, place };
}

function parseHeader(block: Buffer): (VhdxHeader & { version: number; logVersion: number }) | undefined {
  if (block.toString('latin1', 0, 4) !== 'head' || block.readUInt32LE(4) !== checksumOf(block)) return undefined;
  return {
    sequenceNumber: block.readBigUInt64LE(8),
    fileWriteGuid: readGuid(block, 16),
    dataWriteGuid: readGuid(block, 32),
    logGuid: readGuid(block, 48),
    logVersion: block.readUInt16LE(64),
    version: block.readUInt16LE(66),
    logLengthBytes: block.readUInt32LE(68),
    logOffsetBytes: Number(block.readBigUInt64LE(72)),
  };
}

export function encodeHeader(header: VhdxHeader): Buffer {
  const block = Buffer.alloc(headerLengthBytes);
  block.write('head', 0, 'latin1');
  block.writeBigUInt64LE(header.sequenceNumber, 8);
  writeGuid(block, 16, header.fileWriteGuid);
  writeGuid(block, 32, header.dataWriteGuid);
  writeGuid(block, 48, header.logGuid);
  block.writeUInt16LE(1, 66);
  block.writeUInt32LE(header.logLengthBytes, 68);
  block.writeBigUInt64LE(BigInt(header.logOffsetBytes), 72);
  block.writeUInt32LE(checksumOf(block), 4);
  return block;
}

/** The first valid copy of the region table, every entry checked. [MS-VHDX] 2.2.3 */
export async function readRegions(file: RandomReader): Promise<Regions> {
  for (const offsetBytes of regionTableOffsetsBytes) {
    const table = await file.read(offsetBytes, regionTableLengthBytes);
    if (table.toString('latin1', 0, 4) === 'regi' && table.readUInt32LE(4) === checksumOf(table)) {
      return parseRegions(table, offsetBytes, file.lengthBytes);
    }
  }
  throw damagedVhdx(
    'region tables',
    regionTableOffsetsBytes[0],
    'neither of the two has a valid signature and checksum',
  );
}

function parseRegions(table: Buffer, tableOffsetBytes: number, fileLengthBytes: number): Regions {
  const entryCount = table.readUInt32LE(8);
  if (entryCount > regionEntriesMax) {
    throw damagedVhdx('region table', tableOffsetBytes, `${entryCount} entries, at most ${regionEntriesMax} fit`);
  }
  const found = new Map<string, Region>();
  for (let index = 0; index < entryCount; index++) {
    const at = 16 + index * 32;
    const guid = readGuid(table, at);
    const region = { offsetBytes: Number(table.readBigUInt64LE(at + 16)), lengthBytes: table.readUInt32LE(at + 24) };
    const known = guid === batRegionGuid || guid === metadataRegionGuid;
    if (!known && table.readUInt32LE(at + 28) === 1) {
      throw unsupportedVhdx(`the required VHDX region ${guid}`, 'Open the disk with the software that made it.');
    }
    if (found.has(guid)) throw damagedVhdx('region table', tableOffsetBytes + at, `region ${guid} is there twice`);
    if (!isPlaced(region)) {
      throw damagedVhdx(
        'region table',
        tableOffsetBytes + at,
        `region ${guid} at ${region.offsetBytes}, length ${region.lengthBytes}: not whole MiB after the header`,
      );
    }
    if (known && region.offsetBytes + region.lengthBytes > fileLengthBytes) {
      throw truncatedVhdx(`region ${guid}`, region.offsetBytes + region.lengthBytes, fileLengthBytes);
    }
    found.set(guid, region);
  }
  const bat = found.get(batRegionGuid);
  const metadata = found.get(metadataRegionGuid);
  if (bat === undefined) throw damagedVhdx('region table', tableOffsetBytes, 'the BAT region is missing');
  if (metadata === undefined) throw damagedVhdx('region table', tableOffsetBytes, 'the metadata region is missing');
  if (overlap(bat, metadata)) throw damagedVhdx('region table', tableOffsetBytes, 'BAT and metadata overlap');
  return { bat, metadata };
}

const isPlaced = (region: Region): boolean =>
  region.offsetBytes >= mib &&
  region.offsetBytes % mib === 0 &&
  region.lengthBytes > 0 &&
  region.lengthBytes % mib === 0 &&
  Number.isSafeInteger(region.offsetBytes + region.lengthBytes);

export const overlap = (a: Region, b: Region): boolean =>
  a.offsetBytes < b.offsetBytes + b.lengthBytes && b.offsetBytes < a.offsetBytes + a.lengthBytes;

export function encodeRegionTable(regions: Regions): Buffer {
  const table = Buffer.alloc(regionTableLengthBytes);
  table.write('regi', 0, 'latin1');
  table.writeUInt32LE(2, 8);
  const entries = [
    { guid: batRegionGuid, region: regions.bat },
    { guid: metadataRegionGuid, region: regions.metadata },
  ];
  entries.forEach(({ guid, region }, index) => {
    const at = 16 + index * 32;
    writeGuid(table, at, guid);
    table.writeBigUInt64LE(BigInt(region.offsetBytes), at + 16);
    table.writeUInt32LE(region.lengthBytes, at + 24);
    table.writeUInt32LE(1, at + 28);
  });
  table.writeUInt32LE(checksumOf(table), 4);
  return table;
}

export const regionTablePlaces = regionTableOffsetsBytes;

/** CRC-32C over the whole structure with its checksum field, bytes 4 to 7, taken as zero. */
export function checksumOf(structure: Buffer): number {
  return crc32c(structure.subarray(8), crc32c(zeroField, crc32c(structure.subarray(0, 4))));
}
const zeroField = Buffer.alloc(4);
