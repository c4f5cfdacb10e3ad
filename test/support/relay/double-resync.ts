import type { z } from 'zod';
import type { DigestRegion } from '../../../core/dataplane/resync/digest-file.js';
import { asJobName } from '../../../core/domain/ids.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { digestRequest, ResyncScope } from '../../../core/domain/relay-protocol/wire.js';
import { checkEpoch } from '../../../core/domain/replication/acceptance.js';
import { conflictError } from '../../../core/domain/replication/conflict.js';
import { resyncRegionBytes } from '../../../core/domain/replication/resync-geometry.js';

/** What the app's stand-in knows of a resynchronization. */
export interface Scope {
  groupBytes: number;
  bitmap: Buffer;
}

export const readScopes = (scopes: readonly ResyncScope[]): Map<string, Scope> =>
  new Map(
    scopes.map(({ diskId, groupBytes, bitmap }) => [diskId, { groupBytes, bitmap: Buffer.from(bitmap, 'base64') }]),
  );

/** As the app does it: a new epoch, torn disks, and the replica named by what it holds whole. */
export function beginResynchronization(item: ProtectedItem, startedAt: string): ProtectedItem {
  const { resyncRequired: _, checkpointAt: __, baseClosedByCycle: ___, ...replication } = item.replication;
  const { epoch, receivedCycle, appliedCycle } = replication;
  const changedSince = { epoch, cycle: appliedCycle };
  return {
    ...item,
    disks: item.disks.map((disk) => ({
      ...disk,
      baseReceivedThroughBytes: 0,
      baseAppliedThroughBytes: 0,
      digestedThroughBytes: 0,
    })),
    replication: {
      ...replication,
      phase: 'resynchronization',
      epoch: epoch + 1,
      baseCycle: receivedCycle,
      torn: true,
      resync: { jobName: asJobName('resync'), startedAt, cause: 'requested', changedSince },
    },
  };
}

/** The checksums of one more region can be read, from what is received on. */
export function digestNextRegion(item: ProtectedItem, diskId: string): ProtectedItem {
  const disks = item.disks.map((disk) => {
    if (disk.diskId !== diskId) return disk;
    const fromBytes = Math.max(disk.digestedThroughBytes, disk.baseReceivedThroughBytes);
    return { ...disk, digestedThroughBytes: Math.min(disk.sourceSizeBytes, fromBytes + resyncRegionBytes) };
  });
  return { ...item, disks };
}

/** The region that the relay asks for, if its checksums may be asked for. */
export function digestedRegion(item: ProtectedItem, request: z.output<typeof digestRequest>): DigestRegion {
  const superseded = checkEpoch(item, request);
  if (superseded) throw conflictError(superseded);
  const { diskId, fromBytes, protectionId, epoch } = request;
  const disk = item.disks.find((each) => each.diskId === diskId);
  if (disk === undefined || fromBytes >= disk.digestedThroughBytes || fromBytes % resyncRegionBytes !== 0) {
    throw new Error(`no checksums of disk ${diskId} from ${fromBytes} on`);
  }
  return { protectionId, diskId, epoch, diskSizeBytes: disk.sourceSizeBytes, fromBytes };
}
