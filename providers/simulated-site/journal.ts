import { crc32 } from '@node-rs/crc32';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { DiskReader, RandomReader } from '../../core/dataplane/random-access.js';
import { openFileReader, openFileWriter, type FileWriter } from '../local-files/random-access-file.js';
import { isAbsent } from './durable-file.js';
import { journalOff } from './errors.js';

/**
 * The judges' reference: what the guests wrote and were acknowledged, kept apart from the change logs that it judges.
 * One folder an epoch: `<disk>.base.raw`, the disk at the checkpoint's instant, and `writes.journal`, records of
 *
 *   "URJW" | crc32 u32 of bytes 8…31 and the data | kind u8 (1 write, 2 cycle mark), 3 reserved | diskIndex u32 |
 *   offsetBytes u64 (of a mark: the cycle) | lengthBytes u32 | 4 reserved | data
 *
 * Records end where a resync is marked. The disk of cycle C is the base with all writes up to the last mark of C. Only tests and demo switch it on.
 */
const recordMagic = 0x574a5255; // "URJW"
const headerBytes = 32;
const pieceBytes = 1024 * 1024;

export class Journal {
  private constructor(
    private readonly file: FileWriter,
    private endBytes: number,
  ) {}

  /** A fresh journal of one epoch. Those of earlier epochs stay: their recovery points outlive a resync. */
  static async create(vmFolder: string, epoch: number, baseCycle: number): Promise<Journal> {
    const folder = join(vmFolder, String(epoch));
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    const journal = new Journal(await openFileWriter(journalPath(vmFolder, epoch), { mode: 'create' }), 0);
    await journal.mark(baseCycle);
    return journal;
  }

