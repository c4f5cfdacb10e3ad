import { crc32 } from '@node-rs/crc32';

/**
 * The history of the `ordered` guest: records numbered 1, 2, 3 … written strictly one after the other, in turn to the
 * VM's disks, so that a disk set taken at one instant holds exactly the records 1 … N for some N.
 *
 * Each disk has a region in its second half, cut into slots of 64 KiB. Record k goes to disk (k-1) mod D, slot
 * floor((k-1)/D) mod S, and overwrites what stood there. A record is one write of 4 to 64 KiB, little-endian:
 *
 *   0 "USORDREC" | 8 sequence u64 | 16 lengthBytes u32 | 20 crc32 u32 of bytes 0…19 and 24… | 24 vm tag u32 | 28 0 u32 | 32 payload
 *
 * Length and payload follow from tag and sequence alone. Before an application-consistent switch the guest writes its
 * frozen marker to the sector before the region of the first disk: "USFROZEN" | sequence u64 | crc32 u32 | 0 …
 */
export const slotBytes = 64 * 1024;
const regionMaxBytes = 16 * 1024 * 1024;
const recordMagic = Buffer.from('USORDREC', 'latin1');
const frozenMagic = Buffer.from('USFROZEN', 'latin1');
const headerBytes = 32;
const sectorBytes = 512;

export type ReadDisk = (offsetBytes: number, lengthBytes: number) => Promise<Buffer>;

export interface OrderedLayout {
  readonly diskSizes: readonly number[];
  readonly tag: number;
}

interface Region {
  startBytes: number;
  slotCount: number;
}

export function orderedRegion(layout: OrderedLayout): Region {
  const smallest = Math.min(...layout.diskSizes);
  const slotCount = Math.floor(Math.min(regionMaxBytes, smallest / 4) / slotBytes);
  if (slotCount < 1) throw new RangeError('an ordered guest needs disks of at least 256 KiB');
  return { startBytes: Math.floor(smallest / 2 / slotBytes) * slotBytes, slotCount };
}

const diskOf = (layout: OrderedLayout, sequence: number): number => (sequence - 1) % layout.diskSizes.length;
const slotOf = (layout: OrderedLayout, region: Region, sequence: number): number =>
  Math.floor((sequence - 1) / layout.diskSizes.length) % region.slotCount;

/** One write of the guest. */
export function orderedRecord(
  layout: OrderedLayout,
  sequence: number,
): { diskIndex: number; offsetBytes: number; data: Buffer } {
  const region = orderedRegion(layout);
  const random = xorshift(layout.tag ^ Math.imul(sequence, 0x9e3779b1));
  const lengthBytes = 4096 + (random() % ((slotBytes - 4096) / sectorBytes + 1)) * sectorBytes;
  const data = Buffer.alloc(lengthBytes);
  recordMagic.copy(data, 0);
  data.writeBigUInt64LE(BigInt(sequence), 8);
  data.writeUInt32LE(lengthBytes, 16);
  data.writeUInt32LE(layout.tag, 24);
  fillCompressible(data.subarray(headerBytes), random);
  data.writeUInt32LE(checksum(data), 20);
  return {
    diskIndex: diskOf(layout, sequence),
    offsetBytes: region.startBytes + slotOf(layout, region, sequence) * slotBytes,
    data,
  };
}

/** What the guest writes when it is frozen after record `sequence`. */
export function frozenMarker(layout: OrderedLayout, sequence: number): { offsetBytes: number; data: Buffer } {
  const data = Buffer.alloc(sectorBytes);
  frozenMagic.copy(data, 0);
  data.writeBigUInt64LE(BigInt(sequence), 8);
  data.writeUInt32LE(crc32(data.subarray(0, 16)), 16);
  return { offsetBytes: orderedRegion(layout).startBytes - sectorBytes, data };
}

export type OrderedHistory =
  /** The disks hold exactly the records 1 … `lastSequence` (0 is none). `frozenAt` is the newest frozen marker's sequence. */
  | { kind: 'prefix'; lastSequence: number; frozenAt: number | undefined }
  /** A record is missing, damaged, or stands where a later one should: the disks are not of one instant. */
  | {
      kind: 'broken';
      diskIndex: number;
      slot: number;
      expectedSequence: number;
      found: number | 'nothing' | 'damaged';
      lastSequence: number;
    };

