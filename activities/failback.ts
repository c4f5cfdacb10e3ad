import { replicaBlobLengthBytes, vhdFooterBytes } from '../core/dataplane/vhd/fixed-vhd.js';
import { UnderstudyError } from '../core/domain/errors.js';
import { secondsSince } from '../core/domain/health/seconds-since.js';
import { mayWork, undoing } from '../core/domain/protected-item/active-job.js';
import type { Failback, FailbackRound, ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import type { JobName } from '../core/domain/ids.js';
import { vmIn } from '../core/domain/site/inventory.js';
import { exportBlob } from '../core/domain/replication/blob-names.js';
import { suspendAtTask } from '../core/domain/jobs/transitions.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import type { CloudCompute } from '../core/ports/cloud-compute.js';
import type { ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import { decideAndCommit, read, replace } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows, vaultPartition } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities, ItemOutcome } from './contract.js';
import {
  diskGrewInAzure,
  failbackStopped,
  noVmInAzure,
  siteHasNoVm,
  siteStartMinutes,
  unknownHost,
  vmStartedInAzure,
} from '../core/domain/failover/failback-failures.js';
import { isCancelWanted, refusals } from './failures.js';
import { hasContact, noContact } from './planned-failover.js';

type Needs = Pick<ActivityDependencies, 'table' | 'clock'>;
type FailingBack = ProtectedItem & { failback: Failback; failover: NonNullable<ProtectedItem['failover']> };

/** The item while this job fails it back. */
const failingBack = (item: ProtectedItem, { jobName }: JobWorkflowInput): item is FailingBack =>
  mayWork(item, jobName) && item.failback?.jobName === jobName && item.failover !== undefined;

/** One change of the failback's own part of the row; undefined changes nothing. */
async function changeFailback(
  table: StateTable,
  input: JobWorkflowInput,
  change: (item: FailingBack) => ProtectedItem | undefined,
): Promise<ItemOutcome> {
  const made = await changeItem(table, input, (item) => {
    if (!failingBack(item, input)) return { kind: 'superseded' };
    const changed = change(item);
    return changed === undefined ? { kind: 'unchanged' } : { kind: 'changed', item: changed };
  });
  return made.kind === 'superseded' ? superseded : done;
}

/** Every reason why the VM cannot come back, before anything is touched on either side. */
export const makeCheckFailback =
  ({
    table,
    clock,
    compute,
  }: Needs & Pick<ActivityDependencies, 'compute'>): Activity<typeof activities.checkFailback> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const refused = refusals(owned(stored, input) ? stored.value : undefined, input);
    if (!stored || refused.length > 0) return { kind: 'failed', failures: refused };
    const item = stored.value;
    const failures: WorkflowFailure[] = [];
    const { vmArmId } = item.failover ?? {};
    if (vmArmId === undefined || !(await compute.getVm(vmArmId))) failures.push(noVmInAzure(item.vmName, vmArmId));
    if (!(await hasContact({ table, clock }, input.vaultId, item))) failures.push(noContact(item));
    const inventory = (await read(table, rows.fabric(input.vaultId, item.fabricName)))?.value.inventory;
    // Whether the VM runs there the host itself knows best: what it last told may be half a minute old.
    const atSite = vmIn(inventory, item.vmId);
    const { createOnHostId } = input;
    if (atSite === undefined && (createOnHostId === undefined || item.failover?.source === undefined)) {
      failures.push(siteHasNoVm(item.vmName));
    }
    if (createOnHostId !== undefined && !inventory?.hosts.some(({ hostId }) => hostId === createOnHostId)) {
      failures.push(unknownHost(item.vmName, createOnHostId));
    }
    return failures.length === 0 ? { kind: 'met' } : { kind: 'failed', failures };
  };

