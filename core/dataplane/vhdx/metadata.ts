/**
 * VHDX, metadata region. [MS-VHDX] 2.6.
 *
 *   0     table header, 32 bytes: "metadata", 2 reserved, entry count u16 at 10
 *   32    entries of 32 bytes: 0 item GUID  16 offset u32 (within the region, at least 64 K)  20 length u32
 *         24 flags: bit 0 user, bit 1 virtual disk, bit 2 required
 *   64 K  the items: file parameters (block size u32; bit 0 leave blocks allocated = fixed, bit 1 has parent),
 *         virtual disk size u64, virtual disk id GUID, logical and physical sector size u32 each
 */
import { readGuid, writeGuid } from '../guid.js';
import type { RandomReader } from '../random-access.js';
import { damagedVhdx, unsupportedVhdx } from './errors.js';
import { mib, type Region } from './header.js';

const items = {
  fileParameters: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  virtualDiskSize: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  virtualDiskId: 'beca12ab-b2e6-4523-93ef-c309e000c746',
  logicalSectorSize: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  physicalSectorSize: 'cda348c7-445d-4471-9cc9-e9885251c556',
  parentLocator: 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c',
} as const;
type ItemName = keyof typeof items;
const itemNames = new Map<string, ItemName>(
  Object.entries(items).map(([name, guid]): [string, ItemName] => [guid, name as ItemName]),
);

const tableLengthBytes = 64 * 1024;
const entriesMax = 2047;
const itemLengthMaxBytes = mib;
/** [MS-VHDX] 2.6.2.2 */
export const virtualDiskMaxBytes = 64 * 1024 * 1024 * mib;

export interface VhdxMetadata {
  readonly kind: 'dynamic' | 'fixed';
  readonly blockSizeBytes: number;
  readonly sizeBytes: number;
  readonly virtualDiskId: string;
  readonly logicalSectorBytes: number;
  readonly physicalSectorBytes: number;
}

export async function readMetadata(file: RandomReader, region: Region): Promise<VhdxMetadata> {
  const table = await file.read(region.offsetBytes, tableLengthBytes);
  if (table.toString('latin1', 0, 8) !== 'metadata') {
    throw damagedVhdx('metadata table', region.offsetBytes, 'the signature is missing');
  }
  const entryCount = table.readUInt16LE(10);
  if (entryCount > entriesMax) {
    throw damagedVhdx('metadata table', region.offsetBytes, `${entryCount} entries, at most ${entriesMax} fit`);
  }
  const found = new Map<ItemName, Buffer>();
  for (let index = 0; index < entryCount; index++) {
    const at = 32 + index * 32;
    const guid = readGuid(table, at);
    const offsetBytes = table.readUInt32LE(at + 16);
    const lengthBytes = table.readUInt32LE(at + 20);
    const flags = table.readUInt32LE(at + 24);
    const name = (flags & 1) === 0 ? itemNames.get(guid) : undefined;
    if (name === undefined) {
      if ((flags & 4) === 0) continue;
      throw unsupportedVhdx(`the required VHDX metadata item ${guid}`, 'Open the disk with the software that made it.');
    }
    if (found.has(name)) throw damagedVhdx('metadata table', region.offsetBytes + at, `item ${name} is there twice`);
    if (
      offsetBytes < tableLengthBytes ||
      lengthBytes > itemLengthMaxBytes ||
      offsetBytes + lengthBytes > region.lengthBytes
    ) {
      throw damagedVhdx(
        'metadata table',
        region.offsetBytes + at,
        `item ${name} at ${offsetBytes}, length ${lengthBytes}, is outside the region`,
      );
    }
    found.set(name, await file.read(region.offsetBytes + offsetBytes, lengthBytes));
  }
  return checkMetadata(found, region);
}