  /** Goes on with a journal after its last whole record; undefined when there is none. */
  static async reopen(vmFolder: string, epoch: number): Promise<Journal | undefined> {
    let file: FileWriter;
    try {
      file = await openFileWriter(journalPath(vmFolder, epoch));
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
    let endBytes = 0;
    for await (const record of records(file)) endBytes = record.endBytes;
    await file.resize(endBytes);
    return new Journal(file, endBytes);
  }

  /** Copies the frozen disk; it must stay frozen until this resolves. */
  static async copyBase(vmFolder: string, epoch: number, diskName: string, disk: DiskReader): Promise<void> {
    const path = basePath(vmFolder, epoch, diskName);
    const out = await openFileWriter(`${path}.partial`, { mode: 'truncate' });
    try {
      await out.resize(disk.sizeBytes);
      for await (const range of disk.allocatedRanges()) {
        const end = Math.min(range.offsetBytes + range.lengthBytes, disk.sizeBytes);
        for (let at = range.offsetBytes; at < end; at += pieceBytes) {
          await out.write(at, await disk.read(at, Math.min(pieceBytes, end - at)));
        }
      }
    } finally {
      await out.close();
    }
    await rename(`${path}.partial`, path);
  }

  /** Another protection begins, or this one ends: its epochs tell nothing any more. */
  static async clear(vmFolder: string): Promise<void> {
    await rm(vmFolder, { recursive: true, force: true });
  }

  write(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void> {
    return this.append(1, diskIndex, offsetBytes, data);
  }

  mark(cycle: number): Promise<void> {
    return this.append(2, 0, cycle, Buffer.alloc(0));
  }

  private async append(kind: 1 | 2, diskIndex: number, offsetBytes: number, data: Buffer): Promise<void> {
    const record = Buffer.alloc(headerBytes + data.length);
    record.writeUInt32LE(recordMagic, 0);
    record.writeUInt8(kind, 8);
    record.writeUInt32LE(diskIndex, 12);
    record.writeBigUInt64LE(BigInt(offsetBytes), 16);
    record.writeUInt32LE(data.length, 24);
    data.copy(record, headerBytes);
    record.writeUInt32LE(crc32(record.subarray(8)), 4);
    await this.file.write(this.endBytes, record);
    this.endBytes += record.length;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/**
 * Rebuilds every disk of a cycle as a raw image `<out>/<disk>.raw`, holes where the base has zeros. Without an epoch it is
 * the newest that has a mark of the cycle: a resync's base cycle is marked in both, at different instants.
 */
export async function rebuildDisks(
  vmFolder: string,
  of: { cycle: number; epoch?: number | undefined },
  diskNames: readonly string[],
  outFolder: string,
): Promise<{ disk: string; path: string }[]> {
  const epochs = await epochsOf(vmFolder, of.epoch, diskNames);
  const { epoch, untilBytes } = await findCycle(vmFolder, of.cycle, epochs);
  const journal = await openFileReader(journalPath(vmFolder, epoch));
  await mkdir(outFolder, { recursive: true });
  const outputs: FileWriter[] = [];
  try {
    for (const name of diskNames) {
      const out = await openFileWriter(join(outFolder, `${name}.raw`), { mode: 'truncate' });
      outputs.push(out);
      await copySparse(basePath(vmFolder, epoch, name), out);
    }
    for await (const record of records(journal, untilBytes)) {
      if (record.kind === 1) await outputs[record.diskIndex]?.write(record.offsetBytes, record.data);
    }
    for (const out of outputs) await out.flush();
    return diskNames.map((disk) => ({ disk, path: join(outFolder, `${disk}.raw`) }));
  } finally {
    await journal.close();
    for (const out of outputs) await out.close();
  }
}

const basePath = (vmFolder: string, epoch: number, diskName: string): string =>
  join(vmFolder, String(epoch), `${diskName}.base.raw`);

const journalPath = (vmFolder: string, epoch: number): string => join(vmFolder, String(epoch), 'writes.journal');

/** The newest first; only the one that is asked for. A start that died before its bases were copied left nothing to judge by. */
async function epochsOf(vmFolder: string, wanted: number | undefined, diskNames: readonly string[]): Promise<number[]> {
  const epochs: number[] = [];
  for (const epoch of (await namesIn(vmFolder)).map(Number)) {
    if (!Number.isInteger(epoch) || (wanted ?? epoch) !== epoch) continue;
    const files = await namesIn(join(vmFolder, String(epoch)));
    if (diskNames.every((name) => files.includes(basename(basePath(vmFolder, epoch, name))))) epochs.push(epoch);
  }
  if (epochs.length === 0) throw journalOff(wanted === undefined ? 'record of this VM' : `epoch ${wanted}`);
  return epochs.sort((a, b) => b - a);
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw error;
  });
}

async function findCycle(
  vmFolder: string,
  cycle: number,
  epochs: readonly number[],
): Promise<{ epoch: number; untilBytes: number }> {
  for (const epoch of epochs) {
    const journal = await openFileReader(journalPath(vmFolder, epoch));
    try {
      const untilBytes = await endOfCycle(journal, cycle);
      if (untilBytes !== undefined) return { epoch, untilBytes };
    } finally {
      await journal.close();
    }
  }
  throw journalOff(`mark of cycle ${cycle}`);
}

/** A mark that a dead log switch left behind is passed over: the last of a cycle counts. */
async function endOfCycle(journal: RandomReader, cycle: number): Promise<number | undefined> {
  let found: number | undefined;
  for await (const record of records(journal)) {
    if (record.kind === 2 && record.offsetBytes === cycle) found = record.endBytes;
  }
  return found;
}

interface JournalRecord {
  kind: number;
  diskIndex: number;
  offsetBytes: number;
  data: Buffer;
  endBytes: number;
}

async function* records(file: RandomReader, untilBytes = Number.POSITIVE_INFINITY): AsyncGenerator<JournalRecord> {
  // The length is fixed here: a journal that is being written is read up to what stood in it at the start.
  const length = Math.min(file.lengthBytes, untilBytes);
  let at = 0;
  while (at + headerBytes <= length) {
    const header = await file.read(at, headerBytes);
    const lengthBytes = header.readUInt32LE(24);
    if (header.readUInt32LE(0) !== recordMagic || at + headerBytes + lengthBytes > length) return;
    const data = await file.read(at + headerBytes, lengthBytes);
    if (crc32(data, crc32(header.subarray(8))) !== header.readUInt32LE(4)) return;
    at += headerBytes + lengthBytes;
    const diskIndex = header.readUInt32LE(12);
    const offsetBytes = Number(header.readBigUInt64LE(16));
    yield { kind: header.readUInt8(8), diskIndex, offsetBytes, data, endBytes: at };
  }
}

async function copySparse(from: string, to: FileWriter): Promise<void> {
  const source = await openFileReader(from);
  try {
    await to.resize(source.lengthBytes);
    const zeros = Buffer.alloc(pieceBytes);
    for (let at = 0; at < source.lengthBytes; at += pieceBytes) {
      const piece = await source.read(at, Math.min(pieceBytes, source.lengthBytes - at));
      if (!piece.equals(zeros.subarray(0, piece.length))) await to.write(at, piece);
    }
  } finally {
    await source.close();
  }
}
