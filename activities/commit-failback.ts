import { mayWork } from '../core/domain/protected-item/active-job.js';
import type { Failback, ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { replicaBlob } from '../core/domain/replication/blob-names.js';
import type { Fence } from '../core/domain/replication/fence.js';
import type { JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { FencedError } from '../core/ports/replica-store.js';
import { read } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { endExports } from './failback.js';
import { noVmInAzure } from '../core/domain/failover/failback-failures.js';
import { copyStretch } from './failover-vm.js';
import { planCopy } from './failover.js';
import { refusals } from './failures.js';
import { hasContact, noContact } from './planned-failover.js';

type Stores = Pick<ActivityDependencies, 'table' | 'replicas'>;

export const makeCheckFailbackCommit =
  ({
    table,
    compute,
  }: Pick<ActivityDependencies, 'table' | 'compute'>): Activity<typeof activities.checkFailbackCommit> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const refused = refusals(owned(stored, input) ? stored.value : undefined, input);
    if (!stored || refused.length > 0) return { kind: 'failed', failures: refused };
    const { failback, failover, vmName } = stored.value;
    // A run that comes after the renewal finds the virtual machine deleted, and goes on.
    if (failback?.renewal?.adopted === true) return { kind: 'met' };
    const vmArmId = failover?.vmArmId;
    if (vmArmId !== undefined && (await compute.getVm(vmArmId))) return { kind: 'met' };
    return { kind: 'failed', failures: [noVmInAzure(vmName, vmArmId)] };
  };

/** The item while this job renews its replica. */
function renewing(
  item: ProtectedItem,
  { jobName }: JobWorkflowInput,
): (Failback & { renewal: NonNullable<Failback['renewal']> }) | undefined {
  const { failback } = item;
  if (!mayWork(item, jobName) || failback?.renewal?.jobName !== jobName) return undefined;
  return { ...failback, renewal: failback.renewal };
}

/** New blobs, by the epoch: what an earlier attempt began is another's. */
export const makeBeginReplicaRenewal =
  ({ table, replicas }: Stores): Activity<typeof activities.beginReplicaRenewal> =>
  async (input) => {
    const change = await changeItem(table, input, (item) => {
      const { failback, replication, target, protectionId } = item;
      const isWhole = failback?.swap === 'done' && failback.round?.isFinal === true;
      if (!mayWork(item, input.jobName) || !isWhole) return { kind: 'superseded' };
      if (failback.renewal?.jobName === input.jobName || failback.renewal?.adopted) return { kind: 'unchanged' };
      const epoch = replication.epoch + 1;
      const renewal = {
        jobName: input.jobName,
        disks: item.disks.map(({ diskId }) => ({
          diskId,
          blob: replicaBlob(target.storageAccountId, protectionId, diskId, epoch),
        })),
        // With what commits that failed had begun.
        replaced: [
          ...(failback.renewal?.replaced ?? item.disks.map(({ replica }) => replica)),
          ...(failback.renewal?.disks ?? []).map(({ blob }) => blob),
        ],
      };
      return {
        kind: 'changed',
        item: { ...item, replication: { ...replication, epoch }, failback: { ...failback, renewal } },
      };
    });
    if (change.kind === 'superseded') return superseded;
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const { disks, failback } = stored?.value ?? {};
    if (!owned(stored, input) || failback?.renewal === undefined) return superseded;
    if (failback.renewal.adopted) return { kind: 'begun', slices: [] };
    const onStoresSide = replicas.capabilities.copiesFromSnapshotsAreIndependent;
    return { kind: 'begun', slices: (disks ?? []).flatMap((disk, index) => planCopy(disk, index, onStoresSide)) };
  };

/** The replica's disks are the VM's, as it was when it was shut down: the cycle that the site goes on after. */
const renewalFence = ({ replication }: ProtectedItem): Fence => ({
  epoch: replication.epoch,
  cycle: replication.receivedCycle,
});

export const makeCopyRenewedDisk =
  ({ table, replicas }: Stores): Activity<typeof activities.copyRenewedDisk> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const failback = owned(stored, input) ? renewing(stored.value, input) : undefined;
    const disk = stored?.value.disks[input.slice.diskIndex];
    // Late: the copy has been adopted, or has another owner.
    if (!stored || !failback || failback.renewal.adopted || !disk) return { finished: true };
    const to = failback.renewal.disks.find(({ diskId }) => diskId === disk.diskId)?.blob;
    const from = failback.round?.sources.find(({ diskId }) => diskId === disk.diskId);
    if (!to || !from) return { finished: true };
    const copy = { from, to, fence: renewalFence(stored.value), sizeBytes: disk.sourceSizeBytes };
    return copyStretch(replicas, copy, input.slice);
  };

