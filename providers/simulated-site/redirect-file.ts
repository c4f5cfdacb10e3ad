import { crc32 } from '@node-rs/crc32';
import type { RandomReader, RandomWriter } from '../../core/dataplane/random-access.js';
import { brokenSideFile } from './errors.js';

/**
 * Side file of a checkpoint: while a disk's VHDX is frozen, the guest's writes are appended here and reads see both merged.
 *
 *   header, 4096 bytes: "usredir1" | crc32 u32 of bytes 12… | version u32 = 1 | diskSizeBytes u64 | pageBytes u32 | 0 …
 *   records, one after the other, each one write rounded out to whole pages:
 *     "URDR" | crc32 u32 of bytes 8…23 and the data | offsetBytes u64 | lengthBytes u32 | ordinal u32 (from 0) | data
 *
 * Integers are little-endian. A record counts only if it is whole, its checksum holds and its ordinal follows: the first
 * one that fails ends the file, so a torn tail is dropped. Merging copies the newest data of every page to the disk in any
 * order and any number of times; the file goes only after all of it is in the disk and flushed.
 */
const magic = Buffer.from('usredir1', 'latin1');
const recordMagic = 0x52445255; // "URDR"
const headerBytes = 4096;
const recordHeaderBytes = 24;
const pageBytes = 4096;
/** Pages whose places are held in one table: 2 MiB of disk. */
const pagesPerChunk = 512;
const chunkBytes = pageBytes * pagesPerChunk;
/** A record larger than this was not written by us; a bound for what a damaged length can make us read. */
const recordDataMaxBytes = 16 * 1024 * 1024;

export class RedirectFile {
  /** For each chunk with redirected pages: where each page's newest data lies in the file, 0 for a page still in the base. */
  private readonly places = new Map<number, Float64Array>();
  /** For each chunk: which of its pages were written and not merged since (1), one byte a page. */
  private readonly pending = new Map<number, Uint8Array>();
  private ordinal = 0;
  private endBytes = headerBytes;

  private constructor(
    private readonly file: RandomWriter,
    private readonly diskSizeBytes: number,
  ) {}

  static async create(file: RandomWriter, diskSizeBytes: number): Promise<RedirectFile> {
    const header = Buffer.alloc(headerBytes);
    magic.copy(header, 0);
    header.writeUInt32LE(1, 12);
    header.writeBigUInt64LE(BigInt(diskSizeBytes), 16);
    header.writeUInt32LE(pageBytes, 24);
    header.writeUInt32LE(crc32(header.subarray(12)), 8);
    await file.write(0, header);
    await file.flush();
    return new RedirectFile(file, diskSizeBytes);
  }

  /** Reads all records and cuts off a torn tail. */
  static async open(file: RandomWriter, path: string, diskSizeBytes: number): Promise<RedirectFile> {
    if (file.lengthBytes < headerBytes) throw brokenSideFile(path, 'its header is cut short');
    const header = await file.read(0, headerBytes);
    if (!header.subarray(0, 8).equals(magic) || header.readUInt32LE(8) !== crc32(header.subarray(12))) {
      throw brokenSideFile(path, 'its header is damaged');
    }
    if (header.readUInt32LE(12) !== 1 || header.readUInt32LE(24) !== pageBytes) {
      throw brokenSideFile(path, 'it has a version that this program does not know');
    }
    if (header.readBigUInt64LE(16) !== BigInt(diskSizeBytes)) {
      throw brokenSideFile(path, `it belongs to a disk of ${header.readBigUInt64LE(16)} bytes, not ${diskSizeBytes}`);
    }
    const redirect = new RedirectFile(file, diskSizeBytes);
    await redirect.loadRecords();
    if (file.lengthBytes > redirect.endBytes) await file.resize(redirect.endBytes);
    return redirect;
  }

  /** Bytes of the file that hold records. */
  get recordedBytes(): number {
    return this.endBytes - headerBytes;
  }

  private async loadRecords(): Promise<void> {
    while (this.endBytes + recordHeaderBytes <= this.file.lengthBytes) {
      const record = await readRecord(this.file, this.endBytes);
      if (record?.ordinal !== this.ordinal || record.offsetBytes + record.lengthBytes > this.diskSizeBytes) return;
      this.place(record.offsetBytes, record.lengthBytes, this.endBytes + recordHeaderBytes);
      this.endBytes += recordHeaderBytes + record.lengthBytes;
      this.ordinal += 1;
    }
  }

  private place(offsetBytes: number, lengthBytes: number, at: number): void {
    for (let done = 0; done < lengthBytes; done += pageBytes) {
      const page = (offsetBytes + done) / pageBytes;
      const chunk = Math.floor(page / pagesPerChunk);
      let table = this.places.get(chunk);
      if (table === undefined) this.places.set(chunk, (table = new Float64Array(pagesPerChunk)));
      table[page % pagesPerChunk] = at + done;
      let dirty = this.pending.get(chunk);
      if (dirty === undefined) this.pending.set(chunk, (dirty = new Uint8Array(pagesPerChunk)));
      dirty[page % pagesPerChunk] = 1;
    }
  }

