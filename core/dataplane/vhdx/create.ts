/**
 * Making a new VHDX disk. [MS-VHDX] 2.1; layouts in header.ts, metadata.ts and bat.ts.
 *
 *   0 header section · 1 M log · 2 M metadata · 3 M BAT · then payload blocks (at once for a fixed disk)
 *
 * The headers are written last: a creation that dies halfway leaves a file that no reader takes for a disk.
 */
import { randomUUID } from 'node:crypto';
import { zeroGuid } from '../guid.js';
import type { RandomWriter } from '../random-access.js';
import { blockCount, chunkRatio, encodePresent, entryCount } from './bat.js';
import {
  encodeFileIdentifier,
  encodeHeader,
  encodeRegionTable,
  headerOffsetsBytes,
  mib,
  regionTablePlaces,
  type VhdxHeader,
} from './header.js';
import { encodeMetadata, virtualDiskMaxBytes, type VhdxMetadata } from './metadata.js';

export interface CreateVhdxOptions {
  readonly sizeBytes: number;
  readonly kind: 'dynamic' | 'fixed';
  /** A power of two from 1 MiB to 256 MiB. Default 32 MiB, as Hyper-V's. */
  readonly blockSizeBytes?: number;
  readonly logicalSectorBytes?: 512 | 4096;
  readonly physicalSectorBytes?: 512 | 4096;
  /** The disk's page-83 id; drawn when absent. */
  readonly virtualDiskId?: string;
}

const logRegion = { offsetBytes: mib, lengthBytes: mib };
const metadataRegion = { offsetBytes: 2 * mib, lengthBytes: mib };
const batOffsetBytes = 3 * mib;
const batEntriesPerWrite = 128 * 1024;

/** Fills an empty file. Resolves when the disk survives a power failure. */
export async function createVhdx(file: RandomWriter, options: CreateVhdxOptions): Promise<void> {
  const metadata = checkOptions(options);
  const batLengthBytes = Math.ceil((entryCount(metadata) * 8) / mib) * mib;
  const payloadOffsetBytes = batOffsetBytes + batLengthBytes;
  const payloadBytes = metadata.kind === 'fixed' ? blockCount(metadata) * metadata.blockSizeBytes : 0;

  await file.resize(0);
  await file.resize(payloadOffsetBytes + payloadBytes);
  await file.write(0, encodeFileIdentifier('Understudy'));
  const regionTable = encodeRegionTable({
    bat: { offsetBytes: batOffsetBytes, lengthBytes: batLengthBytes },
    metadata: metadataRegion,
  });
  for (const offsetBytes of regionTablePlaces) await file.write(offsetBytes, regionTable);
  await file.write(metadataRegion.offsetBytes, encodeMetadata(metadata));
  if (metadata.kind === 'fixed') await writeFixedTable(file, metadata, payloadOffsetBytes);
  await file.flush();

  const header: VhdxHeader = {
    sequenceNumber: 1n,
    fileWriteGuid: randomUUID(),
    dataWriteGuid: randomUUID(),
    logGuid: zeroGuid,
    logOffsetBytes: logRegion.offsetBytes,
    logLengthBytes: logRegion.lengthBytes,
  };
  await file.write(headerOffsetsBytes[0], encodeHeader(header));
  await file.write(headerOffsetsBytes[1], encodeHeader({ ...header, sequenceNumber: 2n }));
  await file.flush();
}

async function writeFixedTable(file: RandomWriter, metadata: VhdxMetadata, payloadOffsetBytes: number): Promise<void> {
  const entries = entryCount(metadata);
  const ratio = chunkRatio(metadata);
  for (let first = 0; first < entries; first += batEntriesPerWrite) {
    const count = Math.min(batEntriesPerWrite, entries - first);
    const part = Buffer.alloc(count * 8);
    for (let index = 0; index < count; index++) {
      const entry = first + index;
      // After each chunk's payload entries stands the entry of its sector bitmap, not present here.
      if (entry % (ratio + 1) === ratio) continue;
      const block = entry - Math.floor(entry / (ratio + 1));
      part.writeBigUInt64LE(encodePresent(payloadOffsetBytes + block * metadata.blockSizeBytes), index * 8);
    }
    await file.write(batOffsetBytes + first * 8, part);
  }
}

function checkOptions(options: CreateVhdxOptions): VhdxMetadata {
  const logicalSectorBytes = options.logicalSectorBytes ?? 512;
  const blockSizeBytes = options.blockSizeBytes ?? 32 * mib;
  const { sizeBytes } = options;
  if (
    !Number.isSafeInteger(sizeBytes) ||
    sizeBytes <= 0 ||
    sizeBytes > virtualDiskMaxBytes ||
    sizeBytes % logicalSectorBytes !== 0
  ) {
    throw new RangeError(`a disk of ${sizeBytes} bytes is not whole sectors of ${logicalSectorBytes} up to 64 TiB`);
  }
  if (blockSizeBytes < mib || blockSizeBytes > 256 * mib || (blockSizeBytes & (blockSizeBytes - 1)) !== 0) {
    throw new RangeError(`block size ${blockSizeBytes} is not a power of two from 1 MiB to 256 MiB`);
  }
  return {
    kind: options.kind,
    blockSizeBytes,
    sizeBytes,
    virtualDiskId: options.virtualDiskId ?? randomUUID(),
    logicalSectorBytes,
    physicalSectorBytes: options.physicalSectorBytes ?? 4096,
  };
}
