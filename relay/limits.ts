/**
 * Bounds of one relay process. Together they hold its memory: `uploadsAtOnce` × (`blocksInFlight` + 1) × `blockBytes`, and
 * what coalescing the logs of `itemsSendingAtOnce` items needs, stay well below 300 MB whatever the disks' sizes.
 */

/** Items that build and send at the same time; the others queue, first come first served. */
export const itemsSendingAtOnce = 8;
/** Transfer logs that travel at the same time, over all items and disks. */
export const uploadsAtOnce = 4;
/** Log entries that are held in memory for coalescing at the same time, over all items and disks: about 32 bytes each. */
export const coalescedEntriesAtOnce = 2 * 1024 * 1024;
/** Size of a staged block: below Azurite's and Azure's ceilings, and few enough blocks for the largest segment. */
export const blockBytes = 4 * 1024 * 1024;
/** Blocks of one upload that travel at the same time. */
export const blocksInFlight = 3;

/** A segment of a disk's base ends when it holds this much data … */
export const segmentDataBytes = 64 * 1024 * 1024;
/** … or covers this much of the disk, whichever comes first. */
export const segmentSpanBytes = 1024 * 1024 * 1024;
/** Segments that may be announced and not applied yet: the app's storage holds no more of the base than this. */
export const segmentsAheadMax = 4;
