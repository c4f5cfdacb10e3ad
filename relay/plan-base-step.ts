import type { ChunkMap } from '../core/domain/replication/chunk-map.js';
import { resyncRegionBytes } from '../core/domain/replication/resync-geometry.js';
import type { Assignment } from '../core/domain/relay-protocol/wire.js';
import type { TrackingStatus } from '../core/ports/hypervisor-host.js';
import type { ItemState } from './item-state.js';
import { baseBytesAheadMax, segmentsAheadMax } from './limits.js';

/** Phases in which the disks' content at a checkpoint is sent, beside the cycles since then. */
export const sendsBase = (phase: Assignment['phase']): phase is 'initialReplication' | 'resynchronization' =>
  phase === 'initialReplication' || phase === 'resynchronization';

/** The app knows this epoch's checkpoint. */
export const isBaseStarted = (local: Pick<ItemState, 'checkpointAt'>): boolean => local.checkpointAt !== undefined;

/** Every byte of the base is acknowledged by the app. */
export function isBaseReceived(assignment: Pick<Assignment, 'disks'>): boolean {
  return assignment.disks.every((disk) => disk.receivedThroughBytes >= disk.sizeBytes);
}

/** The base can no longer be asked for again: its checkpoint has served. */
export function isBaseApplied(assignment: Pick<Assignment, 'phase' | 'disks'>): boolean {
  return assignment.phase === 'delta' || assignment.disks.every((disk) => disk.appliedThroughBytes >= disk.sizeBytes);
}

/** A piece of a disk that one comparison and one segment cover. */
export interface DiskRegion {
  diskId: string;
  diskSizeBytes: number;
  fromBytes: number;
  toBytes: number;
}

export type BaseStep =
  | { kind: 'rest' }
  /** Initial replication: the next piece, whatever it holds. */
  | { kind: 'sendSegment'; diskId: string; fromBytes: number }
  /** Resynchronization: nothing changed here since the replica, by the site's record. */
  | { kind: 'passOver'; region: DiskRegion }
  /** The source's side of the next comparison, which needs no word of the app. */
  | { kind: 'hashRegion'; region: DiskRegion }
  | { kind: 'sendDifferences'; region: DiskRegion };

/** What the base lane holds in memory: all of it is found again after a kill. */
export interface BaseProgress {
  /** Ends of the segments with a log that this process announced, and the lengths of the logs. */
  announced: readonly { diskId: string; toBytes: number; lengthBytes: number }[];
  /** The site's record of changed chunks of every disk, where it may be used. */
  records: ReadonlyMap<string, ChunkMap> | undefined;
  isHashed: (region: DiskRegion) => boolean;
}

/**
 * Which piece of the base to send next: disk by disk from where the app has received, and only so much
 * ahead of what it has applied. A resynchronization goes region by region, as far as the replica's checksums are there.
 */
export function planBaseStep(
  { assignment, tracking, local }: { assignment: Assignment; tracking: TrackingStatus; local: ItemState },
  { announced, records, isHashed }: BaseProgress,
): BaseStep {
  const rest: BaseStep = { kind: 'rest' };
  const { phase, paused, resyncRequired, disks } = assignment;
  if (!sendsBase(phase) || paused || resyncRequired || !isBaseStarted(local)) return rest;
  if (tracking.kind !== 'tracking') return rest;
  const next = disks.find((disk) => disk.receivedThroughBytes < disk.sizeBytes);
  if (next === undefined) return rest;
  const { diskId, receivedThroughBytes: fromBytes, digestedThroughBytes } = next;
  const region = regionFrom(next, fromBytes);
  const record = records?.get(diskId);
  if (phase === 'resynchronization' && record?.anyIn(fromBytes, region.toBytes) === false) {
    return { kind: 'passOver', region: { ...region, toBytes: endOfUnchanged(record, region) } };
  }
  const applied = new Map(disks.map((disk) => [disk.diskId, disk.appliedThroughBytes]));
  const waiting = announced.filter((each) => each.toBytes > (applied.get(each.diskId) ?? 0));
  const waitingBytes = waiting.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  if (waiting.length >= segmentsAheadMax || waitingBytes >= baseBytesAheadMax) return rest;
  if (phase === 'initialReplication') return { kind: 'sendSegment', diskId, fromBytes };
  if (digestedThroughBytes > fromBytes) return { kind: 'sendDifferences', region };
  return isHashed(region) ? rest : { kind: 'hashRegion', region };
}

/** The region that begins at or holds this byte, from there on. */
function regionFrom({ diskId, sizeBytes }: { diskId: string; sizeBytes: number }, fromBytes: number): DiskRegion {
  const toBytes = Math.min((Math.floor(fromBytes / resyncRegionBytes) + 1) * resyncRegionBytes, sizeBytes);
  return { diskId, diskSizeBytes: sizeBytes, fromBytes, toBytes };
}

function endOfUnchanged(record: ChunkMap, { diskId, diskSizeBytes, toBytes }: DiskRegion): number {
  let end = toBytes;
  while (end < diskSizeBytes) {
    const next = regionFrom({ diskId, sizeBytes: diskSizeBytes }, end);
    if (record.anyIn(next.fromBytes, next.toBytes)) break;
    end = next.toBytes;
  }
  return end;
}

/** The region that is compared after this one on the same disk, so that it can be hashed meanwhile. */
export function regionAfter(
  { diskId, diskSizeBytes, toBytes }: DiskRegion,
  record: ChunkMap | undefined,
): DiskRegion | undefined {
  for (let fromBytes = toBytes; fromBytes < diskSizeBytes;) {
    const next = regionFrom({ diskId, sizeBytes: diskSizeBytes }, fromBytes);
    if (record?.anyIn(next.fromBytes, next.toBytes) !== false) return next;
    fromBytes = next.toBytes;
  }
  return undefined;
}
