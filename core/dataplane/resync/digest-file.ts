/**
 * Digest file, version 2: the checksums of one region of a replica disk. docs/formats/digest-file.md. Little-endian.
 *
 *   0      header, 256 bytes
 *            0 "USDIGST\0"  8 version u16  12 header length u32  16 epoch u32  20 chunk bytes u32  24 disk size u64
 *            32 from u64  40 to u64  48 disk id GUID  64 protection id GUID  80 chunks in a group u32
 *            88 digest of the bytes before it and of the group table, 32 bytes  252 CRC-32C u32
 *   256    group table: 16 bytes for each group of 64 chunks, the digest of its chunks' digests
 *   …      chunk table: 16 bytes for each chunk of 64 KiB, the digest of its content; a chunk of zeros has all zero
 *
 * Digests are the first bytes of SHA-256, which processors have instructions for. Header covers groups, groups cover chunks: every part that is read is verified.
 */
import { createHash } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import { UnderstudyError } from '../../domain/errors.js';
import { chunksInGroup, resyncChunkBytes, resyncRegionBytes } from '../../domain/replication/resync-geometry.js';
import { readGuid, writeGuid } from '../guid.js';
import type { RandomReader } from '../random-access.js';
import { isZero } from '../zero-runs.js';

const headerBytes = 256;
const tableDigestAt = 88;
const tableDigestBytes = 32;
const version = 2;
/** 128 bits (docs/architecture.md, rule 6), of a hash that nobody can make two chunks meet in. */
export const digestBytes = 16;

export interface DigestRegion {
  readonly protectionId: string;
  readonly diskId: string;
  readonly epoch: number;
  readonly diskSizeBytes: number;
  /** A multiple of the region size. */
  readonly fromBytes: number;
}

/** 16 bytes; all zero for a chunk of zeros, which need not be read to be known. */
export const chunkDigest = (content: Buffer): Buffer =>
  isZero(content) ? Buffer.alloc(digestBytes) : sha256(content).subarray(0, digestBytes);

/** Over the digests of the chunks of one group, one after the other. */
export const groupDigest = (chunkDigests: Buffer): Buffer => sha256(chunkDigests).subarray(0, digestBytes);

