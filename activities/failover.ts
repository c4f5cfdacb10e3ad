import { UnderstudyError } from '../core/domain/errors.js';
import { choosePoint } from '../core/domain/recovery-point/choice.js';
import { mayWork, undoing } from '../core/domain/protected-item/active-job.js';
import type { RecoveryPoint } from '../core/domain/recovery-point/recovery-point.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import type { JobName } from '../core/domain/ids.js';
import { failoverBlob } from '../core/domain/replication/blob-names.js';
import { failureOf, type WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { JobWorkflowInput, RecoveryPointChoice } from '../core/domain/workflows/workflows.js';
import { replicaBlobLengthBytes } from '../core/dataplane/vhd/fixed-vhd.js';
import { FencedError } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import { decideAndCommit, list, read, replace, type Stored } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows, vaultPartition } from '../core/records/rows.js';
import { superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities, CopySlice } from './contract.js';
import { refusals } from './failures.js';
import { readFailoverSource, warnOfSource } from './failover-source.js';
import { targetFailures } from './target-failures.js';

/** The points of the item's present life, newest first. */
export async function readPoints(table: StateTable, input: JobWorkflowInput): Promise<Stored<RecoveryPoint>[]> {
  const points = await list(table, rows.points(input.vaultId, input.itemId));
  return points.filter(({ value }) => value.protectionId === input.protectionId);
}

/** Every reason why this failover cannot be, before anything is taken away from replication. */
export const makeCheckFailover =
  ({
    table,
    clock,
    cloudInventory,
    compute,
  }: Pick<ActivityDependencies, 'table' | 'clock' | 'cloudInventory' | 'compute'>): Activity<
    typeof activities.checkFailover
  > =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const refused = refusals(owned(stored, input) ? stored.value : undefined, input);
    if (!stored || refused.length > 0) return { kind: 'failed', failures: refused };
    const failures: WorkflowFailure[] = [];
    try {
      await holdPoint(table, input);
    } catch (error) {
      if (!(error instanceof UnderstudyError)) throw error;
      failures.push(failureOf(error));
    }
    const failoverSource = await readFailoverSource(table, input.vaultId, stored.value);
    failures.push(...(await targetFailures({ cloudInventory, compute }, stored.value, failoverSource)));
    await warnOfSource({ table, clock, cloudInventory }, input, stored.value, failoverSource);
    return failures.length === 0 ? { kind: 'met' } : { kind: 'failed', failures };
  };

/**
 * Chooses the point, and pins it where it is not the newest: while the source is shut down, cycles go on and retention with
 * them, and the point could reach the end of its history.
 */
async function holdPoint(
  table: StateTable,
  input: JobWorkflowInput & { recoveryPoint: RecoveryPointChoice },
): Promise<void> {
  const { kind } = input.recoveryPoint;
  await decideAndCommit(table, vaultPartition(input.vaultId), async () => {
    const points = await readPoints(table, input);
    const values = points.map(({ value }) => value);
    const chosen = choosePoint(values, input.protectionId, input.recoveryPoint);
    const point = points.find(({ value }) => value === chosen);
    const isNewest = kind === 'latest' || kind === 'latestProcessed';
    if (!point || isNewest || chosen.pinnedBy.includes(input.jobName)) return { operations: [], result: undefined };
    return { operations: [replace(point, pinned(chosen, input.jobName))], result: undefined };
  });
}

export const pinned = (point: RecoveryPoint, jobName: JobName): RecoveryPoint => ({
  ...point,
  pinnedBy: [...new Set([...point.pinnedBy, jobName])],
});

/** Lets go of every point that the job holds. */
export async function unpinPoints(table: StateTable, input: JobWorkflowInput): Promise<void> {
  await decideAndCommit(table, vaultPartition(input.vaultId), async () => {
    const held = (await readPoints(table, input)).filter(({ value }) => value.pinnedBy.includes(input.jobName));
    const operations = held.map((point) =>
      replace(point, { ...point.value, pinnedBy: point.value.pinnedBy.filter((name) => name !== input.jobName) }),
    );
    return { operations, result: undefined };
  });
}