export const makeBeginFailback =
  ({
    table,
    clock,
    compute,
  }: Needs & Pick<ActivityDependencies, 'compute'>): Activity<typeof activities.beginFailback> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const vm = stored?.value.failover?.vmArmId && (await compute.getVm(stored.value.failover.vmArmId));
    if (!vm) return superseded;
    const startedAt = (await clock.now()).toString();
    const change = await changeItem(table, input, (item) => {
      if (!mayWork(item, input.jobName)) return { kind: 'superseded' };
      if (item.failback?.jobName === input.jobName) return { kind: 'unchanged' };
      const failback: Failback = {
        jobName: input.jobName,
        startedAt,
        vmRan: vm.powerState === 'running',
        ...(input.createOnHostId === undefined ? {} : { createOnHostId: input.createOnHostId }),
      };
      // Whatever was wrong with the replica is over: it is made anew from the VM before it is used again.
      const {
        stopReason: _,
        resyncRequired: _resync,
        lastError: _error,
        relayError: _relay,
        resyncProgress: _progress,
        checksums: _checksums,
        ...replication
      } = item.replication;
      return {
        kind: 'changed',
        item: {
          ...item,
          failback,
          replication: { ...replication, phase: 'failback', torn: false, sourceLock: input.jobName },
        },
      };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

export const makeStopFailedOverVm =
  ({ table, compute }: Pick<ActivityDependencies, 'table' | 'compute'>): Activity<typeof activities.stopFailedOverVm> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || !failingBack(stored.value, input)) return superseded;
    const { failover, failback } = stored.value;
    // A run that comes late must not stop a VM that was given back meanwhile.
    if (failover.vmArmId !== undefined && failback.round?.isFinal !== true) await compute.stopVm(failover.vmArmId);
    const present = await read(table, rows.item(input.vaultId, input.itemId));
    if (owned(present, input) && failingBack(present.value, input)) return done;
    if (failback.vmRan) await startAgain(table, compute, input);
    return superseded;
  };

const exportNameOf = (jobName: string, isFinal: boolean): string => `${jobName}-${isFinal ? 'final' : 'sync'}`;

export const makeBeginFailbackRound =
  ({
    table,
    clock,
    replicas,
    compute,
  }: Needs & Pick<ActivityDependencies, 'replicas' | 'compute'>): Activity<typeof activities.beginFailbackRound> =>
  async (input) => {
    const startedAt = (await clock.now()).toString();
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || !failingBack(stored.value, input)) return superseded;
    const item = stored.value;
    const exportName = exportNameOf(input.jobName, input.isFinal);
    if (isBegun(item.failback.round, input.isFinal)) return { kind: 'begun' };
    if (await isCancelWanted(table, input)) return { kind: 'cancelled' };
    const sources: FailbackRound['sources'] = [];
    for (const { diskId, lun, to } of exportedDisks(item, exportName)) {
      const exported = await compute.exportDisk(item.failover.vmArmId ?? '', { exportName, lun, to });
      if (exported.finished) sources.push({ diskId, ...exported.source });
    }
    if (sources.length < item.disks.length) return { kind: 'exporting' };
    const failures = await grownDisks(replicas, item, sources);
    if (failures.length > 0) return { kind: 'failed', failures };
    const outcome = await changeFailback(table, input, (current) => {
      if (isBegun(current.failback.round, input.isFinal)) return undefined;
      const epoch = current.replication.epoch + 1;
      const { resyncProgress: _, lastError: _error, relayError: _relay, ...replication } = current.replication;
      return {
        ...current,
        disks: current.disks.map((disk) => ({ ...disk, digestedThroughBytes: 0 })),
        replication: { ...replication, epoch },
        failback: { ...current.failback, round: { epoch, isFinal: input.isFinal, startedAt, exportName, sources } },
      };
    });
    return outcome.kind === 'done' ? { kind: 'begun' } : superseded;
  };

async function grownDisks(
  replicas: Pick<ReplicaStore, 'properties'>,
  { vmName, disks }: ProtectedItem,
  sources: FailbackRound['sources'],
): Promise<WorkflowFailure[]> {
  const failures: WorkflowFailure[] = [];
  for (const { diskId, name, sourceSizeBytes } of disks) {
    const blob = sources.find((source) => source.diskId === diskId)?.blob;
    const found = blob && (await replicas.properties(blob));
    if (found === undefined || found.lengthBytes <= replicaBlobLengthBytes(sourceSizeBytes)) continue;
    const inAzureBytes = found.lengthBytes - vhdFooterBytes;
    failures.push(diskGrewInAzure(vmName, name, { atSiteBytes: sourceSizeBytes, inAzureBytes }));
  }
  return failures;
}

/** The final round stands once it is there: a run of the first one that comes late must not put older disks in its place. */
const isBegun = (round: FailbackRound | undefined, isFinal: boolean): boolean =>
  round !== undefined && (round.isFinal || !isFinal);

