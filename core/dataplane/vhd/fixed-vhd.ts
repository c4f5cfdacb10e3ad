/**
 * Fixed VHD: the disk's bytes, then a footer of 512 bytes. "Virtual Hard Disk Image Format Specification" 1.0,
 * "Hard Disk Footer Format"; what Azure boots from. All integers are big-endian.
 *
 *   0 "conectix"  8 features u32 = 2  12 version u32 = 0x00010000  16 data offset u64, all ones when fixed
 *   24 seconds since 2000 u32  28 creator, 4 bytes  32 creator version u32  36 creator's host "Wi2k"
 *   40 original size u64  48 current size u64  56 cylinders u16, heads u8, sectors u8
 *   60 type u32: 2 fixed, 3 dynamic, 4 differencing  64 checksum u32: one's complement of the byte sum without itself
 *   68 unique id, 16 bytes  84 saved state u8
 *
 * The geometry reaches 127 GiB only. QEMU trusts the current size rather than the geometry where the creator is "win ".
 */
import { UnderstudyError } from '../../domain/errors.js';
import { byteSum } from '../byte-sum.js';
import { readGuid, writeGuid } from '../guid.js';
import type { DiskRange, DiskReader, RandomReader } from '../random-access.js';

export const vhdFooterBytes = 512;
const sizeUnitBytes = 1024 * 1024;
const allOnes = 0xffff_ffff_ffff_ffffn;
const epoch2000Ms = Date.UTC(2000, 0, 1);

export interface VhdFooter {
  readonly kind: 'fixed' | 'dynamic' | 'differencing';
  readonly sizeBytes: number;
  readonly uniqueId: string;
  readonly createdAtMs: number;
}

/** Azure takes only virtual sizes of whole MiB: the replica of another size ends in zeros. */
export function replicaSizeBytes(sourceSizeBytes: number): number {
  return Math.ceil(sourceSizeBytes / sizeUnitBytes) * sizeUnitBytes;
}

/** How long the page blob is that holds the replica of a disk of this size. */
export function replicaBlobLengthBytes(sourceSizeBytes: number): number {
  return replicaSizeBytes(sourceSizeBytes) + vhdFooterBytes;
}

export function fixedVhdFooter(disk: { sizeBytes: number; uniqueId: string; timeMs: number }): Buffer {
  const footer = Buffer.alloc(vhdFooterBytes);
  footer.write('conectix', 0, 'latin1');
  footer.writeUInt32BE(2, 8);
  footer.writeUInt32BE(0x0001_0000, 12);
  footer.writeBigUInt64BE(allOnes, 16);
  footer.writeUInt32BE(Math.min(Math.max(Math.floor((disk.timeMs - epoch2000Ms) / 1000), 0), 0xffff_ffff), 24);
  footer.write('win ', 28, 'latin1');
  footer.writeUInt32BE(0x000a_0000, 32);
  footer.write('Wi2k', 36, 'latin1');
  footer.writeBigUInt64BE(BigInt(disk.sizeBytes), 40);
  footer.writeBigUInt64BE(BigInt(disk.sizeBytes), 48);
  const { cylinders, heads, sectorsPerTrack } = geometry(disk.sizeBytes);
  footer.writeUInt16BE(cylinders, 56);
  footer.writeUInt8(heads, 58);
  footer.writeUInt8(sectorsPerTrack, 59);
  footer.writeUInt32BE(2, 60);
  writeGuid(footer, 68, disk.uniqueId);
  footer.writeUInt32BE(checksumOf(footer), 64);
  return footer;
}

