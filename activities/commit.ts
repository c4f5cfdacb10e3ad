import { transferPrefixOfProtection, transferStorageAccountId } from '../core/domain/replication/blob-names.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../core/domain/recovery-point/recovery-point.js';
import type { JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import type { ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import { list, read, replace, type Stored } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows, type RowsRef } from '../core/records/rows.js';
import type { Activity, ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { gone } from './failures.js';
import { dropChecksums } from './kept-checksums.js';
import { dropPoint } from './recovery-points.js';

export const makeCheckCommit =
  ({ table, compute }: Pick<ActivityDependencies, 'table' | 'compute'>): Activity<typeof activities.checkCommit> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || stored.value.activeJob?.jobName !== input.jobName) {
      return { kind: 'failed', failures: [gone(input.itemId)] };
    }
    const vmArmId = stored.value.failover?.vmArmId;
    if (vmArmId !== undefined && (await compute.getVm(vmArmId))) return { kind: 'met' };
    return {
      kind: 'failed',
      failures: [
        {
          code: 'US4009',
          message: `the virtual machine of the failover, ${vmArmId ?? 'never made'}, is not there`,
          possibleCauses: 'It was deleted outside of Understudy.',
          recommendedAction:
            'Nothing was deleted: the recovery points are kept. Recover the virtual machine from one of them by export.',
          retry: 'never',
        },
      ],
    };
  };

/** Points, or rows, that one run deletes. */
const deletedInRunMax = 20;

/** Commit fixes the point: all others go, with every snapshot and all that was received; the failover's own disks stay. */
export const makeDropReplicationLeftovers =
  ({
    table,
    replicas,
    transfers,
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'transfers'>): Activity<
    typeof activities.dropReplicationLeftovers
  > =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || stored.value.activeJob?.jobName !== input.jobName) return { remaining: false };
    const item = stored.value;

    const points = await list(table, rows.points(input.vaultId, input.itemId));
    for (const point of points.slice(0, deletedInRunMax)) {
      const free = await released(table, point, item.failover?.jobName);
      if (free) await dropPoint(table, replicas, item, free);
    }
    const cycles = await deleteRows(table, rows.cycles(input.vaultId, input.itemId));
    const segments = await deleteRows(table, rows.segments(input.vaultId, input.itemId));
    if (points.length > deletedInRunMax || cycles || segments) return { remaining: true };

    await deleteSnapshotsWithoutPoint(table, replicas, input, item);
    await transfers.deleteBelow(transferStorageAccountId(item), transferPrefixOfProtection(item.protectionId));
    await dropChecksums({ table, replicas }, { vaultId: input.vaultId, item });
    await changeItem(table, input, (current) => ({
      kind: 'changed',
      item: {
        ...current,
        disks: current.disks.map((disk) => {
          const { lastSnapshot: _, ...rest } = disk;
          return rest;
        }),
      },
    }));
    return { remaining: false };
  };

/** What crashes left behind, and what no point refers to any more; a point that an export holds keeps its own. */
async function deleteSnapshotsWithoutPoint(
  table: StateTable,
  replicas: ReplicaStore,
  input: JobWorkflowInput,
  item: ProtectedItem,
): Promise<void> {
  const held = (await list(table, rows.points(input.vaultId, input.itemId))).flatMap(({ value }) => value.disks);
  for (const disk of item.disks) {
    for (const { snapshotId } of await replicas.listSnapshots(disk.replica)) {
      if (held.some((each) => each.diskId === disk.diskId && each.snapshotId === snapshotId)) continue;
      await replicas.deleteSnapshot(disk.replica, snapshotId);
    }
  }
}

/** The point without the pin of the failover that is committed; undefined while someone else, an export, holds it. */
async function released(
  table: StateTable,
  point: Stored<RecoveryPoint>,
  jobName: string | undefined,
): Promise<Stored<RecoveryPoint> | undefined> {
  const pinnedBy = point.value.pinnedBy.filter((name) => name !== jobName);
  if (pinnedBy.length > 0) return undefined;
  if (point.value.pinnedBy.length === 0) return point;
  const value = { ...point.value, pinnedBy };
  const [etag] = await table.transact(point.ref.partition, [replace(point, value)]);
  return etag === undefined ? undefined : { ...point, value, etag };
}

/** Deletes a first batch of rows; true when there may be more. */
export async function deleteRows(table: StateTable, ref: RowsRef<unknown>): Promise<boolean> {
  const found = await list(table, ref, deletedInRunMax);
  if (found.length === 0) return false;
  await table.transact(
    ref.partition,
    found.map(({ ref: { rowKey } }) => ({ kind: 'delete' as const, rowKey })),
  );
  return true;
}
