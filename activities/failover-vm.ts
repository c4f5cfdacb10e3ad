import { chooseVmSize } from '../core/domain/failover/placement.js';
import { sourceUnknown } from '../core/domain/failover/source-vm.js';
import { nicPlaces, sizeCounts } from '../core/domain/failover/nics.js';
import { UnderstudyError } from '../core/domain/errors.js';
import { mayWork } from '../core/domain/protected-item/active-job.js';
import type { ProtectedItem, ReplicaBlob } from '../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../core/domain/recovery-point/recovery-point.js';
import type { DiskId, JobName } from '../core/domain/ids.js';
import type { Fence } from '../core/domain/replication/fence.js';
import type { SiteVm } from '../core/domain/site/inventory.js';
import { replicaBlobLengthBytes } from '../core/dataplane/vhd/fixed-vhd.js';
import type { CloudVmSpecification, DiskSource } from '../core/ports/cloud-compute.js';
import { FencedError, pageWriteMaxBytes, type ReplicaStore } from '../core/ports/replica-store.js';
import type { JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import type { StateTable } from '../core/ports/state-table.js';
import { read } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import { forEachBounded } from './bounded.js';
import type { activities, CopySlice } from './contract.js';
import { failoverVmId } from './failover.js';

/**
 * The item while this job fails it over; anything else stops the job: a second owner, or a run that comes late, after the
 * job ended, when the virtual machine writes to the disks.
 */
async function failingOver(
  table: StateTable,
  input: JobWorkflowInput,
): Promise<ProtectedItem & { failover: NonNullable<ProtectedItem['failover']> }> {
  const stored = await read(table, rows.item(input.vaultId, input.itemId));
  const failover = stored?.value.failover;
  if (owned(stored, input) && mayWork(stored.value, input.jobName) && failover?.jobName === input.jobName) {
    return { ...stored.value, failover };
  }
  throw new UnderstudyError({
    code: 'US4007',
    message: `item ${input.itemId} is not being failed over by job ${input.jobName}`,
    possibleCauses: 'The job has ended, or another failover, or disabling replication, took the item over.',
    recommendedAction: 'See the item’s present state and its other jobs.',
  });
}

/** Page copies under way at once within one activity. */
const copiesAtOnce = 4;

export const makeCopyFailoverDisk =
  ({
    table,
    replicas,
  }: Pick<ActivityDependencies, 'table' | 'replicas'>): Activity<typeof activities.copyFailoverDisk> =>
  async (input) => {
    const item = await failingOver(table, input);
    // The virtual machine may run by now: old pages must not go under it.
    if (item.failover.vmArmId !== undefined) return { finished: true };
    const { cycle, disks } = item.failover;
    const point = await read(table, rows.point(input.vaultId, input.itemId, cycle));
    return copySlice(replicas, { item, point: point?.value, disks, fence: copyFence(item) }, input.slice);
  };

/** One stretch of a point's disk, to the disk of that id among `disks`. */
export async function copySlice(
  replicas: ReplicaStore,
  copy: {
    item: ProtectedItem;
    point: RecoveryPoint | undefined;
    disks: readonly { diskId: DiskId; blob: ReplicaBlob }[];
    fence: Fence;
  },
  slice: CopySlice,
): Promise<{ finished: boolean }> {
  const { item, point, disks, fence } = copy;
  const disk = item.disks[slice.diskIndex];
  const target = disks.find(({ diskId }) => diskId === disk?.diskId)?.blob;
  const snapshotId = point?.disks.find(({ diskId }) => diskId === disk?.diskId)?.snapshotId;
  if (!disk || !target || snapshotId === undefined || point?.state !== 'ready') {
    throw new UnderstudyError({
      code: 'US4008',
      message: `recovery point ${point?.recoveryPointId ?? 'that was chosen'} has no snapshot of disk ${slice.diskIndex}`,
      possibleCauses: 'The recovery point was deleted outside of Understudy.',
      recommendedAction: 'Fail over again to another recovery point.',
    });
  }
  const from = { blob: disk.replica, snapshotId };
  return copyStretch(replicas, { from, to: target, fence, sizeBytes: disk.sourceSizeBytes }, slice);
}

/**
 * A true copy of a stretch of a disk that holds still: by the store itself where its copies share nothing, else page by page.
 * A copier that is shut out by a higher fence comes late: every slice was copied, and the copy has another owner.
 */
export async function copyStretch(
  replicas: ReplicaStore,
  { from, to, fence, sizeBytes }: PageCopy & { sizeBytes: number },
  slice: CopySlice,
): Promise<{ finished: boolean }> {
  if (replicas.capabilities.copiesFromSnapshotsAreIndependent) {
    return replicas.copySnapshot(from.blob, from.snapshotId, to);
  }
  try {
    await replicas.createDisk(to, replicaBlobLengthBytes(sizeBytes));
    await replicas.raiseFence(to, fence);
    await copyPages(replicas, { from, to, fence }, slice);
  } catch (error) {
    if (!(error instanceof FencedError)) throw error;
  }
  return { finished: true };
}

/** What copiers of a failover's disks hold. */
export const copyFence = (item: ProtectedItem & { failover: NonNullable<ProtectedItem['failover']> }): Fence => ({
  epoch: item.replication.epoch,
  cycle: item.failover.cycle,
});

interface PageCopy {
  from: DiskSource;
  to: ReplicaBlob;
  fence: Fence;
}

/** Only what was ever written is read and written: the copy takes as long as there is data. */
async function copyPages(replicas: ReplicaStore, copy: PageCopy, slice: CopySlice): Promise<void> {
  await forEachBounded(stretches(replicas, copy, slice), copiesAtOnce, async ({ offsetBytes, lengthBytes }) => {
    const data = await replicas.readPages(copy.from.blob, offsetBytes, lengthBytes, copy.from.snapshotId);
    await replicas.writePages(copy.to, offsetBytes, data, copy.fence);
  });
}

/** The allocated ranges within the slice, cut to what one page write takes. */
async function* stretches(
  replicas: ReplicaStore,
  { from }: PageCopy,
  slice: CopySlice,
): AsyncGenerator<{ offsetBytes: number; lengthBytes: number }> {
  for await (const range of replicas.allocatedRanges(from.blob, from.snapshotId)) {
    const end = Math.min(range.offsetBytes + range.lengthBytes, slice.toBytes);
    for (let at = Math.max(range.offsetBytes, slice.fromBytes); at < end; at += pageWriteMaxBytes) {
      yield { offsetBytes: at, lengthBytes: Math.min(pageWriteMaxBytes, end - at) };
    }
  }
}

export const makeCreateFailoverVm =
  ({
    table,
    replicas,
    compute,
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'compute'>): Activity<typeof activities.createFailoverVm> =>
  async (input) => {
    const item = await failingOver(table, input);
    const vmArmId = failoverVmId(item);
    if (!replicas.capabilities.copiesFromSnapshotsAreIndependent) {
      // From here on the disks are the virtual machine's: a copier that is still under way writes nothing more to them.
      const { epoch, cycle } = copyFence(item);
      for (const { blob } of item.failover.disks) await replicas.raiseFence(blob, { epoch, cycle: cycle + 1 });
    }
    await compute.createVm(specificationOf(item, vmArmId));
    const change = await changeItem(table, input, (current) => {
      if (!mayWork(current, input.jobName) || current.failover?.jobName !== input.jobName)
        return { kind: 'superseded' };
      if (current.failover.vmArmId === vmArmId) return { kind: 'unchanged' };
      return { kind: 'changed', item: { ...current, failover: { ...current.failover, vmArmId } } };
    });
    if (change.kind !== 'superseded') return done;
    // Taken back while it was made; a job that has ended well keeps it, whoever comes late.
    const present = await read(table, rows.item(input.vaultId, input.itemId));
    const { failover, activeJob } = present?.value ?? {};
    const isKept = failover?.jobName === input.jobName && activeJob?.undone === undefined;
    if (!isKept) await compute.deleteVm(vmArmId, { deleteDisks: true });
    return superseded;
  };

function specificationOf(
  item: ProtectedItem & { failover: NonNullable<ProtectedItem['failover']> },
  vmArmId: string,
): CloudVmSpecification {
  const { target, failover } = item;
  const { source } = failover;
  // Never what the site reports by now: a repeat must ask for the very same machine.
  if (source === undefined) throw sourceUnknown(item);
  const { networkId } = failover;
  return specificationFrom(item, source, {
    vmArmId,
    name: target.vmName,
    ...(networkId === undefined ? { nics: [] } : { networkId, nics: nicPlaces(item, source) }),
    ...(failover.publicAddress === undefined ? {} : { publicAddress: true }),
    disks: failover.disks,
    jobName: failover.jobName,
    recoveryPointId: failover.recoveryPointId,
  });
}

/** The VM of a failover, real or test, with what it takes from item and source. */
export function specificationFrom(
  item: ProtectedItem,
  source: SiteVm,
  vm: Pick<CloudVmSpecification, 'vmArmId' | 'name' | 'networkId' | 'nics' | 'publicAddress'> & {
    disks: readonly { diskId: DiskId; blob: ReplicaBlob }[];
    jobName: JobName;
    recoveryPointId: string;
  },
): CloudVmSpecification {
  const { disks, jobName, recoveryPointId, ...named } = vm;
  const traces = {
    'understudy-item': item.itemId,
    'understudy-job': jobName,
    'understudy-recovery-point': recoveryPointId,
  };
  return {
    ...named,
    size: item.target.vmSize ?? chooseVmSize(source, sizeCounts(item, source)),
    generation: source.generation,
    osType: item.target.osType,
    ...(item.target.availabilitySetId === undefined ? {} : { availabilitySetId: item.target.availabilitySetId }),
    ...(item.target.availabilityZone === undefined ? {} : { availabilityZone: item.target.availabilityZone }),
    ...(item.target.licenseType === undefined ? {} : { licenseType: item.target.licenseType }),
    disks: item.disks.flatMap((disk) => {
      const blob = disks.find(({ diskId }) => diskId === disk.diskId)?.blob;
      if (!blob) return [];
      return [{ name: disk.name, lun: disk.lun, isOsDisk: disk.isOsDisk, blob, sizeBytes: disk.replicaSizeBytes }];
    }),
    tags: { ...item.target.tags, ...traces },
    ...(item.target.nicTags === undefined ? {} : { nicTags: { ...item.target.nicTags, ...traces } }),
    ...(item.target.diskTags === undefined ? {} : { diskTags: { ...item.target.diskTags, ...traces } }),
  };
}

export const makeStartFailoverVm =
  ({ table, compute }: Pick<ActivityDependencies, 'table' | 'compute'>): Activity<typeof activities.startFailoverVm> =>
  async (input) => {
    const item = await failingOver(table, input);
    await compute.startVm(failoverVmId(item));
    return {};
  };
