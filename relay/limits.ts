import type { SlowLane } from './turnstile.js';

/**
 * Bounds of one relay process. Together they hold its memory, whatever the number of items and the disks' sizes: the uploads
 * of both lanes × (`blocksInFlight` + 1) × `blockBytes` are 96 MiB, and the log entries of both lanes at most 126 MiB.
 *
 * Each bound has a slow lane beside it (turnstile.ts): items that hang, fail or send very much use that one, so that however
 * many they are, the others find the main lane free.
 */

/** System time; a cycle of small churn is through in a second or two. */
const slowAfterMilliseconds = 30_000;
const slowLane = (limit: number): SlowLane => ({ limit, afterMilliseconds: slowAfterMilliseconds });

/** Items that build and send at the same time; the others queue, first come first served. */
export const itemsSendingAtOnce = 8;
export const slowItemsSending = slowLane(8);
/** Transfer logs that travel at the same time, over all items and disks. */
export const uploadsAtOnce = 4;
export const slowUploads = slowLane(2);
/**
 * Log entries that are held in memory for coalescing at the same time, over all items and disks: about 28 bytes each. A log
 * of more than half of this is coalesced in the slow lane, alone if it is longer than that lane is wide.
 */
export const coalescedEntriesAtOnce = 512 * 1024;
export const slowCoalescing = slowLane(1024 * 1024);
/** Calls of the app about items that are under way at the same time. */
export const appCallsAtOnce = 16;
export const slowAppCalls = slowLane(16);
/** Items that the site is asked about at the same time for the heartbeat. */
export const observedAtOnce = 8;
export const slowObservations = slowLane(32);
/** Size of a staged block: below Azurite's and Azure's ceilings, and few enough blocks for the largest segment. */
export const blockBytes = 4 * 1024 * 1024;
/** Blocks of one upload that travel at the same time. */
export const blocksInFlight = 3;
/** System time without a byte taken: more than the last blocks and the commit may take by the storage client's own limits. */
export const uploadStallMilliseconds = 300_000;

/** A segment of a disk's base ends when it holds this much data … */
export const segmentDataBytes = 64 * 1024 * 1024;
/** … or covers this much of the disk, whichever comes first. */
export const segmentSpanBytes = 1024 * 1024 * 1024;
/** What may be announced and not applied yet of an item's base: the app's storage holds no more of it than this, about. */
export const baseBytesAheadMax = 4 * segmentDataBytes;
export const segmentsAheadMax = 32;
