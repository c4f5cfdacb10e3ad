import { asDiskId, type VaultId } from '../core/domain/ids.js';
import { includedDisks } from '../core/domain/prerequisites/prerequisites.js';
import { nextStart } from '../core/domain/policy/initial-start.js';
import type { ProtectedItem, ReplicaDisk, ReplicationProgress } from '../core/domain/protected-item/protected-item.js';
import { replicaBlob } from '../core/domain/replication/blob-names.js';
import type { SiteVm } from '../core/domain/site/inventory.js';
import { UnderstudyError } from '../core/domain/errors.js';
import { primaryNic } from '../core/domain/failover/nics.js';
import { subnetNamed } from '../core/domain/failover/placement.js';
import { fixedVhdFooter, replicaBlobLengthBytes, replicaSizeBytes } from '../core/dataplane/vhd/fixed-vhd.js';
import { FencedError } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import { read } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import { Temporal } from 'temporal-polyfill';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { gone } from './failures.js';
import { findOrUndefined } from './cloud-search.js';
import { readSourceVm } from './prerequisites.js';

/** The replica disks of an item as they are before any byte arrives. */
function planReplicaDisks(
  item: ProtectedItem,
  vm: SiteVm,
  disksToInclude: readonly string[] | undefined,
): ReplicaDisk[] {
  return includedDisks(vm, disksToInclude).map((disk, lun) => {
    const diskId = asDiskId(disk.diskId);
    return {
      diskId,
      name: disk.name,
      isOsDisk: disk.isOsDisk,
      lun,
      sourceSizeBytes: disk.sizeBytes,
      replicaSizeBytes: replicaSizeBytes(disk.sizeBytes),
      replica: replicaBlob(item.target.storageAccountId, item.protectionId, diskId),
      baseReceivedThroughBytes: 0,
      baseAppliedThroughBytes: 0,
      digestedThroughBytes: 0,
      bytesReceived: 0,
    };
  });
}

/** Writes the disks to replicate into the item's row. A repeat finds them there. */
export const makeIdentifyTarget =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.identifyTarget> =>
  async (input) => {
    const change = await changeItem(table, input, async (item) => {
      if (item.disks.length > 0) return { kind: 'unchanged' };
      const vm = await readSourceVm(table, input.vaultId, item);
      if (!vm) {
        throw new UnderstudyError({
          code: 'US3100',
          message: `the site does not report a virtual machine ${item.vmName}`,
          possibleCauses: 'The virtual machine was deleted or moved away while protection was enabled.',
          recommendedAction: 'See that the relay runs, then enable protection again.',
        });
      }
      const disks = planReplicaDisks(item, vm, input.disksToInclude);
      const isIncluded = (diskId: string): boolean => disks.some((disk) => disk.diskId === diskId);
      const excludedDiskIds = vm.disks.map(({ diskId }) => diskId).filter((diskId) => !isIncluded(diskId));
      return { kind: 'changed', item: { ...item, disks, excludedDiskIds } };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

/** Page blobs of the right length, fenced to the item's epoch, each with its VHD footer. */
export const makeCreateReplicaDisks =
  ({
    table,
    replicas,
  }: Pick<ActivityDependencies, 'table' | 'replicas'>): Activity<typeof activities.createReplicaDisks> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    const item = stored.value;
    const fence = { epoch: item.replication.epoch, cycle: 0 };
    try {
      for (const disk of item.disks) {
        await replicas.createDisk(disk.replica, replicaBlobLengthBytes(disk.sourceSizeBytes));
        await replicas.raiseFence(disk.replica, fence);
        await replicas.writePages(disk.replica, disk.replicaSizeBytes, footerOf(item, disk), fence);
      }
    } catch (error) {
      if (error instanceof FencedError) return superseded;
      throw error;
    }
    return done;
  };

/** The same at each run: its time is the item's. */
const footerOf = (item: ProtectedItem, disk: ReplicaDisk): Buffer =>
  fixedVhdFooter({
    sizeBytes: disk.replicaSizeBytes,
    uniqueId: disk.diskId,
    timeMs: Temporal.Instant.from(item.createdAt).epochMilliseconds,
  });

/** From here on the relay's assignment says: send the base. Not before the time of day that the policy names, as it is now. */
export const makeStartInitialReplication =
  ({
    table,
    clock,
  }: Pick<ActivityDependencies, 'table' | 'clock'>): Activity<typeof activities.startInitialReplication> =>
  async (input) => {
    const now = await clock.now();
    let waitSeconds = 0;
    const change = await changeItem(table, input, async (item) => {
      if (item.replication.phase === 'stopped') return { kind: 'superseded' };
      if (item.replication.phase !== 'none') return { kind: 'unchanged' };
      const { startAt: before, ...replication } = item.replication;
      const startAt = await startOf(table, input.vaultId, item, now);
      waitSeconds =
        startAt === undefined ? 0 : Math.ceil(Temporal.Instant.from(startAt.at).since(now).total('seconds'));
      if (startAt === undefined || waitSeconds <= 0) {
        return { kind: 'changed', item: { ...item, replication: { ...replication, phase: 'initialReplication' } } };
      }
      if (before?.at === startAt.at) return { kind: 'unchanged' };
      return { kind: 'changed', item: { ...item, replication: { ...replication, startAt } } };
    });
    if (change.kind === 'superseded') return superseded;
    return waitSeconds > 0 ? { kind: 'scheduled', waitSeconds } : done;
  };

/** Once found it stays, so that it comes; a policy that names no time any more, or another one, holds from its edit on. */
async function startOf(
  table: StateTable,
  vaultId: VaultId,
  { policyName, fabricName, replication }: ProtectedItem,
  now: Temporal.Instant,
): Promise<ReplicationProgress['startAt']> {
  const [policy, fabric] = await Promise.all([
    read(table, rows.policy(vaultId, policyName)),
    read(table, rows.fabric(vaultId, fabricName)),
  ]);
  const timeOfDay = policy?.value.onlineReplicationStartTime;
  if (timeOfDay === undefined) return undefined;
  if (replication.startAt?.timeOfDay === timeOfDay) return replication.startAt;
  return { at: nextStart(timeOfDay, fabric?.value.inventory.timeZone ?? 'UTC', now).toString(), timeOfDay };
}

export const makeReadInitialReplicationStart =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.readInitialReplicationStart> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || stored.value.replication.phase === 'stopped') return superseded;
    return { kind: stored.value.replication.checkpointAt === undefined ? 'waiting' : 'started' };
  };

