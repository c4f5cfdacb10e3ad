import { UnderstudyError } from '../core/domain/errors.js';
import type { ProtectedItem, ReplicaDisk } from '../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../core/domain/recovery-point/recovery-point.js';
import { planRetention } from '../core/domain/recovery-point/retention.js';
import {
  digestBlobName,
  transferPrefixOfCycle,
  transferPrefixOfSegment,
  transferStorageAccountId,
} from '../core/domain/replication/blob-names.js';
import type { Fence } from '../core/domain/replication/fence.js';
import { disksToSnapshot } from '../core/domain/replication/next-step.js';
import { defaultRecoveryPointHistoryHours } from '../core/domain/policy/replication-policy.js';
import { FencedError, type ReplicaStore } from '../core/ports/replica-store.js';
import { StateConflictError, type RowOperation, type StateTable } from '../core/ports/state-table.js';
import { insert, list, read, remove, replace, type Stored } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import type { EpochWorkflowInput } from '../core/domain/workflows/workflows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { readCycle, withAppliedCycle } from './replication-work.js';
import { dropStrays } from './strays.js';

type SealInput = EpochWorkflowInput & { cycle: number; recoveryPointId: string };

/**
 * Makes the recovery point of a cycle that every disk has applied: an intent row, a snapshot of each disk that changed, and
 * the point's row together with the item's (docs/architecture.md, rules 2 and 3).
 */
