import { crc32c } from '@node-rs/crc32';
import { writeGuid } from '../../core/dataplane/guid.js';
import type { RandomWriter } from '../../core/dataplane/random-access.js';
import { encodeHeader, headerOffsetsBytes, readCurrentHeader } from '../../core/dataplane/vhdx/header.js';

const sectorBytes = 4096;

export interface LoggedUpdate {
  fileOffsetBytes: number;
  /** A sector's new content, or how many bytes of zeros. */
  content: Buffer | number;
}

/** One log entry as [MS-VHDX] 2.3.1 describes it, written from the specification, apart from the product's reader. */
function logEntry(options: {
  logGuid: string;
  sequenceNumber: bigint;
  tailBytes: number;
  fileBytes: number;
  updates: LoggedUpdate[];
}): Buffer {
  const { updates, sequenceNumber } = options;
  const descriptorBytes = Math.ceil((64 + 32 * updates.length) / sectorBytes) * sectorBytes;
  const head = Buffer.alloc(descriptorBytes);
  const data: Buffer[] = [];
  updates.forEach(({ fileOffsetBytes, content }, index) => {
    const at = 64 + 32 * index;
    if (typeof content === 'number') {
      head.write('zero', at, 'latin1');
      head.writeBigUInt64LE(BigInt(content), at + 8);
    } else {
      head.write('desc', at, 'latin1');
      content.copy(head, at + 4, sectorBytes - 4);
      content.copy(head, at + 8, 0, 8);
      const sector = Buffer.from(content);
      sector.write('data', 0, 'latin1');
      sector.writeUInt32LE(Number(sequenceNumber >> 32n), 4);
      sector.writeUInt32LE(Number(sequenceNumber & 0xffff_ffffn), sectorBytes - 4);
      data.push(sector);
    }
    head.writeBigUInt64LE(BigInt(fileOffsetBytes), at + 16);
    head.writeBigUInt64LE(sequenceNumber, at + 24);
  });
  head.write('loge', 0, 'latin1');
  head.writeUInt32LE(descriptorBytes + data.length * sectorBytes, 8);
  head.writeUInt32LE(options.tailBytes, 12);
  head.writeBigUInt64LE(sequenceNumber, 16);
  head.writeUInt32LE(updates.length, 24);
  writeGuid(head, 32, options.logGuid);
  head.writeBigUInt64LE(BigInt(options.fileBytes), 48);
  head.writeBigUInt64LE(BigInt(options.fileBytes), 56);
  const entry = Buffer.concat([head, ...data]);
  entry.writeUInt32LE(crc32c(entry), 4);
  return entry;
}

/** Leaves the file as a crash does: its log holds these entries, from `atBytes` of the log on, and waits for replay. */
export async function leaveDirtyLog(file: RandomWriter, atBytes: number, entries: LoggedUpdate[][]): Promise<void> {
  const { header, place } = await readCurrentHeader(file);
  const logGuid = '0f0e0d0c-0b0a-0908-0706-050403020100';
  const ring = Buffer.alloc(header.logLengthBytes);
  let at = atBytes;
  entries.forEach((updates, index) => {
    const entry = logEntry({
      logGuid,
      sequenceNumber: BigInt(index + 7),
      tailBytes: atBytes,
      fileBytes: file.lengthBytes,
      updates,
    });
    for (let sector = 0; sector < entry.length; sector += sectorBytes) {
      entry.copy(ring, at, sector, sector + sectorBytes);
      at = (at + sectorBytes) % ring.length;
    }
  });
  await file.write(header.logOffsetBytes, ring);
  const dirty = { ...header, logGuid, sequenceNumber: header.sequenceNumber + 1n };
  await file.write(headerOffsetsBytes[place === 0 ? 1 : 0], encodeHeader(dirty));
}
