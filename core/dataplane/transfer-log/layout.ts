/**
 * Transfer log, version 1: what travels from the relay to the cloud. docs/formats/transfer-log.md. Little-endian.
 *
 *   0      header, 256 bytes
 *            0 "USTRLOG\0"  8 version u16  10 kind u8: 1 delta, 2 base  12 header length u32  16 epoch u32  20 cycle u32
 *            24 disk size u64  32 from u64  40 to u64  48 disk id GUID  64 protection id GUID  252 CRC-32C u32
 *   256    payloads of the frames, one after the other
 *   …      index, 48 bytes for each frame, ascending on the disk
 *            0 offset on the disk u64  8 length u32  12 stored length u32  16 payload's place in the log u64
 *            24 codec u8: 0 stored, 1 brotli, 2 zeros  32 digest of the content, 16 bytes (zeros: all zero)
 *   −96    footer
 *            0 "USTREND\0"  8 index place u64  16 frame count u32  24 changed bytes u64  32 payload bytes u64
 *            40 digest of header and index, 32 bytes  92 CRC-32C u32
 *
 * Digests are the first bytes of BLAKE2b-512. The log's digest covers the index, the index covers every frame's content.
 */
import { createHash } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import { readGuid, writeGuid } from '../guid.js';
import { damagedTransferLog, notTransferLog } from './errors.js';

export const headerBytes = 256;
export const footerBytes = 96;
export const indexEntryBytes = 48;
const frameDigestBytes = 16;
/** What a frame holds uncompressed: a reader needs this much for it, four of them make one page write. */
export const frameMaxBytes = 1024 * 1024;
/** A run of zeros has no payload. The bound keeps it within 32 bits, and whole frames. */
export const zeroFrameMaxBytes = 2 ** 31;
/** 96 MiB of index. A log of 1 MiB frames then reaches 2 TiB; larger disks travel in segments. */
export const framesMax = 2 * 1024 * 1024;
export const pageBytes = 512;
const version1 = 1;
const codecs = ['stored', 'brotli', 'zeros'] as const;
const kinds = { delta: 1, base: 2 } as const;

export interface TransferLogHeader {
  /** The changes of one cycle, or a segment of the disk's base. */
  readonly kind: 'delta' | 'base';
  readonly protectionId: string;
  readonly diskId: string;
  readonly epoch: number;
  /** Of a base: the cycle of its checkpoint. */
  readonly cycle: number;
  readonly diskSizeBytes: number;
  /** The part of the disk that the log speaks for: all of it in a delta. */
  readonly fromBytes: number;
  readonly toBytes: number;
}

export interface Frame {
  readonly index: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly codec: (typeof codecs)[number];
  readonly storedBytes: number;
  readonly payloadAtBytes: number;
  readonly digest: Buffer;
}

export interface TransferLogFooter {
  readonly indexAtBytes: number;
  readonly frameCount: number;
  readonly changedBytes: number;
  readonly payloadBytes: number;
  readonly digest: Buffer;
}

export function encodeTransferLogHeader(header: TransferLogHeader): Buffer {
  const block = Buffer.alloc(headerBytes);
  block.write('USTRLOG\0', 0, 'latin1');
  block.writeUInt16LE(version1, 8);
  block.writeUInt8(kinds[header.kind], 10);
  block.writeUInt32LE(headerBytes, 12);
  block.writeUInt32LE(header.epoch, 16);
  block.writeUInt32LE(header.cycle, 20);
  block.writeBigUInt64LE(BigInt(header.diskSizeBytes), 24);
  block.writeBigUInt64LE(BigInt(header.fromBytes), 32);
  block.writeBigUInt64LE(BigInt(header.toBytes), 40);
  writeGuid(block, 48, header.diskId);
  writeGuid(block, 64, header.protectionId);
  block.writeUInt32LE(crc32c(block.subarray(0, headerBytes - 4)), headerBytes - 4);
  return block;
}