export const makeSealRecoveryPoint =
  ({
    table,
    replicas,
    clock,
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'clock'>): Activity<typeof activities.sealRecoveryPoint> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    const item = stored.value;
    if (item.replication.appliedCycle >= input.cycle) return done;
    const received = await readCycle(table, input.vaultId, item, input.cycle);
    if (!received || item.replication.appliedCycle !== input.cycle - 1) return superseded;
    const { manifest } = received.value;

    const intent = await writeIntent(table, input, manifest);
    const fence: Fence = { epoch: input.epoch, cycle: input.cycle };
    const snapshots = new Map<number, string>();
    try {
      for (const diskIndex of disksToSnapshot(item, manifest)) {
        const disk = item.disks[diskIndex];
        if (disk) snapshots.set(diskIndex, await snapshotOf(replicas, disk, fence, intent.isNew));
      }
    } catch (error) {
      if (error instanceof FencedError) return superseded;
      throw error;
    }

    const now = (await clock.now()).toString();
    const pointRef = rows.point(input.vaultId, input.itemId, input.cycle);
    const change = await changeItem(table, input, async (current) => {
      if (current.replication.appliedCycle >= input.cycle) return { kind: 'unchanged' };
      const row = await read(table, pointRef);
      // A newer epoch took the intent over: the point is its to make.
      if (row?.value.recoveryPointId !== intent.recoveryPointId) return { kind: 'superseded' };
      const applied = withPoint(withAppliedCycle(current, received.value), snapshots, fence, {
        appliedTakenAt: manifest.takenAt,
        appliedAt: now,
      });
      const point: RecoveryPoint = {
        ...row.value,
        state: 'ready',
        disks: applied.disks.map((disk) => ({ diskId: disk.diskId, snapshotId: disk.lastSnapshot?.snapshotId ?? '' })),
      };
      const operations: RowOperation[] = [
        replace(row, point),
        { kind: 'delete', rowKey: rows.cycle(input.vaultId, input.itemId, input.cycle - 1).rowKey },
      ];
      return { kind: 'changed', item: applied, operations };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

/** The intent of this epoch; `isNew` when no run before this one can have made a snapshot for it. */
async function writeIntent(
  table: StateTable,
  input: SealInput,
  manifest: { takenAt: string; consistency: RecoveryPoint['consistency'] },
): Promise<{ recoveryPointId: string; isNew: boolean }> {
  const ref = rows.point(input.vaultId, input.itemId, input.cycle);
  const intent: RecoveryPoint = {
    recoveryPointId: input.recoveryPointId,
    protectionId: input.protectionId,
    epoch: input.epoch,
    cycle: input.cycle,
    takenAt: manifest.takenAt,
    consistency: manifest.consistency,
    state: 'intent',
    disks: [],
    pinnedBy: [],
  };
  for (;;) {
    const existing = await read(table, ref);
    if (existing?.value.protectionId === input.protectionId && existing.value.epoch === input.epoch) {
      return { recoveryPointId: existing.value.recoveryPointId, isNew: false };
    }
    try {
      await table.transact(ref.partition, [existing ? replace(existing, intent) : insert(ref, intent)]);
      return { recoveryPointId: intent.recoveryPointId, isNew: true };
    } catch (error) {
      if (!(error instanceof StateConflictError)) throw error;
    }
  }
}

/** A late run of a slice may move the ETag between our look and the snapshot, with the same bytes; more often is wrong. */
const snapshotAttemptsMax = 5;

/**
 * One snapshot of the disk as the cycle left it. A run that died after its snapshot left one with this fence: since the next
 * cycle opens only after this one is sealed, it holds the same bytes and is taken.
 */
async function snapshotOf(replicas: ReplicaStore, disk: ReplicaDisk, fence: Fence, isNew: boolean): Promise<string> {
  const same = (found: Fence | undefined): boolean => found?.epoch === fence.epoch && found.cycle === fence.cycle;
  if (!isNew) {
    const earlier = (await replicas.listSnapshots(disk.replica)).find((snapshot) => same(snapshot.fence));
    if (earlier) return earlier.snapshotId;
  }
  for (let attempt = 1; ; attempt++) {
    const properties = await replicas.properties(disk.replica);
    if (!properties) throw replicaMissing(disk);
    if (!same(properties.fence)) throw new FencedError(disk.replica, fence, properties.fence);
    try {
      return (await replicas.createSnapshot(disk.replica, { ifMatch: properties.etag, fence })).snapshotId;
    } catch (error) {
      if (!(error instanceof FencedError) || attempt === snapshotAttemptsMax) throw error;
    }
  }
}

const replicaMissing = (disk: ReplicaDisk): UnderstudyError =>
  new UnderstudyError({
    code: 'US3021',
    message: `replica disk ${disk.replica.container}/${disk.replica.blobName} of ${disk.name} is not there`,
    possibleCauses: 'The blob was deleted outside of Understudy.',
    recommendedAction: 'Disable replication of the virtual machine and enable it again.',
  });

function withPoint(
  item: ProtectedItem,
  snapshots: ReadonlyMap<number, string>,
  fence: Fence,
  times: { appliedTakenAt: string; appliedAt: string },
): ProtectedItem {
  return {
    ...item,
    replication: { ...item.replication, ...times },
    disks: item.disks.map((disk, diskIndex) => {
      const snapshotId = snapshots.get(diskIndex);
      return snapshotId === undefined ? disk : { ...disk, lastSnapshot: { snapshotId, ...fence } };
    }),
  };
}

/** Deletes the transfer logs, all attempts of them, of what is in the disks. */
export const makeCleanUpTransferred =
  ({
    table,
    transfers,
  }: Pick<ActivityDependencies, 'table' | 'transfers'>): Activity<typeof activities.cleanUpTransferred> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    // Another life has prefixes of its own; this one's leftovers go with its replica.
    if (stored?.value.protectionId !== input.protectionId) return {};
    const item = stored.value;
    const accountId = transferStorageAccountId(item);
    for (const cycle of input.cycles) {
      if (cycle > item.replication.appliedCycle) continue;
      await transfers.deleteBelow(accountId, transferPrefixOfCycle(input.protectionId, input.epoch, cycle));
    }
    const disk = item.disks[input.segments?.diskIndex ?? -1];
    for (const fromBytes of input.segments?.fromBytes ?? []) {
      if (!disk || fromBytes >= disk.baseAppliedThroughBytes) continue;
      const { protectionId, epoch } = input;
      await transfers.deleteBelow(accountId, transferPrefixOfSegment(protectionId, epoch, disk.diskId, fromBytes));
      if (item.replication.phase === 'resynchronization') {
        await transfers.deleteBelow(accountId, digestBlobName(protectionId, epoch, disk.diskId, fromBytes));
      }
    }
    return {};
  };

/** What crashes leave behind is small: one cycle in so many looks for it. */
const strayLookCycles = 12;

/** Points that one run drops: bounds an activity after a policy's history was shortened. */
const dropsInRunMax = 25;

export const makeApplyRetention =
  ({
    table,
    replicas,
    transfers,
    clock,
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'transfers' | 'clock'>): Activity<
    typeof activities.applyRetention
  > =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return { droppedCount: 0 };
    const policy = await read(table, rows.policy(input.vaultId, stored.value.policyName));
    const points = (await list(table, rows.points(input.vaultId, input.itemId))).filter(
      ({ value }) => value.protectionId === input.protectionId,
    );
    const history = {
      recoveryPointHistoryHours: policy?.value.recoveryPointHistoryHours ?? defaultRecoveryPointHistoryHours,
    };
    const planned = planRetention(
      points.map(({ value }) => value),
      history,
      await clock.now(),
    );
    const dropping = points.filter(({ value }) => value.state === 'deleting' || planned.includes(value));
    let droppedCount = 0;
    for (const point of dropping.slice(0, dropsInRunMax)) {
      if (await dropPoint(table, replicas, stored.value, point)) droppedCount++;
    }
    if (stored.value.replication.appliedCycle % strayLookCycles === 0) {
      await dropStrays({ table, replicas, transfers }, input, stored.value);
    }
    return { droppedCount };
  };

/**
 * Marks the point under its ETag, deletes the snapshots that no other point refers to, then the row. False when the point
 * changed meanwhile, for example because a failover holds it now.
 */
export async function dropPoint(
  table: StateTable,
  replicas: ReplicaStore,
  item: ProtectedItem,
  point: Stored<RecoveryPoint>,
): Promise<boolean> {
  const { partition } = point.ref;
  let etag = point.etag;
  if (point.value.state !== 'deleting') {
    try {
      const [marked] = await table.transact(partition, [replace(point, { ...point.value, state: 'deleting' })]);
      etag = marked ?? etag;
    } catch (error) {
      if (error instanceof StateConflictError) return false;
      throw error;
    }
  }
  // Read after the mark: a point made meanwhile may refer to a snapshot of an unchanged disk.
  const prefix = point.ref.rowKey.slice(0, point.ref.rowKey.lastIndexOf('!') + 1);
  const others = (await list<RecoveryPoint>(table, { partition, prefix })).filter(
    ({ ref }) => ref.rowKey !== point.ref.rowKey,
  );
  for (const { diskId, snapshotId } of point.value.disks) {
    const disk = item.disks.find((each) => each.diskId === diskId);
    const referred = others.some(({ value }) =>
      value.disks.some((other) => other.diskId === diskId && other.snapshotId === snapshotId),
    );
    if (disk && !referred) await replicas.deleteSnapshot(disk.replica, snapshotId);
  }
  try {
    await table.transact(partition, [remove({ ...point, etag })]);
  } catch (error) {
    // A second run of this activity was faster.
    if (!(error instanceof StateConflictError)) throw error;
  }
  return true;
}
