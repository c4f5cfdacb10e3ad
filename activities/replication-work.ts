import { jobKinds, type Job } from '../core/domain/jobs/job.js';
import { plannedTasks } from '../core/domain/jobs/transitions.js';
import type { VaultId } from '../core/domain/ids.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { nextState } from '../core/domain/protected-item/state-table.js';
import {
  applyFailedReason,
  cycleStep,
  planNextStep,
  segmentsInRoundMax,
} from '../core/domain/replication/next-step.js';
import { sendsBase } from '../core/domain/replication/acceptance.js';
import { isUnrecoverable } from '../core/domain/retry/classification.js';
import { messageWithCode } from '../core/domain/workflows/failure.js';
import { workflowNames, type EpochWorkflowInput, type JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { FencedError } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import { insert, list, read, type Stored } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows, type ReceivedCycle, type ReceivedSegment } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { beginNotes } from './kept-checksums.js';

/** The received cycle's row, if it is of this life of the item. */
export async function readCycle(
  table: StateTable,
  vaultId: VaultId,
  item: ProtectedItem,
  cycle: number,
): Promise<Stored<ReceivedCycle> | undefined> {
  const stored = await read(table, rows.cycle(vaultId, item.itemId, cycle));
  return stored?.value.manifest.protectionId === item.protectionId ? stored : undefined;
}

/** Rows of the next pieces of a disk's base, of this life and epoch; rows of an earlier life may stand among them. */
async function readSegments(
  table: StateTable,
  input: EpochWorkflowInput,
  diskIndex: number,
): Promise<Stored<ReceivedSegment>[]> {
  const found = await list(table, rows.segmentsOfDisk(input.vaultId, input.itemId, diskIndex), segmentsInRoundMax * 8);
  return found.filter(
    ({ value: { announcement } }) =>
      announcement.protectionId === input.protectionId && announcement.epoch === input.epoch,
  );
}

/** The pieces that wait, disk by disk up to the first disk that has any. */
async function waitingSegments(
  table: StateTable,
  input: EpochWorkflowInput,
  item: ProtectedItem,
): Promise<{ diskIndex: number; fromBytes: number; toBytes: number }[]> {
  for (const [diskIndex, disk] of item.disks.entries()) {
    if (disk.baseAppliedThroughBytes >= disk.sourceSizeBytes) continue;
    const segments = (await readSegments(table, input, diskIndex)).map(({ value: { announcement } }) => ({
      diskIndex,
      fromBytes: announcement.fromBytes,
      toBytes: announcement.toBytes,
    }));
    if (segments.some(({ fromBytes }) => fromBytes === disk.baseAppliedThroughBytes)) return segments;
  }
  return [];
}

export const makeReadReplicationWork =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.readReplicationWork> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    const item = stored.value;
    const { phase, appliedCycle } = item.replication;
    const nextManifest = (await readCycle(table, input.vaultId, item, appliedCycle + 1))?.value.manifest;
    if (input.failover === true) return cycleStep(item, nextManifest);
    const segments = sendsBase(phase) ? await waitingSegments(table, input, item) : [];
    return { ...planNextStep(item, input, { nextManifest, segments }), phase };
  };

/** Opens a cycle for writing: from here on, no writer of an earlier one reaches any disk of the item. */
export const makeRaiseFence =
  ({ table, replicas }: Pick<ActivityDependencies, 'table' | 'replicas'>): Activity<typeof activities.raiseFence> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    const { disks, replication } = stored.value;
    if (replication.appliedCycle >= input.cycle) return done;
    // Before the cycle ahead of it is whole, no disk may begin this one.
    if (replication.appliedCycle !== input.cycle - 1) return superseded;
    const fence = { epoch: input.epoch, cycle: input.cycle };
    try {
      await Promise.all(disks.map(({ replica }) => replicas.raiseFence(replica, fence)));
    } catch (error) {
      if (error instanceof FencedError) return superseded;
      throw error;
    }
    return done;
  };