/** Judges whether a set of disks is a prefix of the guest's history, all disks of the same instant. */
export async function checkOrderedHistory(layout: OrderedLayout, disks: readonly ReadDisk[]): Promise<OrderedHistory> {
  const slots = await readSlots(layout, disks);
  const lastSequence = slots.reduce((last, slot) => (slot.found === undefined ? last : Math.max(last, slot.found)), 0);
  const region = orderedRegion(layout);
  for (const { diskIndex, slot, found, intact } of slots) {
    const expected = expectedIn(layout, region, diskIndex, slot, lastSequence);
    if (found === expected && intact) continue;
    return {
      kind: 'broken',
      diskIndex,
      slot,
      expectedSequence: expected ?? 0,
      found: found === undefined ? 'nothing' : intact ? found : 'damaged',
      lastSequence,
    };
  }
  return { kind: 'prefix', lastSequence, frozenAt: await readFrozenMarker(layout, disks) };
}

/** Where the guest goes on after a restart: one after the newest whole record. A torn last record is written again. */
export async function nextSequence(layout: OrderedLayout, disks: readonly ReadDisk[]): Promise<number> {
  const slots = await readSlots(layout, disks);
  return (
    1 + slots.reduce((last, { found, intact }) => (found !== undefined && intact ? Math.max(last, found) : last), 0)
  );
}

interface SlotContent {
  diskIndex: number;
  slot: number;
  found: number | undefined;
  intact: boolean;
}

async function readSlots(layout: OrderedLayout, disks: readonly ReadDisk[]): Promise<SlotContent[]> {
  const region = orderedRegion(layout);
  const slots: SlotContent[] = [];
  for (const [diskIndex, read] of disks.entries()) {
    for (let slot = 0; slot < region.slotCount; slot += 1) {
      const content = await read(region.startBytes + slot * slotBytes, slotBytes);
      slots.push({ diskIndex, slot, ...parseRecord(layout, diskIndex, slot, content) });
    }
  }
  return slots;
}

function parseRecord(
  layout: OrderedLayout,
  diskIndex: number,
  slot: number,
  content: Buffer,
): { found: number | undefined; intact: boolean } {
  if (!content.subarray(0, 8).equals(recordMagic)) return { found: undefined, intact: true };
  const sequence = Number(content.readBigUInt64LE(8));
  const lengthBytes = content.readUInt32LE(16);
  const intact =
    lengthBytes >= headerBytes &&
    lengthBytes <= slotBytes &&
    content.readUInt32LE(24) === layout.tag &&
    content.readUInt32LE(20) === checksum(content.subarray(0, lengthBytes)) &&
    diskOf(layout, sequence) === diskIndex &&
    slotOf(layout, orderedRegion(layout), sequence) === slot;
  return { found: sequence, intact };
}

function expectedIn(
  layout: OrderedLayout,
  region: Region,
  diskIndex: number,
  slot: number,
  lastSequence: number,
): number | undefined {
  const diskCount = layout.diskSizes.length;
  const first = slot * diskCount + diskIndex + 1;
  if (first > lastSequence) return undefined;
  const round = region.slotCount * diskCount;
  return first + Math.floor((lastSequence - first) / round) * round;
}

async function readFrozenMarker(layout: OrderedLayout, disks: readonly ReadDisk[]): Promise<number | undefined> {
  const sector = await disks[0]?.(orderedRegion(layout).startBytes - sectorBytes, sectorBytes);
  if (!sector?.subarray(0, 8).equals(frozenMagic)) return undefined;
  return sector.readUInt32LE(16) === crc32(sector.subarray(0, 16)) ? Number(sector.readBigUInt64LE(8)) : undefined;
}

const checksum = (record: Buffer): number => crc32(record.subarray(24), crc32(record.subarray(0, 20)));

/** Deterministic and fast; quality does not matter here. */
export function xorshift(seed: number): () => number {
  let state = seed >>> 0 || 0x6d2b79f5;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

/** Data that compresses to roughly a half, as file systems' data does: random words between repeated ones. */
export function fillCompressible(target: Buffer, random: () => number): void {
  const whole = target.length - (target.length % 16);
  for (let at = 0; at < whole; at += 16) {
    target.writeUInt32LE(random(), at);
    target.writeUInt32LE(0x20202020, at + 4);
    target.writeUInt32LE(random(), at + 8);
    target.writeUInt32LE(0x0a0d0a0d, at + 12);
  }
}
