import { randomBytes } from 'node:crypto';
import type { z } from 'zod';
import { asItemId, type DiskId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type {
  CycleManifest,
  SegmentAnnouncement,
  TransferLogRef,
  UploadTarget,
  cycleResponse,
  digestRequest,
  digestResponse,
  baseStartedRequest,
  resyncRequiredRequest,
  segmentResponse,
  uploadRequest,
  uploadResponse,
} from '../../core/domain/relay-protocol/wire.js';
import { checkEpoch, sendsBase } from '../../core/domain/replication/acceptance.js';
import {
  digestBlobName,
  transferBlobName,
  transferStorageAccountId,
} from '../../core/domain/replication/blob-names.js';
import { conflictError, type ReplicationConflict } from '../../core/domain/replication/conflict.js';
import { resyncRegionBytes } from '../../core/domain/replication/resync-geometry.js';
import { uploadGrantSeconds } from '../../core/ports/transfer-store.js';
import { read } from '../../core/records/access.js';
import {
  markBaseStarted,
  markResyncRequired,
  receiveCycle,
  receiveSegment,
  type Received,
} from '../../core/records/receive-cycle.js';
import { rows, type RegisteredRelay } from '../../core/records/rows.js';
import type { App, AppInvocation } from '../app.js';
import { ApiError } from '../http/api-error.js';
import { tellHealth } from '../tell-health.js';
import { wake } from '../wake.js';

/** How many cycles ahead of the last announced one a relay may upload. */
const cyclesAheadMax = 1000;

/** The item, if it stands on a host that this relay speaks for; what others own does not exist for it. */
export async function ownItem(app: App, relay: RegisteredRelay, itemId: string): Promise<ProtectedItem> {
  const item = await read(app.table, rows.item(relay.vaultId, asItemId(itemId)));
  if (item?.value.relayId === relay.relayId) return item.value;
  throw new ApiError({
    code: 'US1107',
    httpStatus: 404,
    target: itemId,
    message: `relay ${relay.relayId} has no item ${itemId}`,
    possibleCauses: 'Replication of the virtual machine was disabled, or another relay speaks for its host.',
    recommendedAction: 'Read the assignments again and drop what they do not name.',
  });
}

function uploadConflict(item: ProtectedItem, request: z.output<typeof uploadRequest>): ReplicationConflict | undefined {
  const superseded = checkEpoch(item, request);
  if (superseded !== undefined) return superseded;
  const { phase, stopReason, receivedCycle } = item.replication;
  if (phase !== 'delta' && !sendsBase(phase)) return { kind: 'notReplicating', phase, stopReason };
  const { target } = request;
  const disk = item.disks.find(({ diskId }) => diskId === target.diskId);
  if (disk === undefined) return { kind: 'diskMismatch', missing: [], unexpected: [target.diskId] };
  switch (target.kind) {
    case 'cycle':
      if (target.cycle <= receivedCycle) return { kind: 'stale', receivedCycle, announced: target.cycle };
      if (target.cycle > receivedCycle + cyclesAheadMax) {
        return { kind: 'gap', expected: receivedCycle + 1, announced: target.cycle };
      }
      return undefined;
    case 'segment':
      if (!sendsBase(phase)) return { kind: 'notReplicating', phase, stopReason };
      if (target.fromBytes < disk.sourceSizeBytes) return undefined;
      return {
        kind: 'badRange',
        diskId: disk.diskId,
        fromBytes: target.fromBytes,
        toBytes: target.fromBytes,
        sizeBytes: disk.sourceSizeBytes,
      };
  }
}

/** A SAS for one blob that the app names. Each attempt has a name of its own; a running one is renewed by its id. */
export async function grantUpload(
  app: App,
  relay: RegisteredRelay,
  itemId: string,
  request: z.output<typeof uploadRequest>,
): Promise<z.output<typeof uploadResponse>> {
  const item = await ownItem(app, relay, itemId);
  const conflict = uploadConflict(item, request);
  if (conflict !== undefined) throw conflictError(conflict);
  const uploadId = request.uploadId ?? randomBytes(16).toString('hex');
  const blobName = transferBlobName(item.protectionId, request.epoch, request.target, uploadId);
  const grant = await app.transfers.grantUpload(transferStorageAccountId(item), blobName, uploadGrantSeconds);
  return { uploadId, url: grant.url, expiresAt: grant.expiresAt };
}

/** What the replica's side of a comparison found, for the relay to read. */
export async function grantDigests(
  app: App,
  relay: RegisteredRelay,
  itemId: string,
  request: z.output<typeof digestRequest>,
): Promise<z.output<typeof digestResponse>> {
  const item = await ownItem(app, relay, itemId);
  const superseded = checkEpoch(item, request);
  if (superseded !== undefined) throw conflictError(superseded);
  const { phase, stopReason } = item.replication;
  if (phase !== 'resynchronization' && phase !== 'failback')
    throw conflictError({ kind: 'notReplicating', phase, stopReason });
  const { diskId, fromBytes } = request;
  const disk = item.disks.find((each) => each.diskId === diskId);
  if (disk === undefined) throw conflictError({ kind: 'diskMismatch', missing: [], unexpected: [diskId] });
  const { digestedThroughBytes } = disk;
  if (fromBytes % resyncRegionBytes !== 0 || fromBytes >= digestedThroughBytes) {
    throw conflictError({ kind: 'notDigested', diskId, fromBytes, digestedThroughBytes });
  }
  const blobName = digestBlobName(item.protectionId, request.epoch, disk.diskId, fromBytes);
  return app.transfers.grantRead(transferStorageAccountId(item), blobName, uploadGrantSeconds);
}

/** The relay deletes its logs on our word: so the blob must lie there as announced before the row is committed. */
async function checkUploaded(
  app: App,
  item: ProtectedItem,
  epoch: number,
  target: UploadTarget,
  log: TransferLogRef,
): Promise<void> {
  const blobName = transferBlobName(item.protectionId, epoch, target, log.uploadId);
  const found = await app.transfers.stat(transferStorageAccountId(item), blobName);
  if (found?.etag === log.etag && found.lengthBytes === log.lengthBytes) return;
  throw new ApiError({
    code: 'US1113',
    retry: 'later',
    httpStatus: 409,
    target: blobName,
    message:
      `upload ${log.uploadId} was announced with ${log.lengthBytes} bytes, ` +
      (found === undefined ? 'but nothing lies there' : `but ${found.lengthBytes} bytes with another ETag lie there`),
    possibleCauses: 'The upload was not committed, or was written again after it was announced.',
    recommendedAction: 'Ask for a new upload, send the log again, and announce that.',
    details: { expected: { etag: log.etag, lengthBytes: log.lengthBytes }, found },
  });
}

/** The stored outcome, or the conflict as a refusal; either way the item's workflows hear of it. */
async function settled(app: AppInvocation, relay: RegisteredRelay, received: Received): Promise<ProtectedItem> {
  if (received.kind === 'conflict') throw conflictError(received.conflict);
  await wake(app, relay.vaultId, received.item);
  return received.item;
}

export async function announceSegment(
  app: AppInvocation,
  relay: RegisteredRelay,
  itemId: string,
  segment: SegmentAnnouncement,
): Promise<z.output<typeof segmentResponse>> {
  const item = await ownItem(app, relay, itemId);
  const disk = (of: ProtectedItem) => of.disks.find(({ diskId }) => diskId === segment.diskId);
  // A repeat of what is applied already has no blob any more.
  const isNew =
    checkEpoch(item, segment) === undefined && segment.toBytes > (disk(item)?.baseReceivedThroughBytes ?? 0);
  if (isNew && segment.log !== null) {
    const target = { kind: 'segment', fromBytes: segment.fromBytes, diskId: segment.diskId } as const;
    await checkUploaded(app, item, segment.epoch, target, segment.log);
  }
  const stored = await settled(
    app,
    relay,
    await receiveSegment(app.table, app.clock, relay.vaultId, item.itemId, segment),
  );
  return {
    receivedThroughBytes: disk(stored)?.baseReceivedThroughBytes ?? 0,
    appliedThroughBytes: disk(stored)?.baseAppliedThroughBytes ?? 0,
  };
}

export async function announceCycle(
  app: AppInvocation,
  relay: RegisteredRelay,
  itemId: string,
  manifest: CycleManifest,
): Promise<z.output<typeof cycleResponse>> {
  const item = await ownItem(app, relay, itemId);
  if (checkEpoch(item, manifest) === undefined && manifest.cycle > item.replication.receivedCycle) {
    const known = new Set<DiskId | string>(item.disks.map(({ diskId }) => diskId));
    await Promise.all(
      manifest.disks.flatMap(({ diskId, log }) =>
        log === null || !known.has(diskId)
          ? []
          : [checkUploaded(app, item, manifest.epoch, { kind: 'cycle', cycle: manifest.cycle, diskId }, log)],
      ),
    );
  }
  const stored = await settled(
    app,
    relay,
    await receiveCycle(app.table, app.clock, relay.vaultId, item.itemId, manifest),
  );
  return { receivedCycle: stored.replication.receivedCycle, appliedCycle: stored.replication.appliedCycle };
}

export async function announceBaseStarted(
  app: AppInvocation,
  relay: RegisteredRelay,
  itemId: string,
  report: z.output<typeof baseStartedRequest>,
): Promise<void> {
  const item = await ownItem(app, relay, itemId);
  await settled(app, relay, await markBaseStarted(app.table, relay.vaultId, item.itemId, report));
}

export async function announceResyncRequired(
  app: AppInvocation,
  relay: RegisteredRelay,
  itemId: string,
  report: z.output<typeof resyncRequiredRequest>,
): Promise<void> {
  const item = await ownItem(app, relay, itemId);
  await settled(app, relay, await markResyncRequired(app.table, relay.vaultId, item.itemId, report));
  await tellHealth(app, relay.vaultId, item.itemId);
}
