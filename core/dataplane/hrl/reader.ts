/** Reading a replica log that was closed properly. The layout stands in layout.ts; the walk is [MS-HRL] 2.5. */
import type { RandomReader } from '../random-access.js';
import { damagedHrl, notHrl, openHrl, truncatedHrl } from './errors.js';
import {
  blockHeaderBytes,
  dataChecksum,
  entryBytes,
  hrlHeaderBytes,
  parseBlockHeader,
  parseHrlHeader,
  parseMetadataEntry,
  type HrlHeader,
  type HrlMetadataEntry,
} from './layout.js';

export interface HrlEntry extends HrlMetadataEntry {
  /** Where the entry's data stands in the log. */
  readonly dataAtBytes: number;
}

export interface HrlReader {
  readonly header: HrlHeader;
  /** In the order of writing, with checked metadata; memory holds one block of them. */
  entries(): AsyncGenerator<HrlEntry>;
  /** The entry's data, its checksum verified. */
  readData(entry: HrlDataPlace): Promise<Buffer>;
  /** The data of entries that follow one another in the log, in one read, each checksum verified. */
  readContiguous(entries: readonly HrlDataPlace[]): Promise<Buffer[]>;
}

/** Where an entry's data stands and what it must sum up to. */
export type HrlDataPlace = Pick<HrlEntry, 'offsetBytes' | 'lengthBytes' | 'dataAtBytes' | 'dataChecksum'>;

/** The header alone, of an open log too: `endOfLogBytes` is 0 there. */
export async function readHrlHeader(file: RandomReader): Promise<HrlHeader> {
  if (file.lengthBytes < hrlHeaderBytes) throw notHrl(`it has ${file.lengthBytes} bytes, fewer than a log's header`);
  return parseHrlHeader(await file.read(0, hrlHeaderBytes));
}

/** Checks the header and the chain of metadata blocks; entries and data are checked as they are read. */
export async function openHrlReader(file: RandomReader): Promise<HrlReader> {
  const header = await readHrlHeader(file);
  if (header.endOfLogBytes === 0) throw openHrl(header.uniqueId);
  if (header.endOfLogBytes > file.lengthBytes) throw truncatedHrl(header.endOfLogBytes, file.lengthBytes);
  const blocks = await walkBack(file, header);
  return {
    header,
    entries: () => readEntries(file, header, blocks),
    readData: async (entry) => verifyData(entry, await file.read(entry.dataAtBytes, entry.lengthBytes)),
    readContiguous: (entries) => readContiguous(file, entries),
  };
}

/** First pass: where the metadata blocks stand, from the first to the last. */
async function walkBack(file: RandomReader, header: HrlHeader): Promise<number[]> {
  const blocks: number[] = [];
  let entries = 0;
  let atBytes = header.endOfLogBytes - header.metadataBlockBytes;
  for (;;) {
    if (atBytes < hrlHeaderBytes) throw damagedHrl('metadata chain', atBytes, 'a block inside the header');
    const block = parseBlockHeader(await file.read(atBytes, blockHeaderBytes), atBytes, header.metadataBlockBytes);
    blocks.push(atBytes);
    entries += block.entryCount;
    if (block.previousDistanceBytes === 0) break;
    if (block.previousDistanceBytes < header.metadataBlockBytes) {
      throw damagedHrl('metadata block', atBytes, `the block before is ${block.previousDistanceBytes} bytes back`);
    }
    atBytes -= block.previousDistanceBytes;
  }
  if (entries !== header.totalEntries) {
    throw damagedHrl('header', 96, `${header.totalEntries} entries, the metadata blocks have ${entries}`);
  }
  return blocks.reverse();
}

/** Second pass. A block's data lies in the order of its entries, right before it. */
async function* readEntries(
  file: RandomReader,
  header: HrlHeader,
  blocks: readonly number[],
): AsyncGenerator<HrlEntry> {
  let dataAtBytes = hrlHeaderBytes;
  for (const atBytes of blocks) {
    const bytes = await file.read(atBytes, header.metadataBlockBytes);
    const { entryCount } = parseBlockHeader(bytes, atBytes, header.metadataBlockBytes);
    const entries: HrlEntry[] = [];
    for (let index = 0; index < entryCount; index++) {
      const rowAt = blockHeaderBytes + index * entryBytes;
      const entry = parseMetadataEntry(bytes.subarray(rowAt, rowAt + entryBytes), atBytes + rowAt);
      entries.push({ ...entry, dataAtBytes });
      dataAtBytes += entry.lengthBytes;
    }
    if (dataAtBytes !== atBytes) {
      throw damagedHrl('metadata block', atBytes, `its entries' data ends at ${dataAtBytes}, not where it starts`);
    }
    yield* entries;
    dataAtBytes = atBytes + header.metadataBlockBytes;
  }
}

async function readContiguous(file: RandomReader, entries: readonly HrlDataPlace[]): Promise<Buffer[]> {
  const startBytes = entries[0]?.dataAtBytes ?? 0;
  const lengthBytes = entries.reduce((sum, entry) => sum + entry.lengthBytes, 0);
  const bytes = await file.read(startBytes, lengthBytes);
  return entries.map((entry) => {
    const at = entry.dataAtBytes - startBytes;
    return verifyData(entry, bytes.subarray(at, at + entry.lengthBytes));
  });
}

function verifyData(entry: HrlDataPlace, data: Buffer): Buffer {
  const checksum = dataChecksum(data);
  if (checksum === entry.dataChecksum) return data;
  throw damagedHrl(
    `data of the write at disk offset ${entry.offsetBytes}`,
    entry.dataAtBytes,
    `checksum ${entry.dataChecksum} in its entry, its content gives ${checksum}`,
  );
}