const exportedDisks = ({ disks, target, protectionId }: ProtectedItem, exportName: string) =>
  disks.map(({ diskId, lun }) => ({
    diskId,
    lun,
    to: exportBlob(target.storageAccountId, protectionId, exportName, diskId),
  }));

/** How long the relay may be silent while the VM runs in Azure: a line that is cut costs nothing but time then. */
const synchronizingSilenceSeconds = 24 * 60 * 60;

/** How long the relay may have an error while the VM runs nowhere. */
const finalErrorSeconds = 15 * 60;

export const makeReadFailback =
  ({ table, clock }: Needs): Activity<typeof activities.readFailback> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const refused = refusals(owned(stored, input) ? stored.value : undefined, input);
    if (!stored || refused.length > 0) return { kind: 'failed', failures: refused };
    const item = stored.value;
    const { round, swap, prepared } = item.failback ?? {};
    const isThere = {
      prepared: prepared === true,
      copied: round?.copied !== undefined,
      replaced: swap === 'done',
    };
    if (isThere[input.awaited]) return { kind: 'done' };
    if (await isCancelWanted(table, input)) return { kind: 'cancelled' };
    const blocking = [item.replication.relayError, item.replication.lastError].find((error) => error?.blocking);
    if (blocking !== undefined) return { kind: 'failed', failures: [failbackStopped(item.vmName, blocking)] };
    const now = await clock.now();
    const { relayError } = item.replication;
    // The VM is off: what passes by itself, but not soon, is not waited for.
    if (round?.isFinal && relayError && secondsSince(round.startedAt, now) > finalErrorSeconds) {
      return { kind: 'failed', failures: [failbackStopped(item.vmName, relayError)] };
    }
    const patience = round?.isFinal === true ? undefined : synchronizingSilenceSeconds;
    if (!(await hasContact({ table, clock }, input.vaultId, item, patience))) {
      return { kind: 'failed', failures: [noContact(item)] };
    }
    return { kind: 'waiting' };
  };

/** The operator has had his say: a workflow that is begun again, or an activity that comes late, does not ask anew. */
async function isInFinalRound(table: StateTable, input: JobWorkflowInput): Promise<boolean> {
  const stored = await read(table, rows.item(input.vaultId, input.itemId));
  return owned(stored, input) && failingBack(stored.value, input) && stored.value.failback.round?.isFinal === true;
}

export const makeSuspendFailback =
  ({ table }: Pick<Needs, 'table'>): Activity<typeof activities.suspendFailback> =>
  async (input) =>
    decideAndCommit<ItemOutcome>(table, vaultPartition(input.vaultId), async () => {
      const job = await read(table, rows.job(input.vaultId, input.jobName));
      if (job !== undefined && (await isInFinalRound(table, input))) return { operations: [], result: done };
      if (job?.value.state !== 'InProgress') return { operations: [], result: job ? done : superseded };
      return { operations: [replace(job, suspendAtTask(job.value, 'failbackCompletion'))], result: done };
    });

export const makeReadCompletion =
  ({ table }: Pick<Needs, 'table'>): Activity<typeof activities.readCompletion> =>
  async (input) => {
    const job = (await read(table, rows.job(input.vaultId, input.jobName)))?.value;
    if (job === undefined || job.cancelRequestedAt !== undefined) return { kind: 'cancelled' };
    return { kind: job.state === 'Suspended' ? 'waiting' : 'completed' };
  };

/** Two would run, and what the one in Azure has written since it was shut down be lost. */
async function refuseRunning(table: StateTable, compute: CloudCompute, input: JobWorkflowInput): Promise<void> {
  const stored = await read(table, rows.item(input.vaultId, input.itemId));
  if (!owned(stored, input) || !failingBack(stored.value, input)) return;
  const { vmName, failover, failback } = stored.value;
  if (failback.handedOverAt !== undefined || failover.vmArmId === undefined) return;
  const vm = await compute.getVm(failover.vmArmId);
  if (vm?.powerState === 'running') throw new UnderstudyError(vmStartedInAzure(vmName, failover.vmArmId));
}

