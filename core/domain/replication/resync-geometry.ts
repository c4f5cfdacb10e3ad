/**
 * How a resynchronization divides disks: chunks are what is compared and sent, groups what a first look compares, regions what
 * one activity checksums and one segment covers. Fixed by the format of digest files (docs/formats/digest-file.md).
 */
/** Small enough that a scattered change of a database page sends little beside it; a digest is 1/4096 of it. */
export const resyncChunkBytes = 64 * 1024;
export const chunksInGroup = 64;
export const digestGroupBytes = resyncChunkBytes * chunksInGroup;
/** Digests of a region are 64 KiB: one request reads them all. */
export const resyncRegionBytes = 256 * 1024 * 1024;

/**
 * The relay cuts the pieces of a base at multiples of this: the checksums of so much disk fill one page of the checksum table, so
 * that no two pieces share one (docs/formats/checksum-table.md). Of a piece that is cut elsewhere no checksums are kept.
 */
export const baseAlignmentBytes = 2 * 1024 * 1024;

/** Groups that the record of changed chunks of one disk may have as it travels: 16 KiB of bitmap. */
const scopeGroupsMax = 128 * 1024;

/** The group size in which the record of changed chunks of a disk travels: chunks, doubled until the bitmap is small enough. */
export function scopeGroupBytes(diskSizeBytes: number): number {
  let groupBytes = resyncChunkBytes;
  while (diskSizeBytes / groupBytes > scopeGroupsMax) groupBytes *= 2;
  return groupBytes;
}

/** Changed parts of a disk, coarsely: bit (i mod 8), counted from the lowest, of byte ⌊i/8⌋ is the group i. */
export interface GroupMap {
  readonly groupBytes: number;
  readonly bitmap: Buffer;
}

/** Is any byte of the range in a group that the bitmap marks? */
export function isInScope(scope: GroupMap, range: { fromBytes: number; toBytes: number }): boolean {
  const last = Math.floor((range.toBytes - 1) / scope.groupBytes);
  for (let group = Math.floor(range.fromBytes / scope.groupBytes); group <= last; group++) {
    if (((scope.bitmap[group >> 3] ?? 0) & (1 << (group & 7))) !== 0) return true;
  }
  return false;
}

/** Marks every group that the range touches; says whether any was not marked before. */
export function markGroups(map: GroupMap, range: { offsetBytes: number; lengthBytes: number }): boolean {
  const last = Math.floor((range.offsetBytes + range.lengthBytes - 1) / map.groupBytes);
  let isNew = false;
  for (let group = Math.floor(range.offsetBytes / map.groupBytes); group <= last; group++) {
    const before = map.bitmap[group >> 3] ?? 0;
    const after = before | (1 << (group & 7));
    if (after === before) continue;
    map.bitmap[group >> 3] = after;
    isNew = true;
  }
  return isNew;
}

/** A map of the disk in which nothing is marked. */
export function emptyGroupMap(diskSizeBytes: number): GroupMap {
  const groupBytes = scopeGroupBytes(diskSizeBytes);
  return { groupBytes, bitmap: Buffer.alloc(Math.ceil(Math.ceil(diskSizeBytes / groupBytes) / 8)) };
}
