import { withCycleCounted } from '../health/statistics.js';
import type { ProtectedItem, ReplicaDisk, ReplicationPhase } from '../protected-item/protected-item.js';
import type { CycleManifest, ResyncScope, SegmentAnnouncement, TransferLogRef } from '../relay-protocol/wire.js';
import type { ReplicationConflict } from './conflict.js';
import { resyncChunkBytes } from './resync-geometry.js';

/**
 * What becomes of something that a relay announced. `accepted` carries the item as it must be stored, in one transaction
 * with the announcement's own row; `repeat` means that it is stored already (docs/architecture.md, rule 4).
 */
export type Acceptance =
  { kind: 'accepted'; item: ProtectedItem } | { kind: 'repeat' } | { kind: 'conflict'; conflict: ReplicationConflict };

const refused = (conflict: ReplicationConflict): Acceptance => ({ kind: 'conflict', conflict });

/** Is the sender speaking of the present life and epoch of the item? */
export function checkEpoch(
  item: ProtectedItem,
  sender: { protectionId: string; epoch: number },
): ReplicationConflict | undefined {
  if (item.protectionId === sender.protectionId && item.replication.epoch === sender.epoch) return undefined;
  return {
    kind: 'superseded',
    currentEpoch: item.replication.epoch,
    announcedEpoch: sender.epoch,
    stopReason: item.replication.stopReason,
  };
}

/**
 * A manifest is accepted only as last + 1 or as an identical repeat of a cycle whose row still stands.
 * `stored` is the row of the same number, if there is one.
 */
export function acceptManifest(
  item: ProtectedItem,
  stored: { manifestDigest: string } | undefined,
  manifest: CycleManifest,
  manifestDigest: string,
  receivedAt: string,
): Acceptance {
  const superseded = checkEpoch(item, manifest);
  if (superseded) return refused(superseded);
  const { phase, stopReason, receivedCycle, baseClosedByCycle, resyncRequired, torn, sourceLock, finalCycle } =
    item.replication;
  if (phase !== 'delta' && !sendsBase(phase)) return refused({ kind: 'notReplicating', phase, stopReason });
  if (stored) {
    return stored.manifestDigest === manifestDigest
      ? { kind: 'repeat' }
      : refused({ kind: 'digestConflict', what: `cycle ${manifest.cycle}` });
  }
  if (manifest.cycle <= receivedCycle) return refused({ kind: 'stale', receivedCycle, announced: manifest.cycle });
  if (manifest.cycle !== receivedCycle + 1) {
    return refused({ kind: 'gap', expected: receivedCycle + 1, announced: manifest.cycle });
  }
  if (finalCycle !== undefined) return refused({ kind: 'afterFinal', finalCycle, announced: manifest.cycle });
  if (resyncRequired) return refused({ kind: 'resyncRequired', reason: resyncRequired.reason });
  if (torn && phase !== 'resynchronization') return refused({ kind: 'resyncRequired', reason: 'torn' });
  const mismatch = compareDisks(item.disks, manifest);
  if (mismatch) return refused(mismatch);
  if (item.replication.checkpointAt === undefined) {
    return refused({ kind: 'notReplicating', phase, stopReason: 'no checkpoint yet' });
  }
  if (manifest.closesBase) {
    if (baseClosedByCycle !== undefined) return refused({ kind: 'baseAlreadyClosed', byCycle: baseClosedByCycle });
    const incomplete = item.disks.find((disk) => disk.baseReceivedThroughBytes < disk.sourceSizeBytes);
    if (incomplete) {
      return refused({
        kind: 'baseIncomplete',
        diskId: incomplete.diskId,
        receivedThroughBytes: incomplete.baseReceivedThroughBytes,
        sizeBytes: incomplete.sourceSizeBytes,
      });
    }
  }
  return {
    kind: 'accepted',
    item: {
      ...item,
      replication: {
        ...withCycleCounted(item.replication, manifest, receivedAt),
        receivedCycle: manifest.cycle,
        // Until the base is closed, what was received adds up to no state of the VM: it does not count for RPO.
        ...(phase === 'delta' || baseClosedByCycle !== undefined || manifest.closesBase
          ? { receivedTakenAt: manifest.takenAt }
          : {}),
        receivedAt,
        ...(manifest.closesBase ? { baseClosedByCycle: manifest.cycle } : {}),
        // Of an earlier lock, the VM ran since: then it is a cycle like any other.
        ...(sourceLock !== undefined && manifest.finalOf === sourceLock ? { finalCycle: manifest.cycle } : {}),
      },
    },
  };
}

