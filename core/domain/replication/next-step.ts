import type { ProtectedItem } from '../protected-item/protected-item.js';
import type { CycleManifest } from '../relay-protocol/wire.js';
import { sendsBase } from './acceptance.js';

/** What the apply side does next for an item, from its rows alone. Small: it travels through orchestration history. */
export type ReplicationStep =
  /** The rows speak of another life or epoch, or another phase: whoever asks ends. */
  | { kind: 'superseded' }
  | { kind: 'idle' }
  /** The disks must be resynchronized first. */
  | { kind: 'blocked' }
  /** Pieces of a disk's base, ascending, the first at the disk's applied mark. */
  | { kind: 'applySegments'; diskIndex: number; segments: { fromBytes: number; toBytes: number }[] }
  /** `seal`: with this cycle applied there is a recovery point. `slices` are to be applied in any order, batch by batch. */
  | { kind: 'applyCycle'; cycle: number; seal: boolean; batches: CycleSlice[][] }
  | { kind: 'finishInitialReplication' }
  | { kind: 'finishResynchronization' };

/** One part of one disk's log of a cycle; parts of one log touch different frames and may be applied at the same time. */
export interface CycleSlice {
  diskIndex: number;
  sliceIndex: number;
  sliceCount: number;
}

/** Why an item stopped applying: set together with `resyncRequired`, so that nothing is tried again before a resync. */
export const applyFailedReason = 'applyFailed';

/** Pieces that one round applies: bounds what a crash repeats. */
export const segmentsInRoundMax = 8;
/** A log above this is applied in several parts at once. */
const sliceBytes = 32 * 1024 * 1024;
const slicesOfLogMax = 16;
/** Parts that one activity applies one after the other. */
const slicesInBatchMax = 8;

/** What the row says of an item whose apply side has work under `epoch`. */
export function planNextStep(
  item: ProtectedItem | undefined,
  asked: { protectionId: string; epoch: number },
  rows: {
    /** Received and not yet applied pieces, in any order. */
    segments: readonly { diskIndex: number; fromBytes: number; toBytes: number }[];
    /** The received manifest that follows the applied cycle. */
    nextManifest: CycleManifest | undefined;
  },
): ReplicationStep {
  if (item?.protectionId !== asked.protectionId || item.replication.epoch !== asked.epoch) {
    return { kind: 'superseded' };
  }
  const { phase } = item.replication;
  if (isBlocked(item)) return { kind: 'blocked' };
  switch (phase) {
    case 'initialReplication':
    case 'resynchronization':
      return baseStep(item, rows.segments) ?? cycleStep(item, rows.nextManifest);
    case 'delta':
      return cycleStep(item, rows.nextManifest);
    case 'none':
    case 'stopped':
    case 'failback':
      return { kind: 'superseded' };
  }
}

/**
 * Nothing more may be written to the disks: a log was damaged, or they are torn and nobody mends them now, or what mends them
 * ran into the same. Or writing failed for a reason that does not pass by itself, and no operator has resumed replication yet.
 */
export function isBlocked(item: ProtectedItem): boolean {
  const { phase, resyncRequired, torn, lastError } = item.replication;
  if (lastError?.blocking === true) return true;
  return resyncRequired?.reason === applyFailedReason || (torn && phase !== 'resynchronization');
}

/** The next pieces of the base; undefined once every disk has all of it. */
function baseStep(
  item: ProtectedItem,
  segments: readonly { diskIndex: number; fromBytes: number; toBytes: number }[],
): ReplicationStep | undefined {
  let complete = true;
  for (const [diskIndex, disk] of item.disks.entries()) {
    if (disk.baseAppliedThroughBytes >= disk.sourceSizeBytes) continue;
    complete = false;
    const pieces = contiguous(
      segments.filter((segment) => segment.diskIndex === diskIndex),
      disk.baseAppliedThroughBytes,
    );
    if (pieces.length > 0) return { kind: 'applySegments', diskIndex, segments: pieces };
  }
  return complete ? undefined : { kind: 'idle' };
}

function contiguous(
  segments: readonly { fromBytes: number; toBytes: number }[],
  from: number,
): { fromBytes: number; toBytes: number }[] {
  const pieces: { fromBytes: number; toBytes: number }[] = [];
  let at = from;
  for (const { fromBytes, toBytes } of [...segments].sort((a, b) => a.fromBytes - b.fromBytes)) {
    if (fromBytes !== at || pieces.length === segmentsInRoundMax) break;
    pieces.push({ fromBytes, toBytes });
    at = toBytes;
  }
  return pieces;
}

/** The received cycle that follows the applied one. A failover asks for this with its own epoch after it fixed the received set. */
export function cycleStep(item: ProtectedItem, manifest: CycleManifest | undefined): ReplicationStep {
  if (isBlocked(item)) return { kind: 'blocked' };
  const { appliedCycle, receivedCycle, baseClosedByCycle, phase } = item.replication;
  if (sendsBase(phase) && baseClosedByCycle !== undefined && appliedCycle >= baseClosedByCycle) {
    return { kind: phase === 'initialReplication' ? 'finishInitialReplication' : 'finishResynchronization' };
  }
  if (appliedCycle >= receivedCycle || manifest?.cycle !== appliedCycle + 1) return { kind: 'idle' };
  // Before the base is closed the disks hold no instant of the VM: cycles are applied, no point is made.
  const seal = baseClosedByCycle !== undefined && manifest.cycle >= baseClosedByCycle;
  return { kind: 'applyCycle', cycle: manifest.cycle, seal, batches: planSlices(item, manifest) };
}

/** The logs of a cycle cut into parts, and the parts dealt to activities. */
export function planSlices(item: ProtectedItem, manifest: CycleManifest): CycleSlice[][] {
  const large: CycleSlice[][] = [];
  const small: CycleSlice[] = [];
  for (const { diskId, log } of manifest.disks) {
    const diskIndex = item.disks.findIndex((disk) => disk.diskId === diskId);
    if (log === null || diskIndex < 0) continue;
    const sliceCount = Math.min(slicesOfLogMax, Math.max(1, Math.ceil(log.lengthBytes / sliceBytes)));
    for (let sliceIndex = 0; sliceIndex < sliceCount; sliceIndex++) {
      const slice = { diskIndex, sliceIndex, sliceCount };
      if (sliceCount > 1) large.push([slice]);
      else small.push(slice);
    }
  }
  for (let index = 0; index < small.length; index += slicesInBatchMax) {
    large.push(small.slice(index, index + slicesInBatchMax));
  }
  return large;
}

/** Disks whose blob changes with this cycle's point: they are fenced to the cycle and get a snapshot. */
export function disksToSnapshot(item: ProtectedItem, manifest: CycleManifest): number[] {
  return item.disks.flatMap((disk, diskIndex) => {
    const changed = manifest.disks.some(({ diskId, log }) => diskId === disk.diskId && log !== null);
    return changed || disk.lastSnapshot === undefined ? [diskIndex] : [];
  });
}