export function parseVhdFooter(footer: Buffer): VhdFooter {
  if (footer.length !== vhdFooterBytes) throw damagedVhd(`the footer has ${footer.length} bytes instead of 512`);
  const cookie = footer.toString('latin1', 0, 8);
  if (cookie !== 'conectix') throw damagedVhd(`the footer starts with ${JSON.stringify(cookie)}, not with "conectix"`);
  const checksum = checksumOf(footer);
  if (footer.readUInt32BE(64) !== checksum) {
    throw damagedVhd(`the footer's checksum is ${footer.readUInt32BE(64)}, its content gives ${checksum}`);
  }
  const type = footer.readUInt32BE(60);
  const kind = ({ 2: 'fixed', 3: 'dynamic', 4: 'differencing' } as const)[type];
  if (kind === undefined) throw damagedVhd(`the footer names disk type ${type}`);
  return {
    kind,
    sizeBytes: Number(footer.readBigUInt64BE(48)),
    uniqueId: readGuid(footer, 68),
    createdAtMs: epoch2000Ms + footer.readUInt32BE(24) * 1000,
  };
}

export async function openFixedVhdReader(file: RandomReader): Promise<DiskReader & VhdFooter> {
  const dataBytes = file.lengthBytes - vhdFooterBytes;
  if (dataBytes < 0) throw damagedVhd(`the file has ${file.lengthBytes} bytes, fewer than a footer`);
  const footer = parseVhdFooter(await file.read(dataBytes, vhdFooterBytes));
  if (footer.kind !== 'fixed') {
    throw new UnderstudyError({
      code: 'US2021',
      message: `not supported yet: a ${footer.kind} VHD`,
      recommendedAction: 'Convert the disk to a fixed VHD or to a VHDX (Convert-VHD).',
      details: { kind: footer.kind },
    });
  }
  if (footer.sizeBytes !== dataBytes) {
    throw damagedVhd(`the footer says ${footer.sizeBytes} bytes, the file holds ${dataBytes}`);
  }
  return {
    ...footer,
    logicalSectorBytes: 512,
    read: async (offsetBytes, lengthBytes) => {
      if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > dataBytes) {
        throw new RangeError(`${lengthBytes} bytes at ${offsetBytes} are not inside a disk of ${dataBytes} bytes`);
      }
      return file.read(offsetBytes, lengthBytes);
    },
    allocatedRanges: async function* (): AsyncGenerator<DiskRange> {
      if (dataBytes > 0) yield await Promise.resolve({ offsetBytes: 0, lengthBytes: dataBytes });
    },
  };
}

/** The specification's appendix "CHS Calculation". */
function geometry(sizeBytes: number): { cylinders: number; heads: number; sectorsPerTrack: number } {
  const totalSectors = Math.min(Math.floor(sizeBytes / 512), 65535 * 16 * 255);
  if (totalSectors >= 65535 * 16 * 63) {
    return { cylinders: Math.floor(totalSectors / 255 / 16), heads: 16, sectorsPerTrack: 255 };
  }
  let sectorsPerTrack = 17;
  let tracks = Math.floor(totalSectors / sectorsPerTrack);
  let heads = Math.max(Math.floor((tracks + 1023) / 1024), 4);
  if (tracks >= heads * 1024 || heads > 16) {
    sectorsPerTrack = 31;
    heads = 16;
    tracks = Math.floor(totalSectors / sectorsPerTrack);
  }
  if (tracks >= heads * 1024) {
    sectorsPerTrack = 63;
    heads = 16;
    tracks = Math.floor(totalSectors / sectorsPerTrack);
  }
  return { cylinders: Math.floor(tracks / heads), heads, sectorsPerTrack };
}

function checksumOf(footer: Buffer): number {
  return ~(byteSum(footer) - byteSum(footer.subarray(64, 68))) >>> 0;
}

function damagedVhd(found: string): UnderstudyError {
  return new UnderstudyError({
    code: 'US2020',
    message: `this is not a VHD disk, or it is damaged: ${found}`,
    possibleCauses: 'The path names another file, or the file was cut short or changed.',
    recommendedAction: 'Name a .vhd file; if it is a replica or an export, export the recovery point again.',
    details: { found },
  });
}