  private placeOf(page: number): number {
    return this.places.get(Math.floor(page / pagesPerChunk))?.[page % pagesPerChunk] ?? 0;
  }

  /** The range as the guest sees it: redirected pages over the base. */
  async read(base: Pick<RandomReader, 'read'>, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const result = Buffer.allocUnsafe(lengthBytes);
    const end = offsetBytes + lengthBytes;
    let at = offsetBytes;
    while (at < end) {
      const run = this.runFrom(at, end);
      const piece =
        run.place === 0 ? await base.read(at, run.lengthBytes) : await this.file.read(run.place, run.lengthBytes);
      piece.copy(result, at - offsetBytes);
      at += run.lengthBytes;
    }
    return result;
  }

  /** The longest piece from `at` that lies contiguously in one place. */
  private runFrom(at: number, end: number): { place: number; lengthBytes: number } {
    const firstPage = Math.floor(at / pageBytes);
    const first = this.placeOf(firstPage);
    let page = firstPage + 1;
    while (page * pageBytes < end) {
      const expected = first === 0 ? 0 : first + (page - firstPage) * pageBytes;
      if (this.placeOf(page) !== expected) break;
      page += 1;
    }
    const place = first === 0 ? 0 : first + (at - firstPage * pageBytes);
    return { place, lengthBytes: Math.min(end, page * pageBytes) - at };
  }

  /** Appends one write. When it fails nothing of it counts. One call at a time. */
  async write(base: Pick<RandomReader, 'read'>, offsetBytes: number, data: Buffer): Promise<void> {
    const end = offsetBytes + data.length;
    const from = Math.floor(offsetBytes / pageBytes) * pageBytes;
    const to = Math.min(Math.ceil(end / pageBytes) * pageBytes, this.diskSizeBytes);
    const record = Buffer.allocUnsafe(recordHeaderBytes + (to - from));
    if (from < offsetBytes) (await this.read(base, from, offsetBytes - from)).copy(record, recordHeaderBytes);
    data.copy(record, recordHeaderBytes + (offsetBytes - from));
    if (end < to) (await this.read(base, end, to - end)).copy(record, recordHeaderBytes + (end - from));
    record.writeUInt32LE(recordMagic, 0);
    record.writeBigUInt64LE(BigInt(from), 8);
    record.writeUInt32LE(to - from, 16);
    record.writeUInt32LE(this.ordinal, 20);
    record.writeUInt32LE(crc32(record.subarray(8)), 4);
    await this.file.write(this.endBytes, record);
    this.place(from, to - from, this.endBytes + recordHeaderBytes);
    this.endBytes += record.length;
    this.ordinal += 1;
  }

  flush(): Promise<void> {
    return this.file.flush();
  }

  /** Is everything in the disk that was written here? */
  get isMerged(): boolean {
    return this.pending.size === 0;
  }

  /**
   * Copies unmerged pages to the disk, chunk by chunk, until about `budgetBytes` are copied or none is left. Resolves with
   * how many bytes it copied. No write may run meanwhile.
   */
  async mergeStep(
    disk: { write(offsetBytes: number, data: Buffer): Promise<void> },
    budgetBytes: number,
  ): Promise<number> {
    let copiedBytes = 0;
    for (const [chunk, dirty] of this.pending) {
      if (copiedBytes >= budgetBytes) break;
      for (const { at, lengthBytes } of dirtyRuns(chunk, dirty)) {
        const end = Math.min(at + lengthBytes, this.diskSizeBytes);
        for (let from = at; from < end;) {
          const run = this.runFrom(from, end);
          await disk.write(from, await this.file.read(run.place, run.lengthBytes));
          copiedBytes += run.lengthBytes;
          from += run.lengthBytes;
        }
      }
      this.pending.delete(chunk);
    }
    return copiedBytes;
  }
}

function* dirtyRuns(chunk: number, dirty: Uint8Array): Generator<{ at: number; lengthBytes: number }> {
  let first = dirty.indexOf(1);
  while (first !== -1) {
    let last = first;
    while (dirty[last + 1] === 1) last += 1;
    yield { at: chunk * chunkBytes + first * pageBytes, lengthBytes: (last - first + 1) * pageBytes };
    first = dirty.indexOf(1, last + 1);
  }
}

async function readRecord(
  file: RandomReader,
  at: number,
): Promise<{ offsetBytes: number; lengthBytes: number; ordinal: number } | undefined> {
  const header = await file.read(at, recordHeaderBytes);
  const lengthBytes = header.readUInt32LE(16);
  const offsetBytes = Number(header.readBigUInt64LE(8));
  if (header.readUInt32LE(0) !== recordMagic || lengthBytes === 0 || lengthBytes > recordDataMaxBytes) return undefined;
  if (offsetBytes % pageBytes !== 0 || at + recordHeaderBytes + lengthBytes > file.lengthBytes) return undefined;
  const data = await file.read(at + recordHeaderBytes, lengthBytes);
  if (crc32(data, crc32(header.subarray(8))) !== header.readUInt32LE(4)) return undefined;
  return { offsetBytes, lengthBytes, ordinal: header.readUInt32LE(20) };
}