export const makeReadReceived =
  ({ table, clock }: Pick<ActivityDependencies, 'table' | 'clock'>): Activity<typeof activities.readReceived> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const now = (await clock.now()).toString();
    const { receivedCycle = 0, receivedTakenAt = null } = stored?.value.replication ?? {};
    return { receivedCycle, receivedTakenAt, now };
  };

/**
 * Takes the item over: a new epoch in its row, which fixes what was received, then the fence of every disk, so that the old
 * loop's next effect fails (docs/architecture.md, rule 7).
 */
export const makeBeginFailover =
  ({ table, replicas }: Pick<ActivityDependencies, 'table' | 'replicas'>): Activity<typeof activities.beginFailover> =>
  async (input) => {
    const change = await changeItem(table, input, (item) => {
      if (item.replication.ownedBy === input.jobName) return { kind: 'unchanged' };
      if (!mayWork(item, input.jobName) || !mayTakeOver(item)) return { kind: 'superseded' };
      // A resynchronization that runs is over: its job finds the item taken.
      const { resync: _, ...replication } = item.replication;
      return {
        kind: 'changed',
        item: {
          ...item,
          replication: {
            ...replication,
            phase: 'stopped',
            stopReason: 'failedOver',
            epoch: item.replication.epoch + 1,
            ownedBy: input.jobName,
          },
        },
      };
    });
    if (change.kind === 'superseded') return superseded;
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || stored.value.replication.ownedBy !== input.jobName) return superseded;
    const { epoch, appliedCycle } = stored.value.replication;
    try {
      for (const disk of stored.value.disks) {
        await replicas.raiseFence(disk.replica, { epoch, cycle: appliedCycle });
      }
    } catch (error) {
      if (!(error instanceof FencedError)) throw error;
      // A second run that comes late, when this failover has gone on to later cycles; another epoch is another owner.
      if (error.found?.epoch !== epoch) return superseded;
    }
    return { kind: 'begun', epoch };
  };

/** A planned failover goes to exactly what its source wrote last: received, applied, and not yet given back. */
function mayTakeOver({ state, activeJob, replication }: ProtectedItem): boolean {
  if (state !== 'PlannedFailoverInProgress') return true;
  const { sourceLock, finalCycle, receivedCycle, appliedCycle, resyncRequired, torn } = replication;
  return (
    sourceLock === activeJob?.jobName &&
    finalCycle === receivedCycle &&
    finalCycle === appliedCycle &&
    resyncRequired === undefined &&
    !torn
  );
}

/** A stretch that one activity copies: bounds what a crash repeats. */
const copySliceMinBytes = 1024 ** 3;
const copySlicesOfDiskMax = 16;

export const makeChooseRecoveryPoint =
  ({
    table,
    replicas,
  }: Pick<ActivityDependencies, 'table' | 'replicas'>): Activity<typeof activities.chooseRecoveryPoint> =>
  async (input) => {
    const ownsItem = (item: ProtectedItem): boolean =>
      item.replication.ownedBy === input.jobName && mayWork(item, input.jobName);
    const change = await changeItem(table, { ...input, epoch: input.epoch }, async (item) => {
      if (!ownsItem(item)) return { kind: 'superseded' };
      if (item.failover?.jobName === input.jobName) return { kind: 'unchanged' };
      const points = await readPoints(table, input);
      const values = points.map(({ value }) => value);
      const chosen = choosePoint(values, input.protectionId, input.recoveryPoint);
      const point = points.find(({ value }) => value === chosen);
      if (!point) return { kind: 'superseded' };
      const { storageAccountId } = item.target;
      const { source, networkId } = await readFailoverSource(table, input.vaultId, item);
      return {
        kind: 'changed',
        item: {
          ...item,
          failover: {
            jobName: input.jobName,
            kind: item.state === 'PlannedFailoverInProgress' ? 'planned' : 'unplanned',
            recoveryPointId: chosen.recoveryPointId,
            recoveryPointAt: chosen.takenAt,
            cycle: chosen.cycle,
            ...(networkId === undefined ? {} : { networkId }),
            ...(item.target.publicAddress === true && networkId !== undefined ? { publicAddress: true } : {}),
            ...(source === undefined ? {} : { source }),
            disks: item.disks.map(({ diskId }) => ({
              diskId,
              blob: failoverBlob(storageAccountId, item.protectionId, input.jobName, diskId),
            })),
          },
        },
        operations: [replace(point, pinned(chosen, input.jobName))],
      };
    });
    if (change.kind === 'superseded') return superseded;
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    const onStoresSide = replicas.capabilities.copiesFromSnapshotsAreIndependent;
    return { kind: 'chosen', slices: stored.value.disks.flatMap((disk, index) => planCopy(disk, index, onStoresSide)) };
  };