export const makeOrderReplacement =
  ({ table, compute }: Pick<ActivityDependencies, 'table' | 'compute'>): Activity<typeof activities.orderReplacement> =>
  async (input) => {
    await refuseRunning(table, compute, input);
    const change = await changeItem(table, input, (item) => {
      if (!failingBack(item, input)) return { kind: 'superseded' };
      const { round, swap } = item.failback;
      if (swap !== undefined) return { kind: 'unchanged' };
      // Never without the final round's copy: the workflow has lost its row.
      if (round?.isFinal !== true || round.copied === undefined) return { kind: 'superseded' };
      return { kind: 'changed', item: { ...item, failback: { ...item.failback, swap: 'ordered' } } };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

/** The relay said that the disks are replaced, in `failback.swap`; with the phase the lock ceases, and with it the VM may start. */
export const makeHandOver =
  ({ table, clock, compute }: Needs & Pick<ActivityDependencies, 'compute'>): Activity<typeof activities.handOver> =>
  async (input) => {
    await refuseRunning(table, compute, input);
    const handedOverAt = (await clock.now()).toString();
    return changeFailback(table, input, (item) => {
      if (item.failback.swap !== 'done' || item.failback.handedOverAt !== undefined) return undefined;
      const { sourceLock: _, ...replication } = item.replication;
      return {
        ...item,
        replication: { ...replication, phase: 'stopped', stopReason: 'failedBack' },
        failback: { ...item.failback, handedOverAt },
      };
    });
  };

export const makeReadSiteStart =
  ({ table, clock }: Needs): Activity<typeof activities.readSiteStart> =>
  async (input) => {
    const { startedAtSite, handedOverAt } =
      (await read(table, rows.item(input.vaultId, input.itemId)))?.value.failback ?? {};
    if (startedAtSite === true) return { kind: 'started' };
    const isLate = handedOverAt === undefined || secondsSince(handedOverAt, await clock.now()) > siteStartMinutes * 60;
    return { kind: isLate ? 'late' : 'waiting' };
  };

/**
 * Gives the failback up: the VM runs in Azure again, and the relay drops what it prepared, since the row names it no more. The
 * site's lock stays until then, also where the disks were replaced already: no two of the VM ever run.
 */
export const makeGiveBackFailback =
  ({ table, compute }: Pick<ActivityDependencies, 'table' | 'compute'>): Activity<typeof activities.giveBackFailback> =>
  async (input) => {
    let isHandedOver = false;
    const change = await changeItem(table, input, (item) => {
      isHandedOver = item.failback?.jobName === input.jobName && item.failback.handedOverAt !== undefined;
      if (isHandedOver) return { kind: 'unchanged' };
      const undone = undoing(item, input.jobName, input.failures);
      if (undone === undefined || undone === item) return { kind: undone === item ? 'unchanged' : 'superseded' };
      return { kind: 'changed', item: undone };
    });
    if (isHandedOver) return { kind: 'handedOver' };
    if (change.kind === 'superseded') return superseded;
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    const item = stored?.value;
    if (item?.failback?.jobName !== input.jobName) return { kind: 'givenBack' };
    const { vmArmId } = item.failover ?? {};
    if (vmArmId !== undefined) {
      // One that was deleted in Azure meanwhile cannot be started, and must not keep the item from its operator.
      if (item.failback.vmRan && (await compute.getVm(vmArmId))) await compute.startVm(vmArmId);
      await endExports(compute, vmArmId, item, input.jobName);
    }
    await changeItem(table, input, (current) => {
      if (current.failback?.jobName !== input.jobName) return { kind: 'unchanged' };
      const { failback: _, ...rest } = current;
      const { resyncProgress: _progress, sourceLock: _lock, ...replication } = current.replication;
      return {
        kind: 'changed',
        item: { ...rest, replication: { ...replication, phase: 'stopped', stopReason: 'failedOver' } },
      };
    });
    return { kind: 'givenBack' };
  };

/** Lets go of what the failback's rounds held still. */
export async function endExports(
  compute: CloudCompute,
  vmArmId: string,
  item: ProtectedItem,
  jobName: JobName,
): Promise<void> {
  for (const isFinal of [false, true]) {
    const exportName = exportNameOf(jobName, isFinal);
    await compute.endExport(vmArmId, { exportName, disks: exportedDisks(item, exportName) });
  }
}

/** Stopped by a run that came late, when its failback had been given back. */
async function startAgain(table: StateTable, compute: CloudCompute, input: JobWorkflowInput): Promise<void> {
  const present = await read(table, rows.item(input.vaultId, input.itemId));
  const { failover, failback } = present?.value ?? {};
  const isElsewhere = failback !== undefined && failback.jobName !== input.jobName;
  if (failover?.vmArmId === undefined || isElsewhere || failback?.swap === 'done') return;
  await compute.startVm(failover.vmArmId);
}