export const makeUndoEnableProtection =
  ({
    table,
    replicas,
  }: Pick<ActivityDependencies, 'table' | 'replicas'>): Activity<typeof activities.undoEnableProtection> =>
  async (input) => {
    // First the row, so that the relay sends nothing more; then the blobs.
    const change = await changeItem(table, input, (item) => {
      const { phase, checkpointAt } = item.replication;
      if (phase === 'stopped' || checkpointAt !== undefined) return { kind: 'unchanged' };
      return {
        kind: 'changed',
        item: { ...item, replication: { ...item.replication, phase: 'stopped', stopReason: 'enablingFailed' } },
      };
    });
    if (change.kind === 'superseded') return { kind: 'undone' };
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return { kind: 'undone' };
    if (stored.value.replication.phase !== 'stopped') return { kind: 'started' };
    for (const disk of stored.value.disks) await replicas.deleteDisk(disk.replica);
    return { kind: 'undone' };
  };

/** Settles on which subnet the VM will come up, as long as the operator chose none. */
export const makeConfigureTargetNetwork =
  ({
    table,
    cloudInventory,
  }: Pick<ActivityDependencies, 'table' | 'cloudInventory'>): Activity<typeof activities.configureTargetNetwork> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return { kind: 'failed', failures: [gone(input.itemId)] };
    const { networkId } = stored.value.target;
    if (networkId === undefined) return { kind: 'met' };
    const network = await findOrUndefined(cloudInventory.network(networkId));
    if (!network) {
      return {
        kind: 'failed',
        failures: [
          {
            code: 'US3120',
            message: `network ${networkId} was not found`,
            possibleCauses: 'The network was deleted after protection was enabled.',
            recommendedAction: 'Create the network again.',
            retry: 'never',
          },
        ],
      };
    }
    const vm = await readSourceVm(table, input.vaultId, stored.value);
    const subnetName = subnetNamed(primaryNic(stored.value, vm)?.nic.subnetName, network.subnets)?.name;
    if (subnetName !== undefined) {
      await changeItem(table, input, (item) =>
        item.target.subnetName === undefined
          ? { kind: 'changed', item: { ...item, target: { ...item.target, subnetName } } }
          : { kind: 'unchanged' },
      );
    }
    return { kind: 'met' };
  };