function checkMetadata(found: ReadonlyMap<ItemName, Buffer>, region: Region): VhdxMetadata {
  const item = (name: ItemName, lengthBytes: number): Buffer => {
    const bytes = found.get(name);
    if (bytes !== undefined && bytes.length >= lengthBytes) return bytes;
    const state = bytes === undefined ? 'missing' : `only ${bytes.length} bytes long`;
    throw damagedVhdx('metadata', region.offsetBytes, `the item ${name} is ${state}`);
  };
  const wrong = (what: string): Error => damagedVhdx('metadata', region.offsetBytes, what);

  const parameters = item('fileParameters', 8);
  const blockSizeBytes = parameters.readUInt32LE(0);
  const flags = parameters.readUInt32LE(4);
  if ((flags & 2) !== 0) {
    throw unsupportedVhdx(
      'a differencing VHDX (a disk with a parent)',
      'Merge its checkpoints on the host (Merge-VHD), then use the merged disk.',
    );
  }
  if (blockSizeBytes < mib || blockSizeBytes > 256 * mib || (blockSizeBytes & (blockSizeBytes - 1)) !== 0) {
    throw wrong(`block size ${blockSizeBytes} is not a power of two from 1 MiB to 256 MiB`);
  }
  const logicalSectorBytes = item('logicalSectorSize', 4).readUInt32LE(0);
  const physicalSectorBytes = item('physicalSectorSize', 4).readUInt32LE(0);
  if (logicalSectorBytes !== 512 && logicalSectorBytes !== 4096) throw wrong(`logical sector ${logicalSectorBytes}`);
  if (physicalSectorBytes !== 512 && physicalSectorBytes !== 4096) {
    throw wrong(`physical sector ${physicalSectorBytes}`);
  }
  const sizeBytes = Number(item('virtualDiskSize', 8).readBigUInt64LE(0));
  if (sizeBytes === 0 || sizeBytes > virtualDiskMaxBytes || sizeBytes % logicalSectorBytes !== 0) {
    throw wrong(`virtual disk size ${sizeBytes} is not whole sectors of ${logicalSectorBytes} up to 64 TiB`);
  }
  return {
    kind: (flags & 1) === 0 ? 'dynamic' : 'fixed',
    blockSizeBytes,
    sizeBytes,
    virtualDiskId: readGuid(item('virtualDiskId', 16), 0),
    logicalSectorBytes,
    physicalSectorBytes,
  };
}

/** The table and the five items of a disk without parent. */
export function encodeMetadata(metadata: VhdxMetadata): Buffer {
  const region = Buffer.alloc(tableLengthBytes + 4096);
  region.write('metadata', 0, 'latin1');
  const parameters = Buffer.alloc(8);
  parameters.writeUInt32LE(metadata.blockSizeBytes, 0);
  parameters.writeUInt32LE(metadata.kind === 'fixed' ? 1 : 0, 4);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(metadata.sizeBytes));
  const id = Buffer.alloc(16);
  writeGuid(id, 0, metadata.virtualDiskId);
  const required = 4;
  const ofVirtualDisk = 2;
  const entries: { name: ItemName; bytes: Buffer; flags: number }[] = [
    { name: 'fileParameters', bytes: parameters, flags: required },
    { name: 'virtualDiskSize', bytes: size, flags: required | ofVirtualDisk },
    { name: 'virtualDiskId', bytes: id, flags: required | ofVirtualDisk },
    { name: 'logicalSectorSize', bytes: uint32(metadata.logicalSectorBytes), flags: required | ofVirtualDisk },
    { name: 'physicalSectorSize', bytes: uint32(metadata.physicalSectorBytes), flags: required | ofVirtualDisk },
  ];
  region.writeUInt16LE(entries.length, 10);
  let itemOffsetBytes = tableLengthBytes;
  entries.forEach(({ name, bytes, flags }, index) => {
    const at = 32 + index * 32;
    writeGuid(region, at, items[name]);
    region.writeUInt32LE(itemOffsetBytes, at + 16);
    region.writeUInt32LE(bytes.length, at + 20);
    region.writeUInt32LE(flags, at + 24);
    bytes.copy(region, itemOffsetBytes);
    itemOffsetBytes += bytes.length;
  });
  return region;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