export function parseTransferLogHeader(block: Buffer): TransferLogHeader {
  if (block.toString('latin1', 0, 8) !== 'USTRLOG\0') {
    throw notTransferLog(`it starts with ${block.toString('hex', 0, 8)}`);
  }
  const version = block.readUInt16LE(8);
  const crc = crc32c(block.subarray(0, headerBytes - 4));
  if (block.readUInt32LE(headerBytes - 4) !== crc) {
    // A later version may lay out its header in another way: name the version rather than the checksum.
    if (version > version1) throw notTransferLog(`it has version ${version}`);
    throw damagedTransferLog('header', `CRC-32C ${block.readUInt32LE(headerBytes - 4)}, its content gives ${crc}`);
  }
  if (version !== version1) throw notTransferLog(`it has version ${version}`);
  const kind = block.readUInt8(10);
  if (kind !== kinds.delta && kind !== kinds.base) throw damagedTransferLog('header', `kind ${kind}`);
  const header: TransferLogHeader = {
    kind: kind === kinds.delta ? 'delta' : 'base',
    epoch: block.readUInt32LE(16),
    cycle: block.readUInt32LE(20),
    diskSizeBytes: Number(block.readBigUInt64LE(24)),
    fromBytes: Number(block.readBigUInt64LE(32)),
    toBytes: Number(block.readBigUInt64LE(40)),
    diskId: readGuid(block, 48),
    protectionId: readGuid(block, 64),
  };
  if (header.fromBytes > header.toBytes || header.toBytes > header.diskSizeBytes) {
    throw damagedTransferLog('header', `bytes ${header.fromBytes} to ${header.toBytes} of ${header.diskSizeBytes}`);
  }
  return header;
}

export function encodeFrame(frame: Omit<Frame, 'index'>): Buffer {
  const entry = Buffer.alloc(indexEntryBytes);
  entry.writeBigUInt64LE(BigInt(frame.offsetBytes), 0);
  entry.writeUInt32LE(frame.lengthBytes, 8);
  entry.writeUInt32LE(frame.storedBytes, 12);
  entry.writeBigUInt64LE(BigInt(frame.payloadAtBytes), 16);
  entry.writeUInt8(codecs.indexOf(frame.codec), 24);
  frame.digest.copy(entry, 32);
  return entry;
}

export function parseFrame(indexBytes: Buffer, index: number): Frame {
  const at = index * indexEntryBytes;
  const codec = codecs[indexBytes.readUInt8(at + 24)];
  if (codec === undefined) throw damagedTransferLog(`frame ${index}`, `codec ${indexBytes.readUInt8(at + 24)}`);
  return {
    index,
    codec,
    offsetBytes: Number(indexBytes.readBigUInt64LE(at)),
    lengthBytes: indexBytes.readUInt32LE(at + 8),
    storedBytes: indexBytes.readUInt32LE(at + 12),
    payloadAtBytes: Number(indexBytes.readBigUInt64LE(at + 16)),
    digest: indexBytes.subarray(at + 32, at + indexEntryBytes),
  };
}

export function encodeFooter(footer: TransferLogFooter): Buffer {
  const block = Buffer.alloc(footerBytes);
  block.write('USTREND\0', 0, 'latin1');
  block.writeBigUInt64LE(BigInt(footer.indexAtBytes), 8);
  block.writeUInt32LE(footer.frameCount, 16);
  block.writeBigUInt64LE(BigInt(footer.changedBytes), 24);
  block.writeBigUInt64LE(BigInt(footer.payloadBytes), 32);
  footer.digest.copy(block, 40);
  block.writeUInt32LE(crc32c(block.subarray(0, footerBytes - 4)), footerBytes - 4);
  return block;
}

export function parseFooter(block: Buffer): TransferLogFooter {
  if (block.toString('latin1', 0, 8) !== 'USTREND\0') throw damagedTransferLog('footer', 'the signature is missing');
  const crc = crc32c(block.subarray(0, footerBytes - 4));
  if (block.readUInt32LE(footerBytes - 4) !== crc) {
    throw damagedTransferLog('footer', `CRC-32C ${block.readUInt32LE(footerBytes - 4)}, its content gives ${crc}`);
  }
  return {
    indexAtBytes: Number(block.readBigUInt64LE(8)),
    frameCount: block.readUInt32LE(16),
    changedBytes: Number(block.readBigUInt64LE(24)),
    payloadBytes: Number(block.readBigUInt64LE(32)),
    digest: block.subarray(40, 72),
  };
}

export const zerosDigest = Buffer.alloc(frameDigestBytes);

export function frameDigest(content: Buffer): Buffer {
  return createHash('blake2b512').update(content).digest().subarray(0, frameDigestBytes);
}

/** 32 bytes over header and index. */
export function logDigest(header: Buffer, index: Iterable<Buffer>): Buffer {
  const hash = createHash('blake2b512').update(header);
  for (const part of index) hash.update(part);
  return hash.digest().subarray(0, 32);
}
