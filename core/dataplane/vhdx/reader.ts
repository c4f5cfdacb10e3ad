/**
 * Reading a VHDX disk, dynamic or fixed. [MS-VHDX] 2.2 to 2.6; the layouts stand in header.ts, metadata.ts, bat.ts, log.ts.
 *
 * A file that was not closed properly is read as if its log had been replayed; the file itself is not touched.
 */
import type { DiskRange, DiskReader, RandomReader } from '../random-access.js';
import { BlockTable, blockCount } from './bat.js';
import { damagedVhdx, truncatedVhdx } from './errors.js';
import {
  checkFileIdentifier,
  overlap,
  readCurrentHeader,
  readRegions,
  type Regions,
  type VhdxHeader,
} from './header.js';
import { readLog, ReplayedFile, type LogReplay } from './log.js';
import { readMetadata, type VhdxMetadata } from './metadata.js';

export interface VhdxIdentity extends VhdxMetadata {
  /** Changes when the disk's content was written by a later opener: reveals a change behind our back. */
  readonly dataWriteGuid: string;
}

export type VhdxReader = DiskReader & VhdxIdentity;

export interface VhdxStructure {
  readonly header: VhdxHeader;
  /** Where the current header stands. */
  readonly place: 0 | 1;
  readonly replay: LogReplay | undefined;
  readonly regions: Regions;
  readonly metadata: VhdxMetadata;
  /** The file with its log replayed. */
  readonly view: RandomReader;
}

/** All structures but the block table. */
export async function readStructure(file: RandomReader): Promise<VhdxStructure> {
  await checkFileIdentifier(file);
  const { header, place } = await readCurrentHeader(file);
  const replay = await readLog(file, header);
  const view = replay === undefined ? file : new ReplayedFile(file, replay);
  const regions = await readRegions(view);
  const log = { offsetBytes: header.logOffsetBytes, lengthBytes: header.logLengthBytes };
  if (overlap(log, regions.bat) || overlap(log, regions.metadata)) {
    throw damagedVhdx('log', header.logOffsetBytes, 'it overlaps the BAT or the metadata');
  }
  return { header, place, replay, regions, metadata: await readMetadata(view, regions.metadata), view };
}

/** The block table of `file`, which is the replayed view for a reader and the repaired file for a writer. */
export async function openBlockTable(file: RandomReader, structure: VhdxStructure): Promise<BlockTable> {
  const { header, regions, metadata } = structure;
  const log = { offsetBytes: header.logOffsetBytes, lengthBytes: header.logLengthBytes };
  const table = new BlockTable(file, regions.bat, metadata, [log, regions.bat, regions.metadata]);
  await table.check();
  return table;
}

export async function openVhdxReader(file: RandomReader): Promise<VhdxReader> {
  const structure = await readStructure(file);
  const { header, metadata, view } = structure;
  const content = new VhdxContent(view, await openBlockTable(view, structure), metadata);
  return {
    ...metadata,
    dataWriteGuid: header.dataWriteGuid,
    read: (offsetBytes, lengthBytes, into) => content.read(offsetBytes, lengthBytes, into),
    allocatedRanges: (fromBytes) => content.allocatedRanges(fromBytes),
  };
}

/** A run of the disk that is one run of the file too, or that is not in the file and reads as zeros. */
interface Extent {
  readonly fileOffsetBytes: number | undefined;
  readonly lengthBytes: number;
}

/** The disk's bytes through the block table. */
export class VhdxContent {
  readonly #file: RandomReader;
  readonly #table: BlockTable;
  readonly #metadata: VhdxMetadata;

  constructor(file: RandomReader, table: BlockTable, metadata: VhdxMetadata) {
    this.#file = file;
    this.#table = table;
    this.#metadata = metadata;
  }

  async read(offsetBytes: number, lengthBytes: number, into?: Buffer): Promise<Buffer> {
    checkInside(this.#metadata.sizeBytes, offsetBytes, lengthBytes);
    const extents = await this.#extents(offsetBytes, lengthBytes);
    const [only] = extents;
    if (only !== undefined && extents.length === 1) {
      return only.fileOffsetBytes === undefined
        ? Buffer.alloc(lengthBytes)
        : this.#readFile(only.fileOffsetBytes, lengthBytes, into);
    }
    const result = Buffer.alloc(lengthBytes);
    let done = 0;
    for (const extent of extents) {
      if (extent.fileOffsetBytes !== undefined) {
        (await this.#readFile(extent.fileOffsetBytes, extent.lengthBytes)).copy(result, done);
      }
      done += extent.lengthBytes;
    }
    return result;
  }

  async *allocatedRanges(fromBytes = 0): AsyncGenerator<DiskRange> {
    const { blockSizeBytes, sizeBytes } = this.#metadata;
    const blocks = blockCount(this.#metadata);
    let start: number | undefined;
    for (let block = Math.floor(fromBytes / blockSizeBytes); block <= blocks; block++) {
      const present = block < blocks && (await this.#table.fileOffset(block)) !== undefined;
      if (present) {
        start ??= block;
      } else if (start !== undefined) {
        const offsetBytes = start * blockSizeBytes;
        yield { offsetBytes, lengthBytes: Math.min(block * blockSizeBytes, sizeBytes) - offsetBytes };
        start = undefined;
      }
    }
  }

  async #extents(offsetBytes: number, lengthBytes: number): Promise<Extent[]> {
    const { blockSizeBytes } = this.#metadata;
    const extents: { fileOffsetBytes: number | undefined; lengthBytes: number }[] = [];
    const endBytes = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < endBytes;) {
      const block = Math.floor(at / blockSizeBytes);
      const inBlock = at - block * blockSizeBytes;
      const runBytes = Math.min(blockSizeBytes - inBlock, endBytes - at);
      const blockOffset = await this.#table.fileOffset(block);
      const fileOffsetBytes = blockOffset === undefined ? undefined : blockOffset + inBlock;
      const last = extents.at(-1);
      const lastEnd = last?.fileOffsetBytes === undefined ? undefined : last.fileOffsetBytes + last.lengthBytes;
      if (last !== undefined && lastEnd === fileOffsetBytes) last.lengthBytes += runBytes;
      else extents.push({ fileOffsetBytes, lengthBytes: runBytes });
      at += runBytes;
    }
    return extents;
  }

  #readFile(fileOffsetBytes: number, lengthBytes: number, into?: Buffer): Promise<Buffer> {
    const endBytes = fileOffsetBytes + lengthBytes;
    if (endBytes > this.#file.lengthBytes) {
      throw truncatedVhdx(`a payload block at file offset ${fileOffsetBytes}`, endBytes, this.#file.lengthBytes);
    }
    return this.#file.read(fileOffsetBytes, lengthBytes, into);
  }
}

/** A caller's mistake, not a damaged file. */
export function checkInside(sizeBytes: number, offsetBytes: number, lengthBytes: number): void {
  const fits =
    Number.isSafeInteger(offsetBytes) &&
    Number.isSafeInteger(lengthBytes) &&
    offsetBytes >= 0 &&
    lengthBytes >= 0 &&
    offsetBytes + lengthBytes <= sizeBytes;
  if (!fits) throw new RangeError(`${lengthBytes} bytes at ${offsetBytes} are not inside a disk of ${sizeBytes} bytes`);
}
