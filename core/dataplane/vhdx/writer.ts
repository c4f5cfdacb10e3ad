/**
 * Writing a VHDX disk, dynamic or fixed. [MS-VHDX] 2.2.2.1, 2.4, 2.5.
 *
 * A crash at any point leaves a valid disk (docs/decisions/vhdx-writes-in-order.md):
 * 1. Before the first write both headers are renewed, one after the other, with new file and data write GUIDs.
 * 2. A new block is appended to the file (which reads as zeros there), gets its data, and is flushed;
 * 3. only then its 8-byte BAT entry, which lies within one sector, points to it.
 * The log GUID stays zero all the time, so that another process may read the file while it is written.
 */
import { randomUUID } from 'node:crypto';
import { zeroGuid } from '../guid.js';
import type { DiskRange, DiskWriter, RandomWriter } from '../random-access.js';
import type { BlockTable } from './bat.js';
import { truncatedVhdx } from './errors.js';
import { encodeHeader, headerOffsetsBytes, mib, type VhdxHeader } from './header.js';
import { replayInto } from './log.js';
import type { VhdxMetadata } from './metadata.js';
import { checkInside, openBlockTable, readStructure, VhdxContent, type VhdxIdentity } from './reader.js';

export interface VhdxWriter extends DiskWriter, VhdxIdentity {
  /** Draws the data write GUID of this opening now rather than with the first write; once only. */
  prepareToWrite(): Promise<void>;
}

/** Replays the log first if the file was not closed properly. One writer at a time: the caller sees to that. */
export async function openVhdxWriter(file: RandomWriter): Promise<VhdxWriter> {
  const structure = await readStructure(file);
  const { header, place, replay, metadata } = structure;
  if (replay === undefined) {
    return new Writer(file, new Headers(file, header, place), await openBlockTable(file, structure), metadata);
  }
  const headers = new Headers(file, header, place);
  // [MS-VHDX] 2.2.2: the file write GUID changes before the replay, the log is dropped after it.
  await headers.update({ fileWriteGuid: randomUUID() });
  await replayInto(file, replay);
  await headers.update({ logGuid: zeroGuid });
  return new Writer(file, headers, await openBlockTable(file, structure), metadata);
}

class Headers {
  constructor(
    private readonly file: RandomWriter,
    private header: VhdxHeader,
    private place: 0 | 1,
  ) {}

  get current(): VhdxHeader {
    return this.header;
  }

  /** [MS-VHDX] 2.2.2.1: overwrite the older header and flush, then the other one the same way. */
  async update(change: Partial<VhdxHeader>): Promise<void> {
    for (let time = 0; time < 2; time++) {
      const header = { ...this.header, ...change, sequenceNumber: this.header.sequenceNumber + 1n };
      const place = this.place === 0 ? 1 : 0;
      await this.file.write(headerOffsetsBytes[place], encodeHeader(header));
      await this.file.flush();
      this.header = header;
      this.place = place;
    }
  }
}

class Writer implements VhdxWriter {
  readonly kind: 'dynamic' | 'fixed';
  readonly blockSizeBytes: number;
  readonly sizeBytes: number;
  readonly virtualDiskId: string;
  readonly logicalSectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly #content: VhdxContent;
  #prepared: Promise<void> | undefined;
  /** Blocks that are being appended: whoever writes to the same block waits for it. */
  readonly #appending = new Map<number, Promise<void>>();
  #appendChain: Promise<void> = Promise.resolve();

  constructor(
    private readonly file: RandomWriter,
    private readonly headers: Headers,
    private readonly table: BlockTable,
    metadata: VhdxMetadata,
  ) {
    this.kind = metadata.kind;
    this.blockSizeBytes = metadata.blockSizeBytes;
    this.sizeBytes = metadata.sizeBytes;
    this.virtualDiskId = metadata.virtualDiskId;
    this.logicalSectorBytes = metadata.logicalSectorBytes;
    this.physicalSectorBytes = metadata.physicalSectorBytes;
    this.#content = new VhdxContent(file, table, metadata);
  }

  get dataWriteGuid(): string {
    return this.headers.current.dataWriteGuid;
  }

  read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    return this.#content.read(offsetBytes, lengthBytes);
  }

  allocatedRanges(fromBytes?: number): AsyncGenerator<DiskRange> {
    return this.#content.allocatedRanges(fromBytes);
  }

  prepareToWrite(): Promise<void> {
    this.#prepared ??= this.headers
      .update({ fileWriteGuid: randomUUID(), dataWriteGuid: randomUUID() })
      .catch((error: unknown) => {
        this.#prepared = undefined;
        throw error;
      });
    return this.#prepared;
  }

  async write(offsetBytes: number, data: Buffer): Promise<void> {
    checkInside(this.sizeBytes, offsetBytes, data.length);
    if (offsetBytes % this.logicalSectorBytes !== 0 || data.length % this.logicalSectorBytes !== 0) {
      throw new RangeError(
        `${data.length} bytes at ${offsetBytes} are not whole sectors of ${this.logicalSectorBytes}`,
      );
    }
    await this.prepareToWrite();
    for (let done = 0; done < data.length;) {
      const block = Math.floor((offsetBytes + done) / this.blockSizeBytes);
      const inBlock = offsetBytes + done - block * this.blockSizeBytes;
      const part = data.subarray(done, done + this.blockSizeBytes - inBlock);
      await this.#writeInBlock(block, inBlock, part);
      done += part.length;
    }
  }

  async #writeInBlock(block: number, inBlock: number, data: Buffer): Promise<void> {
    // A failed append is its writer's error; the next writer tries again.
    await this.#appending.get(block)?.catch(() => undefined);
    const present = await this.table.fileOffset(block);
    if (present !== undefined) {
      const endBytes = present + inBlock + data.length;
      if (endBytes > this.file.lengthBytes) throw truncatedVhdx(`block ${block}`, endBytes, this.file.lengthBytes);
      await this.file.write(present + inBlock, data);
      return;
    }
    if (this.#appending.has(block)) return this.#writeInBlock(block, inBlock, data);
    const append = this.#appendChain.then(() => this.#appendBlock(block, inBlock, data));
    this.#appending.set(block, append);
    this.#appendChain = append.catch(() => undefined);
    try {
      await append;
    } finally {
      this.#appending.delete(block);
    }
  }

  async #appendBlock(block: number, inBlock: number, data: Buffer): Promise<void> {
    const fileOffsetBytes = Math.ceil(this.file.lengthBytes / mib) * mib;
    await this.file.resize(fileOffsetBytes + this.blockSizeBytes);
    await this.file.write(fileOffsetBytes + inBlock, data);
    await this.file.flush();
    await this.table.setPresent(this.file, block, fileOffsetBytes);
  }

  async flush(): Promise<void> {
    await this.file.flush();
  }

  async close(): Promise<void> {
    await this.#appendChain;
    await this.file.flush();
  }
}
