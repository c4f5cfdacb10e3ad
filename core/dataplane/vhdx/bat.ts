/**
 * VHDX, block allocation table. [MS-VHDX] 2.5.
 *
 * One u64 for each payload block: bits 0-2 state, bits 20-63 offset in the file in MiB. After each chunk of
 * `chunkRatio` = 2^23 × logical sector ÷ block size payload entries stands one entry for a sector bitmap block, which
 * only differencing disks use.
 */
import type { RandomReader, RandomWriter } from '../random-access.js';
import { damagedVhdx } from './errors.js';
import { mib, overlap, type Region } from './header.js';
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
  readonly #reserved: readonly Region[];
  /** In order of last use, oldest first. */
  readonly #pages = new Map<number, Promise<Buffer>>();

  /** `reserved`: what no block may overlap. */
  constructor(file: RandomReader, region: Region, metadata: VhdxMetadata, reserved: readonly Region[]) {
    this.#reserved = reserved;
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

  /**
   * Walks the whole table once: every state known, every block whole MiB away from all other structures and blocks.
   * Keeps one bit for each MiB of the file, 8 MiB for a file of 64 TiB.
   */
  async check(): Promise<void> {
    const blockMib = this.#metadata.blockSizeBytes / mib;
    const blocks = blockCount(this.#metadata);
    let taken = new Uint8Array(Math.ceil(this.#file.lengthBytes / mib / 8) + 1);
    for (let block = 0; block < blocks;) {
      const pageIndex = Math.floor(this.#entryOffset(block) / pageBytes);
      const page = await this.#page(pageIndex * pageBytes);
      for (; block < blocks && Math.floor(this.#entryOffset(block) / pageBytes) === pageIndex; block++) {
        const offsetBytes = this.#present(page, block);
        if (offsetBytes === undefined) continue;
        const first = offsetBytes / mib;
        // A block behind the file's end is reported where it is read; a made-up place must not cost memory.
        if (first + blockMib > taken.length * 8) {
          if (offsetBytes > this.#file.lengthBytes) continue;
          const longer = new Uint8Array(Math.ceil((first + blockMib) / 8) + 1);
          longer.set(taken);
          taken = longer;
        }
        for (let at = first; at < first + blockMib; at++) {
          const byte = taken[at >>> 3] ?? 0;
          if ((byte & (1 << (at & 7))) !== 0) {
            throw this.#damaged(block, `its place at file offset ${offsetBytes} belongs to another block too`);
          }
          taken[at >>> 3] = byte | (1 << (at & 7));
        }
      }
    }
  }

  /** Where the block stands in the file; undefined when it reads as zeros. */
  async fileOffset(block: number): Promise<number | undefined> {
    return this.#present(await this.#page(this.#entryOffset(block)), block);
  }

  #present(page: Buffer, block: number): number | undefined {
    const at = this.#entryOffset(block) % pageBytes;
    const low = page.readUInt32LE(at);
    const state = low & 7;
    switch (state) {
      case payloadState.fullyPresent: {
        const offsetBytes = page.readUInt32LE(at + 4) * 4096 * mib + (low >>> 20) * mib;
        const place = { offsetBytes, lengthBytes: this.#metadata.blockSizeBytes };
        if (offsetBytes < mib || !Number.isSafeInteger(offsetBytes + place.lengthBytes)) {
          throw this.#damaged(block, `present at file offset ${offsetBytes}`);
        }
        if (this.#reserved.some((region) => overlap(region, place))) {
          throw this.#damaged(block, `at file offset ${offsetBytes} it overlaps the log, the BAT or the metadata`);
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
        throw this.#damaged(block, 'partially present, which only a differencing disk can have');
      default:
        throw this.#damaged(block, `reserved state ${state}`);
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

  #damaged(block: number, found: string): Error {
    return damagedVhdx(`BAT entry of block ${block}`, this.#region.offsetBytes + this.#entryOffset(block), found);
  }
}
