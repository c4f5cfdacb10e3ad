/**
 * VHDX, block allocation table. [MS-VHDX] 2.5.
 *
 * One u64 for each payload block: bits 0-2 state, bits 20-63 offset in the file in MiB. After each chunk of
 * `chunkRatio` = 2^23 × logical sector ÷ block size payload entries stands one entry for a sector bitmap block, which
 * only differencing disks use.
 */
import type { RandomReader, RandomWriter } from '../random-access.js';
import { damagedVhdx } from './errors.js';
import { mib, type Region } from './header.js';
import type { VhdxMetadata } from './metadata.js';

const sectorsInBitmapBlock = 2 ** 23;
const entryBytes = 8;
const pageBytes = 64 * 1024;
/** 16 MiB of table at most stay in memory: all of a 64 TiB disk with 32 MiB blocks. */
const cachedPagesMax = 256;

export const payloadState = {
  notPresent: 0,
  undefined: 1,
  zero: 2,
  unmapped: 3,
  fullyPresent: 6,
  partiallyPresent: 7,
} as const;

export function blockCount(metadata: Pick<VhdxMetadata, 'sizeBytes' | 'blockSizeBytes'>): number {
  return Math.ceil(metadata.sizeBytes / metadata.blockSizeBytes);
}

export function chunkRatio(metadata: Pick<VhdxMetadata, 'logicalSectorBytes' | 'blockSizeBytes'>): number {
  return (sectorsInBitmapBlock * metadata.logicalSectorBytes) / metadata.blockSizeBytes;
}

/** Entries of a disk without parent: the last one locates the last payload block. */
export function entryCount(
  metadata: Pick<VhdxMetadata, 'sizeBytes' | 'blockSizeBytes' | 'logicalSectorBytes'>,
): number {
  const blocks = blockCount(metadata);
  return blocks + Math.floor((blocks - 1) / chunkRatio(metadata));
}

export function encodePresent(fileOffsetBytes: number): bigint {
  return BigInt(fileOffsetBytes) | BigInt(payloadState.fullyPresent);
}

/** The table through a bounded cache; what is written goes to the file at once. */
export class BlockTable {
  readonly #file: RandomReader;
  readonly #region: Region;
  readonly #metadata: VhdxMetadata;
  readonly #ratio: number;
  /** In order of last use, oldest first. */
  readonly #pages = new Map<number, Promise<Buffer>>();

  constructor(file: RandomReader, region: Region, metadata: VhdxMetadata) {
    this.#file = file;
    this.#region = region;
    this.#metadata = metadata;
    this.#ratio = chunkRatio(metadata);
    const neededBytes = entryCount(metadata) * entryBytes;
    if (neededBytes > region.lengthBytes) {
      throw damagedVhdx(
        'BAT',
        region.offsetBytes,
        `${region.lengthBytes} bytes long, but a disk of ${metadata.sizeBytes} bytes needs ${neededBytes}`,
      );
    }
  }

  /** Where the block stands in the file; undefined when it reads as zeros. */
  async fileOffset(block: number): Promise<number | undefined> {
    const at = this.#entryOffset(block);
    const entry = (await this.#page(at)).readBigUInt64LE(at % pageBytes);
    const state = Number(entry & 7n);
    switch (state) {
      case payloadState.fullyPresent: {
        const offsetBytes = Number(entry >> 20n) * mib;
        if (offsetBytes < mib || !Number.isSafeInteger(offsetBytes + this.#metadata.blockSizeBytes)) {
          throw this.#damaged(block, at, `present at file offset ${offsetBytes}`);
        }
        return offsetBytes;
      }
      // [MS-VHDX] 2.5.1.1 lets these four read as zeros, and whatever stood there before may not be told from garbage.
      case payloadState.notPresent:
      case payloadState.undefined:
      case payloadState.zero:
      case payloadState.unmapped:
        return undefined;
      case payloadState.partiallyPresent:
        throw this.#damaged(block, at, 'partially present, which only a differencing disk can have');
      default:
        throw this.#damaged(block, at, `reserved state ${state}`);
    }
  }

  /** Marks the block as present. One entry lies in one sector of the medium, so that it is written whole or not at all. */
  async setPresent(file: RandomWriter, block: number, fileOffsetBytes: number): Promise<void> {
    const at = this.#entryOffset(block);
    const entry = Buffer.alloc(entryBytes);
    entry.writeBigUInt64LE(encodePresent(fileOffsetBytes));
    await file.write(this.#region.offsetBytes + at, entry);
    entry.copy(await this.#page(at), at % pageBytes);
  }

  #entryOffset(block: number): number {
    return (block + Math.floor(block / this.#ratio)) * entryBytes;
  }

  #page(entryOffsetBytes: number): Promise<Buffer> {
    const index = Math.floor(entryOffsetBytes / pageBytes);
    const page = this.#pages.get(index) ?? this.#file.read(this.#region.offsetBytes + index * pageBytes, pageBytes);
    this.#pages.delete(index);
    this.#pages.set(index, page);
    page.catch(() => this.#pages.delete(index));
    if (this.#pages.size > cachedPagesMax) {
      for (const oldest of this.#pages.keys()) {
        this.#pages.delete(oldest);
        break;
      }
    }
    return page;
  }

  #damaged(block: number, entryOffsetBytes: number, found: string): Error {
    return damagedVhdx(`BAT entry of block ${block}`, this.#region.offsetBytes + entryOffsetBytes, found);
  }
}