/** Is a base sent in this phase, with cycles meanwhile? */
export const sendsBase = (phase: ReplicationPhase): phase is 'initialReplication' | 'resynchronization' =>
  phase === 'initialReplication' || phase === 'resynchronization';

const sameLog = (a: TransferLogRef | null, b: TransferLogRef | null): boolean =>
  a?.digest === b?.digest && a?.etag === b?.etag;

/** What a resynchronization looks at must name groups of the item's own disks, each whole. */
export function checkScopes(
  item: ProtectedItem,
  scopes: readonly ResyncScope[] | undefined,
): ReplicationConflict | undefined {
  for (const { diskId, groupBytes, bitmap } of scopes ?? []) {
    const disk = item.disks.find((each) => each.diskId === diskId);
    if (!disk) return { kind: 'diskMismatch', missing: [], unexpected: [diskId] };
    const lengthBytes = Buffer.from(bitmap, 'base64').length;
    const fits = groupBytes > 0 && groupBytes % resyncChunkBytes === 0;
    const expected = fits ? Math.ceil(Math.ceil(disk.sourceSizeBytes / groupBytes) / 8) : 0;
    if (!fits || lengthBytes !== expected) return { kind: 'badScope', diskId, groupBytes, lengthBytes, expected };
  }
  const missing = item.disks.filter(({ diskId }) => !(scopes ?? []).some((scope) => scope.diskId === diskId));
  if (scopes === undefined || missing.length === 0) return undefined;
  return { kind: 'diskMismatch', missing: missing.map(({ diskId }) => diskId), unexpected: [] };
}

function compareDisks(disks: readonly ReplicaDisk[], manifest: CycleManifest): ReplicationConflict | undefined {
  const announced = manifest.disks.map(({ diskId }) => diskId);
  const missing = disks.map(({ diskId }): string => diskId).filter((diskId) => !announced.includes(diskId));
  const unexpected = announced.filter(
    (diskId, index) => !disks.some((disk) => disk.diskId === diskId) || announced.indexOf(diskId) !== index,
  );
  return missing.length + unexpected.length === 0 ? undefined : { kind: 'diskMismatch', missing, unexpected };
}

/**
 * A piece of a disk's base is accepted only where the last one ended. `stored` is the row of the same disk and offset; rows
 * of applied pieces are gone, so that a piece that lies wholly below the applied mark counts as repeated.
 */
export function acceptSegment(
  item: ProtectedItem,
  stored: { announcement: SegmentAnnouncement } | undefined,
  announcement: SegmentAnnouncement,
): Acceptance {
  const superseded = checkEpoch(item, announcement);
  if (superseded) return refused(superseded);
  const disk = item.disks.find(({ diskId }) => diskId === announcement.diskId);
  if (!disk) return refused({ kind: 'diskMismatch', missing: [], unexpected: [announcement.diskId] });
  const { fromBytes, toBytes } = announcement;
  if (toBytes <= fromBytes || toBytes > disk.sourceSizeBytes) {
    return refused({ kind: 'badRange', diskId: disk.diskId, fromBytes, toBytes, sizeBytes: disk.sourceSizeBytes });
  }
  if (stored) {
    return stored.announcement.toBytes === toBytes && sameLog(stored.announcement.log, announcement.log)
      ? { kind: 'repeat' }
      : refused({ kind: 'digestConflict', what: `disk ${disk.diskId} from byte ${fromBytes}` });
  }
  if (toBytes <= disk.baseAppliedThroughBytes) return { kind: 'repeat' };
  const { phase, stopReason, resyncRequired, checkpointAt } = item.replication;
  if (!sendsBase(phase) || checkpointAt === undefined) return refused({ kind: 'notReplicating', phase, stopReason });
  // Only a comparison can find that a piece needs nothing: the first copy of a disk has to send it.
  if (announcement.log === null && phase !== 'resynchronization') {
    return refused({ kind: 'segmentWithoutLog', diskId: disk.diskId, fromBytes });
  }
  if (resyncRequired) return refused({ kind: 'resyncRequired', reason: resyncRequired.reason });
  if (fromBytes !== disk.baseReceivedThroughBytes) {
    return refused({ kind: 'gap', expected: disk.baseReceivedThroughBytes, announced: fromBytes });
  }
  return {
    kind: 'accepted',
    item: {
      ...item,
      disks: item.disks.map((each) => (each === disk ? { ...disk, baseReceivedThroughBytes: toBytes } : each)),
    },
  };
}
