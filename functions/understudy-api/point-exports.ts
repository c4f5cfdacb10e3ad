import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { VaultId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../../core/domain/recovery-point/recovery-point.js';
import { decideAndCommit, insert, list, read, replace, type Stored } from '../../core/records/access.js';
import { rows, type PointExport } from '../../core/records/rows.js';
import { lastSegment } from '../arm/arm-id.js';
import { notFound, operation, operationWithBody, param, type Call } from '../arm/operation.js';
import { ApiError } from '../http/api-error.js';
import { endExport, exportPin } from '../timers/sweep.js';
import { armIdWithinItem, itemWithin, vaultIdOfQuery } from './item-reference.js';

/** One SAS a disk lives as long as any SAS of ours; a longer download asks again with the same exportId. */
const exportGrantSeconds = 15 * 60;
const vhdFooterBytes = 512;

const exportBody = z.object({
  recoveryPointId: armIdWithinItem('a recovery point', 'recoveryPoints'),
  /** Of a running export: new SAS tokens for the same point. */
  exportId: z.uuid().optional(),
});

async function findPoint(
  call: Call,
  armId: string,
): Promise<{ vaultId: VaultId; item: ProtectedItem; point: Stored<RecoveryPoint> }> {
  const { vaultId, stored: item } = await itemWithin(call, armId);
  const points = await list(call.app.table, rows.points(vaultId, item.value.itemId));
  const pointName = lastSegment(armId).toLowerCase();
  const point = points.find(
    ({ value }) =>
      value.recoveryPointId === pointName && value.state === 'ready' && value.protectionId === item.value.protectionId,
  );
  if (point === undefined) throw notFound('recovery point', pointName, 'List the recovery points of the item.');
  return { vaultId, item: item.value, point };
}

/** Pins the point until the export ends or its tokens do; `exportId` renews. */
async function pin(
  call: Call,
  armId: string,
  exportId: string,
): Promise<{ item: ProtectedItem; point: RecoveryPoint }> {
  const { vaultId, item } = await findPoint(call, armId);
  const exportRef = rows.pointExport(vaultId, exportId);
  const point = await decideAndCommit(call.app.table, exportRef.partition, async () => {
    const found = (await findPoint(call, armId)).point;
    const stored = await read(call.app.table, exportRef);
    if (stored !== undefined && stored.value.recoveryPointId !== found.value.recoveryPointId) {
      throw new ApiError({
        code: 'US1021',
        armCode: 'Conflict',
        httpStatus: 409,
        target: '$.exportId',
        message: `export ${exportId} is of recovery point ${stored.value.recoveryPointId}`,
        recommendedAction: 'Leave exportId out to begin another export.',
      });
    }
    const row: PointExport = {
      exportId,
      itemId: item.itemId,
      cycle: found.value.cycle,
      recoveryPointId: found.value.recoveryPointId,
      expiresAt: call.app.systemNow().add({ seconds: exportGrantSeconds }).toString(),
    };
    const pinnedBy = [...new Set([...found.value.pinnedBy, exportPin(exportId)])];
    return {
      operations: [
        replace(found, { ...found.value, pinnedBy }),
        stored === undefined ? insert(exportRef, row) : replace(stored, row),
      ],
      result: found.value,
    };
  });
  return { item, point };
}

async function beginExport(call: Call, body: z.output<typeof exportBody>) {
  const exportId = body.exportId ?? randomUUID();
  const { item, point } = await pin(call, body.recoveryPointId, exportId);
  const disks = await Promise.all(
    point.disks.map(async ({ diskId, snapshotId }) => {
      const disk = item.disks.find((candidate) => candidate.diskId === diskId);
      if (disk === undefined) throw notFound('disk', diskId);
      const grant = await call.app.replicas.grantRead(disk.replica, snapshotId, exportGrantSeconds);
      return {
        diskId,
        name: disk.name,
        isOsDisk: disk.isOsDisk,
        lun: disk.lun,
        /** Of the VHD file, its footer included. */
        lengthBytes: disk.replicaSizeBytes + vhdFooterBytes,
        url: grant.url,
        expiresAt: grant.expiresAt,
      };
    }),
  );
  return {
    status: 201,
    body: { exportId, recoveryPointId: body.recoveryPointId, recoveryPointTime: point.takenAt, disks },
  };
}

export const pointExportOperations = [
  operationWithBody(
    'understudy.exports.create',
    'POST',
    '/understudy/v1/exports',
    {
      summary:
        'Pins a recovery point and gives one short read SAS for each of its disks (fixed VHD); with exportId, new ones',
      request: '{ recoveryPointId, exportId? }',
      response:
        '{ exportId, recoveryPointTime, disks: [{ diskId, name, isOsDisk, lun, lengthBytes, url, expiresAt }] }',
      role: 'operator',
      body: exportBody,
    },
    beginExport,
  ),
  operation(
    'understudy.exports.delete',
    'DELETE',
    '/understudy/v1/exports/{exportId}',
    { summary: 'Ends an export: its point is no longer pinned', query: ['vaultId'], role: 'operator' },
    async (call) => {
      const vaultId = vaultIdOfQuery(call);
      const stored = await read(call.app.table, rows.pointExport(vaultId, param(call, 'exportId')));
      if (stored !== undefined) await endExport(call.app, vaultId, stored.value);
      return { status: 204 };
    },
  ),
];