const sha256 = (...parts: Buffer[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

export const regionEndBytes = ({ fromBytes, diskSizeBytes }: DigestRegion): number =>
  Math.min(fromBytes + resyncRegionBytes, diskSizeBytes);
export const chunkCountOf = (region: DigestRegion): number =>
  Math.ceil((regionEndBytes(region) - region.fromBytes) / resyncChunkBytes);

/** The file of a region, from the digests of all of its chunks in order. */
export function encodeDigestFile(region: DigestRegion, chunkTable: Buffer): Buffer {
  if (chunkTable.length !== chunkCountOf(region) * digestBytes) {
    throw new RangeError(`${chunkTable.length} bytes of digests for ${chunkCountOf(region)} chunks`);
  }
  const groupTable = groupTableOf(chunkTable);
  const header = Buffer.alloc(headerBytes);
  header.write('USDIGST\0', 0, 'latin1');
  header.writeUInt16LE(version, 8);
  header.writeUInt32LE(headerBytes, 12);
  header.writeUInt32LE(region.epoch, 16);
  header.writeUInt32LE(resyncChunkBytes, 20);
  header.writeBigUInt64LE(BigInt(region.diskSizeBytes), 24);
  header.writeBigUInt64LE(BigInt(region.fromBytes), 32);
  header.writeBigUInt64LE(BigInt(regionEndBytes(region)), 40);
  writeGuid(header, 48, region.diskId);
  writeGuid(header, 64, region.protectionId);
  header.writeUInt32LE(chunksInGroup, 80);
  tableDigest(header, groupTable).copy(header, tableDigestAt);
  header.writeUInt32LE(crc32c(header.subarray(0, headerBytes - 4)), headerBytes - 4);
  return Buffer.concat([header, groupTable, chunkTable]);
}

function groupTableOf(chunkTable: Buffer): Buffer {
  const groups: Buffer[] = [];
  const step = chunksInGroup * digestBytes;
  for (let at = 0; at < chunkTable.length; at += step) groups.push(groupDigest(chunkTable.subarray(at, at + step)));
  return Buffer.concat(groups);
}

const tableDigest = (header: Buffer, groupTable: Buffer): Buffer =>
  sha256(header.subarray(0, tableDigestAt), groupTable).subarray(0, tableDigestBytes);

export interface DigestFile {
  readonly toBytes: number;
  readonly groupCount: number;
  groupDigest(group: number): Buffer;
  /** The digests of all chunks of `count` groups from `firstGroup` on, verified against the groups'. */
  chunkDigests(firstGroup: number, count: number): Promise<Buffer>;
}

/** Reads header and group table in one go. Refuses what is damaged (US2061) or of another disk, size, epoch or region (US2060). */
export async function openDigestFile(reader: Pick<RandomReader, 'read'>, expected: DigestRegion): Promise<DigestFile> {
  const chunkCount = chunkCountOf(expected);
  const groupCount = Math.ceil(chunkCount / chunksInGroup);
  const groupTableBytes = groupCount * digestBytes;
  const start = await reader.read(0, headerBytes + groupTableBytes);
  const header = start.subarray(0, headerBytes);
  const groupTable = start.subarray(headerBytes);
  checkHeader(header, expected);
  if (!tableDigest(header, groupTable).equals(header.subarray(tableDigestAt, tableDigestAt + tableDigestBytes))) {
    throw damaged('its group table does not have the digest that its header names', expected);
  }
  const digestOf = (group: number): Buffer => groupTable.subarray(group * digestBytes, (group + 1) * digestBytes);
  return {
    toBytes: regionEndBytes(expected),
    groupCount,
    groupDigest: digestOf,
    chunkDigests: async (firstGroup, count) => {
      const firstChunk = firstGroup * chunksInGroup;
      const chunks = Math.min(count * chunksInGroup, chunkCount - firstChunk);
      const table = await reader.read(headerBytes + groupTableBytes + firstChunk * digestBytes, chunks * digestBytes);
      const step = chunksInGroup * digestBytes;
      for (let group = 0; group < count; group++) {
        const part = table.subarray(group * step, (group + 1) * step);
        if (!groupDigest(part).equals(digestOf(firstGroup + group))) {
          throw damaged(`the chunks of its group ${firstGroup + group} do not have the group's digest`, expected);
        }
      }
      return table;
    },
  };
}

function checkHeader(header: Buffer, expected: DigestRegion): void {
  if (header.toString('latin1', 0, 8) !== 'USDIGST\0') {
    throw otherFile(`it starts with ${header.toString('hex', 0, 8)}`, expected);
  }
  if (header.readUInt32LE(headerBytes - 4) !== crc32c(header.subarray(0, headerBytes - 4))) {
    throw damaged('its header does not have its own CRC-32C', expected);
  }
  const found: Record<string, string | number> = {
    version: header.readUInt16LE(8),
    'chunk size': header.readUInt32LE(20),
    'chunks in a group': header.readUInt32LE(80),
    epoch: header.readUInt32LE(16),
    'disk size': Number(header.readBigUInt64LE(24)),
    from: Number(header.readBigUInt64LE(32)),
    to: Number(header.readBigUInt64LE(40)),
    disk: readGuid(header, 48),
    protection: readGuid(header, 64),
  };
  const wanted: typeof found = {
    version,
    'chunk size': resyncChunkBytes,
    'chunks in a group': chunksInGroup,
    epoch: expected.epoch,
    'disk size': expected.diskSizeBytes,
    from: expected.fromBytes,
    to: regionEndBytes(expected),
    disk: expected.diskId.toLowerCase(),
    protection: expected.protectionId.toLowerCase(),
  };
  const wrong = Object.keys(wanted).filter((name) => found[name] !== wanted[name]);
  if (wrong.length === 0) return;
  throw otherFile(wrong.map((name) => `${name} is ${found[name]}, expected ${wanted[name]}`).join(', '), expected);
}

function otherFile(found: string, { diskId, fromBytes }: DigestRegion): UnderstudyError {
  return new UnderstudyError({
    code: 'US2060',
    message: `these are not the checksums of disk ${diskId} from byte ${fromBytes} on: ${found}`,
    possibleCauses: 'The disk has another size than its replica, or relay and app are of different versions.',
    recommendedAction:
      'Nothing was sent. Disable replication and enable it again if the disk was resized; else bring relay and app to the same version.',
    retry: 'later',
    details: { diskId, fromBytes, found },
  });
}

function damaged(found: string, { diskId, fromBytes }: DigestRegion): UnderstudyError {
  return new UnderstudyError({
    code: 'US2061',
    message: `the checksums of disk ${diskId} from byte ${fromBytes} on arrived damaged: ${found}`,
    possibleCauses: 'The file was damaged on its way or in storage.',
    recommendedAction: 'Nothing was sent; it is read again by itself. If it stays, start the resynchronization anew.',
    retry: 'later',
    details: { diskId, fromBytes },
  });
}
