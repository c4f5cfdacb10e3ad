/**
 * Checksum table: what the app knows of a replica disk's chunks without reading them. docs/formats/checksum-table.md. A page
 * blob beside the disk, 16 bytes for each chunk in order: its digest (digest-file.ts), or all zero where it is not known.
 */
import { resyncChunkBytes } from '../../domain/replication/resync-geometry.js';
import { pageBytes } from '../../ports/replica-store.js';
import type { PageOperation } from '../transfer-log/page-operations.js';
import { chunkDigest, digestBytes } from './digest-file.js';

export const checksumTableBytes = (diskSizeBytes: number): number =>
  alignUp(Math.ceil(diskSizeBytes / resyncChunkBytes) * digestBytes);

/** Where the entries of a part of the disk lie in its table, in whole pages. The part begins at a base's cut. */
export function checksumTableSpan(
  fromBytes: number,
  toBytes: number,
): { readonly offsetBytes: number; readonly lengthBytes: number } {
  const offsetBytes = (fromBytes / resyncChunkBytes) * digestBytes;
  return { offsetBytes, lengthBytes: alignUp(Math.ceil(toBytes / resyncChunkBytes) * digestBytes) - offsetBytes };
}

const alignUp = (bytes: number): number => Math.ceil(bytes / pageBytes) * pageBytes;

/**
 * The table's entries for a part of a disk after page operations. Operations ascend and do not overlap. A chunk that they write
 * in part only becomes unknown; so does one that they clear, which costs nothing to read.
 */
export class ChecksumCollector {
  readonly #fromBytes: number;
  readonly #toBytes: number;
  readonly #entries: Buffer;
  /** The chunk whose parts arrive. */
  #open: { chunk: number; parts: Buffer[]; lengthBytes: number } | undefined;

  /** `before`: the entries as they stood, unless nothing was known. */
  constructor(part: { fromBytes: number; toBytes: number }, before?: Buffer) {
    this.#fromBytes = part.fromBytes;
    this.#toBytes = part.toBytes;
    this.#entries = Buffer.alloc(checksumTableSpan(part.fromBytes, part.toBytes).lengthBytes);
    before?.copy(this.#entries);
  }

  add(operation: PageOperation): void {
    const lengthBytes = operation.kind === 'write' ? operation.data.length : operation.lengthBytes;
    const end = operation.offsetBytes + lengthBytes;
    const first = Math.floor(operation.offsetBytes / resyncChunkBytes);
    const last = Math.floor((end - 1) / resyncChunkBytes);
    if (this.#open !== undefined && this.#open.chunk !== first) this.#close();
    const isInside = operation.offsetBytes >= this.#fromBytes && end <= this.#toBytes;
    if (!isInside) throw new RangeError(`bytes ${operation.offsetBytes} … ${end} are not of this part of the disk`);
    for (let chunk = first; chunk <= last; chunk++) {
      const from = Math.max(chunk * resyncChunkBytes, operation.offsetBytes);
      const to = Math.min((chunk + 1) * resyncChunkBytes, end);
      if (this.#open?.chunk !== chunk) {
        this.#close();
        this.#entryOf(chunk).fill(0);
      }
      if (operation.kind === 'write') {
        this.#put(chunk, operation.data.subarray(from - operation.offsetBytes, to - operation.offsetBytes));
      } else if (to - from < this.#chunkBytes(chunk)) this.#put(chunk, Buffer.alloc(to - from));
    }
  }

  /** The same operations, each seen on its way. */
  async *seen(operations: AsyncIterable<PageOperation>): AsyncGenerator<PageOperation, void> {
    for await (const operation of operations) {
      this.add(operation);
      yield operation;
    }
  }

  entries(): Buffer {
    this.#close();
    return this.#entries;
  }

  #put(chunk: number, part: Buffer): void {
    this.#open ??= { chunk, parts: [], lengthBytes: 0 };
    this.#open.parts.push(part);
    this.#open.lengthBytes += part.length;
  }

  #close(): void {
    if (this.#open === undefined) return;
    const { chunk, parts, lengthBytes } = this.#open;
    this.#open = undefined;
    if (lengthBytes !== this.#chunkBytes(chunk)) return;
    const [only] = parts;
    const content = only !== undefined && parts.length === 1 ? only : Buffer.concat(parts);
    chunkDigest(content).copy(this.#entryOf(chunk));
  }

  #chunkBytes(chunk: number): number {
    return Math.min(resyncChunkBytes, this.#toBytes - chunk * resyncChunkBytes);
  }

  #entryOf(chunk: number): Buffer {
    const at = (chunk - this.#fromBytes / resyncChunkBytes) * digestBytes;
    return this.#entries.subarray(at, at + digestBytes);
  }
}