export function planCopy(disk: { sourceSizeBytes: number }, diskIndex: number, onStoresSide: boolean): CopySlice[] {
  const lengthBytes = replicaBlobLengthBytes(disk.sourceSizeBytes);
  if (onStoresSide) return [{ diskIndex, fromBytes: 0, toBytes: lengthBytes }];
  const perSlice = Math.ceil(lengthBytes / copySlicesOfDiskMax / copySliceMinBytes) * copySliceMinBytes;
  const slices: CopySlice[] = [];
  for (let fromBytes = 0; fromBytes < lengthBytes; fromBytes += perSlice) {
    slices.push({ diskIndex, fromBytes, toBytes: Math.min(fromBytes + perSlice, lengthBytes) });
  }
  return slices;
}

/** Takes back what a failover made. Only what carries this job's name is touched. */
export const makeUndoFailover =
  ({
    table,
    replicas,
    compute,
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'compute'>): Activity<typeof activities.undoFailover> =>
  async (input) => {
    const stored = await beginUndoing(table, input);
    if (!stored) return { event: 'unplannedFailoverFailed' };
    await deleteFailover({ table, replicas, compute }, input, stored.value);
    await unpinPoints(table, input);
    // As long as no epoch was taken, replication goes on as if nothing had been.
    const isTaken = stored.value.replication.phase === 'stopped';
    return { event: isTaken ? 'unplannedFailoverFailed' : 'unplannedFailoverRefused' };
  };

/** The item, once its row says that the job goes on no more; undefined where the job has ended, and what it made stands. */
export async function beginUndoing(
  table: StateTable,
  input: JobWorkflowInput & { failures: WorkflowFailure[] },
): Promise<Stored<ProtectedItem> | undefined> {
  const change = await changeItem(table, input, (item) => {
    const undone = undoing(item, input.jobName, input.failures);
    if (undone === undefined) return { kind: 'superseded' };
    return undone === item ? { kind: 'unchanged' } : { kind: 'changed', item: undone };
  });
  return change.kind === 'superseded' ? undefined : read(table, rows.item(input.vaultId, input.itemId));
}

/** The VM and the disks that this job's failover made, and then the note of them. */
export async function deleteFailover(
  { table, replicas, compute }: Pick<ActivityDependencies, 'table' | 'replicas' | 'compute'>,
  input: JobWorkflowInput,
  item: ProtectedItem,
): Promise<void> {
  const { failover } = item;
  if (failover?.jobName !== input.jobName) return;
  const vmArmId = failoverVmId(item);
  const vm = await compute.getVm(vmArmId);
  if (vm?.tags['understudy-job'] === input.jobName) await compute.deleteVm(vmArmId, { deleteDisks: true });
  for (const { blob } of failover.disks) await replicas.deleteDisk(blob);
  await changeItem(table, input, (current) => {
    if (current.failover?.jobName !== input.jobName) return { kind: 'unchanged' };
    const { failover: _, ...rest } = current;
    return { kind: 'changed', item: rest };
  });
}

/** The VM that a failover of this item makes. */
export const failoverVmId = (item: ProtectedItem): string =>
  `${item.target.resourceGroupId}/providers/Microsoft.Compute/virtualMachines/${item.target.vmName}`;