/** Every piece up to here is in the disk: the mark moves and the rows go, in one transaction. */
export const makeCommitSegments =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.commitSegments> =>
  async (input) => {
    const applied = (await readSegments(table, input, input.diskIndex)).filter(
      ({ value }) => value.announcement.toBytes <= input.throughBytes,
    );
    const change = await changeItem(table, input, (item) => {
      const disk = item.disks[input.diskIndex];
      if (!disk || disk.baseAppliedThroughBytes >= input.throughBytes) return { kind: 'unchanged' };
      const bytes = applied.reduce((sum, { value }) => sum + (value.announcement.log?.lengthBytes ?? 0), 0);
      const { lastError: _, ...replication } = item.replication;
      return {
        kind: 'changed',
        item: {
          ...item,
          replication,
          disks: item.disks.map((each) =>
            each === disk
              ? { ...disk, baseAppliedThroughBytes: input.throughBytes, bytesReceived: disk.bytesReceived + bytes }
              : each,
          ),
        },
        operations: applied.map(({ ref }) => ({ kind: 'delete', rowKey: ref.rowKey })),
      };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

/** What an applied cycle changes in the item's row, whether or not it became a recovery point. */
export function withAppliedCycle(item: ProtectedItem, { manifest }: ReceivedCycle): ProtectedItem {
  const { lastError: _, checksums, ...replication } = item.replication;
  // One that was not noted before this one takes the trust away for good.
  const isNoted = checksums?.throughCycle === manifest.cycle - 1;
  return {
    ...item,
    disks: item.disks.map((disk) => {
      const log = manifest.disks.find(({ diskId }) => diskId === disk.diskId)?.log;
      return log ? { ...disk, bytesReceived: disk.bytesReceived + log.lengthBytes } : disk;
    }),
    replication: {
      ...replication,
      appliedCycle: manifest.cycle,
      ...(isNoted && { checksums: { ...checksums, throughCycle: manifest.cycle } }),
    },
  };
}

export const makeCommitAppliedCycle =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.commitAppliedCycle> =>
  async (input) => {
    const change = await changeItem(table, input, async (item) => {
      if (item.replication.appliedCycle >= input.cycle) return { kind: 'unchanged' };
      const received = await readCycle(table, input.vaultId, item, input.cycle);
      if (!received || item.replication.appliedCycle !== input.cycle - 1) return { kind: 'superseded' };
      return {
        kind: 'changed',
        item: withAppliedCycle(item, received.value),
        operations: [{ kind: 'delete', rowKey: rows.cycle(input.vaultId, input.itemId, input.cycle - 1).rowKey }],
      };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

/** The base is closed and its first recovery point is made: delta replication begins, and with it the job that finalizes. */
export const makeFinishInitialReplication =
  ({
    table,
    clock,
  }: Pick<ActivityDependencies, 'table' | 'clock'>): Activity<typeof activities.finishInitialReplication> =>
  async (input) => {
    const now = (await clock.now()).toString();
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    for (const diskIndex of stored.value.disks.keys()) {
      await beginNotes(table, { vaultId: input.vaultId, item: stored.value, diskIndex }, input.epoch);
    }
    const change = await changeItem(table, input, async (item) => {
      if (item.replication.phase !== 'initialReplication') return { kind: 'unchanged' };
      const state = nextState(item.state, 'initialReplicationFinished');
      if (state === undefined) return { kind: 'superseded' };
      const job = finalizeJob(input, item, now);
      return {
        kind: 'changed',
        item: {
          ...item,
          state,
          replication: {
            ...item.replication,
            phase: 'delta',
            checksums: { epoch: input.epoch, throughCycle: item.replication.appliedCycle },
          },
          activeJob: { jobName: job.jobName, scenarioName: job.scenarioName, startedAt: now },
        },
        operations: [insert(rows.job(input.vaultId, input.jobName), job)],
      };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

export function finalizeJob(input: JobWorkflowInput, item: ProtectedItem, now: string): Job {
  const { vaultId, itemId, protectionId, jobName } = input;
  const intent: JobWorkflowInput = { vaultId, itemId, protectionId, jobName };
  const { scenarioName, friendlyName } = jobKinds.finalizeProtection;
  return {
    jobName,
    scenarioName,
    friendlyName,
    state: 'NotStarted',
    tasks: plannedTasks(jobName, jobKinds.finalizeProtection),
    errors: [],
    createdAt: now,
    targetResourceId:
      `${vaultId}/replicationFabrics/${item.fabricName}/replicationProtectionContainers/${item.containerName}` +
      `/replicationProtectedItems/${item.itemName}`,
    targetObjectName: item.vmName,
    itemId,
    intent: { orchestrator: workflowNames.finalizeProtection, input: intent },
  };
}

export const makeRecordReplicationFailure =
  ({
    table,
    clock,
  }: Pick<ActivityDependencies, 'table' | 'clock'>): Activity<typeof activities.recordReplicationFailure> =>
  async (input) => {
    const at = (await clock.now()).toString();
    const { code, message, recommendedAction } = input.failure;
    const change = await changeItem(table, input, (item) => {
      const { resyncRequired, lastError } = item.replication;
      // A repeat finds what the first run wrote.
      if (input.resync ? resyncRequired?.reason === applyFailedReason : lastError?.message === message) {
        return { kind: 'unchanged' };
      }
      // Critical at once, since it does not pass by itself; nothing is written before an operator resumes.
      const error = {
        code,
        message,
        recommendedAction,
        at,
        ...(isUnrecoverable(input.failure) ? { blocking: true } : {}),
      };
      return {
        kind: 'changed',
        item: {
          ...item,
          replication: {
            ...item.replication,
            ...(input.resync
              ? { resyncRequired: { reason: applyFailedReason, message: messageWithCode(input.failure), at } }
              : { lastError: error }),
          },
        },
      };
    });
    return change.kind === 'superseded' ? superseded : done;
  };
