/** Writing a replica log. The layout stands in layout.ts. */
import type { RandomWriter } from '../random-access.js';
import {
  dataChecksum,
  encodeHrlHeader,
  encodeMetadataBlock,
  entriesPerBlock,
  hrlHeaderBytes,
  metadataBlockBytes,
  type HrlHeader,
  type HrlMetadataEntry,
} from './layout.js';
import { openHrlReader } from './reader.js';

export interface HrlWrite {
  readonly offsetBytes: number;
  readonly data: Buffer;
  /** When the guest wrote it: business time, milliseconds since 1970. */
  readonly timeMs: number;
}

export interface HrlWriterOptions {
  readonly uniqueId: string;
  /** The id of the log before; the zero GUID for the first one. */
  readonly previousUniqueId: string;
  readonly dataWriteGuid: string;
  readonly timeMs: number;
}

/** Longer writes become several entries, so that a reader can hold one entry in memory. */
const entryMaxBytes = 1024 * 1024;

/**
 * An open log. Entries stand in the order of the calls to `append`, whether or not the caller waits between them.
 * A log that is not closed is worth nothing to a reader: its end is not known. The file stays its opener's to close.
 */
export class HrlWriter {
  readonly #file: RandomWriter;
  #header: HrlHeader;
  /** Where the next byte goes. */
  #endBytes: number;
  #lastBlockBytes: number;
  #pending: HrlMetadataEntry[] = [];
  #entryCount: number;
  #chain: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(file: RandomWriter, header: HrlHeader, endBytes: number, lastBlockBytes: number) {
    this.#file = file;
    this.#header = header;
    this.#endBytes = endBytes;
    this.#lastBlockBytes = lastBlockBytes;
    this.#entryCount = header.totalEntries;
  }

  /** Fills an empty file. The log is durable, without entries, when this resolves. */
  static async create(file: RandomWriter, options: HrlWriterOptions): Promise<HrlWriter> {
    const endBytes = hrlHeaderBytes + metadataBlockBytes;
    const header: HrlHeader = {
      createdAtMs: options.timeMs,
      currentSizeBytes: endBytes,
      endOfLogBytes: 0,
      metadataBlockBytes,
      uniqueId: options.uniqueId,
      previousUniqueId: options.previousUniqueId,
      lastModifiedAtMs: options.timeMs,
      totalEntries: 0,
      dataWriteGuid: options.dataWriteGuid,
    };
    await file.resize(0);
    await file.write(0, Buffer.concat([encodeHrlHeader(header), encodeMetadataBlock(0, [])]));
    await file.flush();
    return new HrlWriter(file, header, endBytes, hrlHeaderBytes);
  }

  /** Takes a properly closed log up again; from here on it is open until it is closed again. */
  static async reopen(file: RandomWriter): Promise<HrlWriter> {
    const { header } = await openHrlReader(file);
    if (header.metadataBlockBytes !== metadataBlockBytes) {
      throw new RangeError(`a log with metadata blocks of ${header.metadataBlockBytes} bytes is only read`);
    }
    const endBytes = header.endOfLogBytes;
    const reopened = { ...header, endOfLogBytes: 0 };
    await file.write(0, encodeHrlHeader(reopened));
    await file.flush();
    return new HrlWriter(file, reopened, endBytes, endBytes - metadataBlockBytes);
  }

  get uniqueId(): string {
    return this.#header.uniqueId;
  }

  get entryCount(): number {
    return this.#entryCount;
  }

  /** How long the file is when the log is closed now. */
  get lengthBytes(): number {
    return this.#endBytes + (this.#pending.length > 0 ? metadataBlockBytes : 0);
  }

  /** Resolves when the entry's data is in the file; `flush` makes it durable. */
  append(entry: HrlWrite): Promise<void> {
    return this.#inOrder(async () => {
      if (this.#closed) throw new Error(`the log ${this.#header.uniqueId} is closed`);
      for (let done = 0; done < entry.data.length; done += entryMaxBytes) {
        const data = entry.data.subarray(done, done + entryMaxBytes);
        await this.#appendOne(entry.offsetBytes + done, data, entry.timeMs);
      }
    });
  }

  async #appendOne(offsetBytes: number, data: Buffer, timeMs: number): Promise<void> {
    if (this.#pending.length === entriesPerBlock) await this.#writeBlock();
    const checksum = dataChecksum(data);
    await this.#file.write(this.#endBytes, data);
    this.#endBytes += data.length;
    this.#pending.push({ offsetBytes, lengthBytes: data.length, timeMs, dataChecksum: checksum });
    this.#entryCount += 1;
    this.#header = { ...this.#header, lastModifiedAtMs: Math.max(this.#header.lastModifiedAtMs, timeMs) };
  }

  async #writeBlock(): Promise<void> {
    const atBytes = this.#endBytes;
    await this.#file.write(atBytes, encodeMetadataBlock(atBytes - this.#lastBlockBytes, this.#pending));
    this.#pending = [];
    this.#lastBlockBytes = atBytes;
    this.#endBytes = atBytes + metadataBlockBytes;
  }

  flush(): Promise<void> {
    return this.#inOrder(() => this.#file.flush());
  }

  /** Writes what is missing, makes it durable, and only then the end of log. A closed log may be closed again. */
  close(): Promise<HrlHeader> {
    return this.#inOrder(async () => {
      if (this.#closed) return this.#header;
      if (this.#pending.length > 0) await this.#writeBlock();
      await this.#file.resize(this.#endBytes);
      await this.#file.flush();
      const header: HrlHeader = {
        ...this.#header,
        currentSizeBytes: this.#endBytes,
        endOfLogBytes: this.#endBytes,
        totalEntries: this.#entryCount,
      };
      await this.#file.write(0, encodeHrlHeader(header));
      await this.#file.flush();
      this.#header = header;
      this.#closed = true;
      return header;
    });
  }

  #inOrder<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#chain.then(step);
    this.#chain = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }
}