export const makeAdoptRenewedReplica =
  ({ table, replicas }: Stores): Activity<typeof activities.adoptRenewedReplica> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || !mayWork(stored.value, input.jobName)) return superseded;
    const { failback } = stored.value;
    if (failback?.renewal?.adopted !== true) {
      const renewal = renewing(stored.value, input)?.renewal;
      if (!renewal) return superseded;
      for (const { blob } of renewal.disks) await replicas.raiseFence(blob, renewalFence(stored.value));
      const change = await changeItem(table, input, (item) => {
        const current = renewing(item, input);
        if (!current) return { kind: 'superseded' };
        if (current.renewal.adopted) return { kind: 'unchanged' };
        return { kind: 'changed', item: adopted(item, current) };
      });
      if (change.kind === 'superseded') return superseded;
    }
    const present = await read(table, rows.item(input.vaultId, input.itemId));
    const { renewal } = present?.value.failback ?? {};
    if (renewal?.adopted !== true) return superseded;
    for (const blob of renewal.replaced) await replicas.deleteDisk(blob);
    return done;
  };

function adopted(item: ProtectedItem, failback: NonNullable<ReturnType<typeof renewing>>): ProtectedItem {
  const { replication } = item;
  return {
    ...item,
    failback: { ...failback, renewal: { ...failback.renewal, adopted: true } },
    disks: item.disks.map(({ lastSnapshot: _, ...disk }) => ({
      ...disk,
      replica: failback.renewal.disks.find(({ diskId }) => diskId === disk.diskId)?.blob ?? disk.replica,
      baseReceivedThroughBytes: disk.sourceSizeBytes,
      baseAppliedThroughBytes: disk.sourceSizeBytes,
    })),
    replication: {
      ...replication,
      torn: false,
      baseCycle: replication.receivedCycle,
      appliedCycle: replication.receivedCycle,
      baseClosedByCycle: replication.receivedCycle,
    },
  };
}

/** Last: until the replica is the VM's last state, and the site's tracking runs, the VM in Azure is the only other copy. */
export const makeDeleteFailedOverVm =
  ({
    table,
    replicas,
    compute,
  }: Stores & Pick<ActivityDependencies, 'compute'>): Activity<typeof activities.deleteFailedOverVm> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || !mayWork(stored.value, input.jobName)) return superseded;
    const { failover, failback } = stored.value;
    if (failback?.renewal?.adopted !== true) return superseded;
    if (failover?.vmArmId !== undefined) {
      await endExports(compute, failover.vmArmId, stored.value, failback.jobName);
      await compute.deleteVm(failover.vmArmId, { deleteDisks: true });
    }
    for (const { blob } of failover?.disks ?? []) await replicas.deleteDisk(blob);
    for (const { disks } of failover?.replaced ?? []) {
      for (const { blob } of disks) await replicas.deleteDisk(blob);
    }
    const change = await changeItem(table, input, (item) => {
      if (item.failover === undefined) return { kind: 'unchanged' };
      if (item.failover.jobName !== failover?.jobName) return { kind: 'superseded' };
      const { failover: _, ...rest } = item;
      return { kind: 'changed', item: rest };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

export const makeCheckReverseReplication =
  ({
    table,
    clock,
  }: Pick<ActivityDependencies, 'table' | 'clock'>): Activity<typeof activities.checkReverseReplication> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const refused = refusals(owned(stored, input) ? stored.value : undefined, input);
    if (!stored || refused.length > 0) return { kind: 'failed', failures: refused };
    if (await hasContact({ table, clock }, input.vaultId, stored.value)) return { kind: 'met' };
    return { kind: 'failed', failures: [noContact(stored.value)] };
  };

/** Replication goes on from the site, in a new epoch: with the cycle after the one that its tracking started from. */
export const makeBeginReverseReplication =
  ({ table, replicas }: Stores): Activity<typeof activities.beginReverseReplication> =>
  async (input) => {
    const change = await changeItem(table, input, (item) => {
      if (item.replication.ownedBy === input.jobName) return { kind: 'unchanged' };
      if (!mayWork(item, input.jobName)) return { kind: 'superseded' };
      // A pause of before the failover is over, as is all that was told of that time.
      const {
        stopReason: _,
        finalCycle: _final,
        receivedTakenAt: _taken,
        pausedAt: _paused,
        ...replication
      } = item.replication;
      return {
        kind: 'changed',
        item: {
          ...item,
          replication: {
            ...replication,
            phase: 'delta',
            paused: false,
            epoch: replication.epoch + 1,
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
      for (const { replica } of stored.value.disks) await replicas.raiseFence(replica, { epoch, cycle: appliedCycle });
    } catch (error) {
      // Cycles of this epoch are applied already.
      if (!(error instanceof FencedError)) throw error;
    }
    await changeItem(table, input, (item) => {
      if (item.failback === undefined || item.replication.ownedBy !== input.jobName) return { kind: 'unchanged' };
      const { failback: _, ...rest } = item;
      return { kind: 'changed', item: rest };
    });
    return done;
  };
