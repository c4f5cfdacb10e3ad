import { mayWork } from '../core/domain/protected-item/active-job.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { choosePoint } from '../core/domain/recovery-point/choice.js';
import { failoverBlob } from '../core/domain/replication/blob-names.js';
import type { JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import type { StateTable } from '../core/ports/state-table.js';
import { read, replace } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { failoverVmId, pinned, planCopy, readPoints, unpinPoints } from './failover.js';
import { copyFence, copySlice } from './failover-vm.js';

type Needs = Pick<ActivityDependencies, 'table' | 'replicas'>;
type Failover = NonNullable<ProtectedItem['failover']>;

/** The item's failover while this job changes its point. */
async function changing(table: StateTable, input: JobWorkflowInput) {
  const stored = await read(table, rows.item(input.vaultId, input.itemId));
  if (!owned(stored, input) || !mayWork(stored.value, input.jobName)) return undefined;
  const { failover } = stored.value;
  return failover?.change?.jobName === input.jobName
    ? { ...stored.value, failover, change: failover.change }
    : undefined;
}

/** Pins the other point and names its disks; the virtual machine that runs is not touched yet. */
export const makeBeginPointChange =
  ({ table, replicas }: Needs): Activity<typeof activities.beginPointChange> =>
  async (input) => {
    const outcome = await changeItem(table, input, async (item) => {
      const { failover } = item;
      if (!failover || !mayWork(item, input.jobName)) return { kind: 'superseded' };
      // Copied and switched by an earlier run: what is left is the virtual machine.
      if (failover.change?.jobName === input.jobName || failover.jobName === input.jobName)
        return { kind: 'unchanged' };
      const points = await readPoints(table, input);
      const values = points.map(({ value }) => value);
      const chosen = choosePoint(values, input.protectionId, input.recoveryPoint);
      const point = points.find(({ value }) => value === chosen);
      if (!point) return { kind: 'superseded' };
      const { recoveryPointId, takenAt: recoveryPointAt, cycle } = chosen;
      const disks = item.disks.map(({ diskId }) => ({
        diskId,
        blob: failoverBlob(item.target.storageAccountId, item.protectionId, input.jobName, diskId),
      }));
      const change = { jobName: input.jobName, recoveryPointId, recoveryPointAt, cycle, disks };
      return {
        kind: 'changed',
        item: { ...item, failover: { ...failover, change } },
        operations: [replace(point, pinned(chosen, input.jobName))],
      };
    });
    if (outcome.kind === 'superseded') return superseded;
    const item = await changing(table, input);
    const onStoresSide = replicas.capabilities.copiesFromSnapshotsAreIndependent;
    return {
      kind: 'chosen',
      slices: (item?.disks ?? []).flatMap((disk, index) => planCopy(disk, index, onStoresSide)),
    };
  };

export const makeCopyChangedDisk =
  ({ table, replicas }: Needs): Activity<typeof activities.copyChangedDisk> =>
  async (input) => {
    const item = await changing(table, input);
    // A run that comes late: the disks are copied, and a virtual machine may have them.
    if (!item) return { finished: true };
    const { cycle, disks } = item.change;
    const point = await read(table, rows.point(input.vaultId, input.itemId, cycle));
    const fence = copyFence({ ...item, failover: { ...item.failover, cycle } });
    return copySlice(replicas, { item, point: point?.value, disks, fence }, input.slice);
  };

/** The copies take the place of the failover's disks; then the virtual machine that ran from those goes, with them. */
export const makeSwitchPoint =
  ({
    table,
    replicas,
    compute,
  }: Needs & Pick<ActivityDependencies, 'compute'>): Activity<typeof activities.switchPoint> =>
  async (input) => {
    const change = await changeItem(table, input, (item) => {
      const { failover } = item;
      if (!failover || !mayWork(item, input.jobName)) return { kind: 'superseded' };
      if (failover.jobName === input.jobName) return { kind: 'unchanged' };
      if (failover.change?.jobName !== input.jobName) return { kind: 'superseded' };
      const { jobName, disks, replaced = [] } = failover;
      const switched: Failover = {
        kind: failover.kind,
        ...(failover.networkId === undefined ? {} : { networkId: failover.networkId }),
        ...(failover.publicAddress === undefined ? {} : { publicAddress: failover.publicAddress }),
        ...(failover.source === undefined ? {} : { source: failover.source }),
        ...failover.change,
        replaced: [...replaced, { jobName, disks }],
      };
      return { kind: 'changed', item: { ...item, failover: switched } };
    });
    if (change.kind === 'superseded') return superseded;
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const failover = stored?.value.failover;
    // A second run that comes late finds nothing that was replaced.
    if (!stored || failover?.jobName !== input.jobName) return superseded;
    for (const { jobName, disks } of failover.replaced ?? []) {
      const vmArmId = failoverVmId(stored.value);
      const vm = await compute.getVm(vmArmId);
      if (vm?.tags['understudy-job'] === jobName) await compute.deleteVm(vmArmId, { deleteDisks: true });
      for (const { blob } of disks) await replicas.deleteDisk(blob);
      await unpinPoints(table, { ...input, jobName });
    }
    await changeItem(table, input, (item) => {
      if (item.failover?.jobName !== input.jobName || item.failover.replaced === undefined)
        return { kind: 'unchanged' };
      const { replaced: _, ...kept } = item.failover;
      return { kind: 'changed', item: { ...item, failover: kept } };
    });
    return done;
  };

/** After a failure: copies that did not take their place are deleted. The virtual machine that ran goes on. */
export const makeDropPointChange =
  ({ table, replicas }: Needs): Activity<typeof activities.dropPointChange> =>
  async (input) => {
    const item = await changing(table, input);
    if (!item) return done;
    for (const { blob } of item.change.disks) await replicas.deleteDisk(blob);
    await changeItem(table, input, (current) => {
      if (current.failover?.change?.jobName !== input.jobName) return { kind: 'unchanged' };
      const { change: _, ...kept } = current.failover;
      return { kind: 'changed', item: { ...current, failover: kept } };
    });
    await unpinPoints(table, input);
    return done;
  };
