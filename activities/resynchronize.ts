import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { nextState, type ProtectionEvent } from '../core/domain/protected-item/state-table.js';
import { applyFailedReason } from '../core/domain/replication/next-step.js';
import { nextAttemptAt } from '../core/domain/retry/retry-schedule.js';
import type { EpochWorkflowInput, JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { messageWithCode } from '../core/domain/workflows/failure.js';
import { FencedError } from '../core/ports/replica-store.js';
import type { RowOperation, StateTable } from '../core/ports/state-table.js';
import { insert, list, read, type Stored } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows, type StoredResyncScope } from '../core/records/rows.js';
import { Temporal } from 'temporal-polyfill';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { beginNotes, carryNotes } from './kept-checksums.js';
import { finalizeJob } from './replication-work.js';
import { dropStrays } from './strays.js';

/** The item as the job asked for it: its row names the job. */
const isOfJob = (item: ProtectedItem, { jobName }: JobWorkflowInput): boolean =>
  item.replication.resync?.jobName === jobName;

/**
 * Takes a new epoch and marks the disks torn, in one transaction, before anything is written (docs/architecture.md, rule 5);
 * then raises every disk's fence, so that the old loop's next effect fails. What was received before is applied first: it gives
 * recovery points that nothing else gives.
 */
export const makeBeginResynchronization =
  ({
    table,
    replicas,
  }: Pick<ActivityDependencies, 'table' | 'replicas'>): Activity<typeof activities.beginResynchronization> =>
  async (input) => {
    const before = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(before, input) || !isOfJob(before.value, input)) return superseded;
    if (isBehind(before.value)) return { kind: 'behind' };
    const change = await changeItem(table, input, (item) => {
      if (!isOfJob(item, input)) return { kind: 'superseded' };
      if (item.replication.phase === 'resynchronization') return { kind: 'unchanged' };
      return { kind: 'changed', item: torn(item, input.compareAll) };
    });
    if (change.kind === 'superseded') return superseded;
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input) || !isOfJob(stored.value, input)) return superseded;
    const { epoch, baseCycle } = stored.value.replication;
    try {
      await Promise.all(
        stored.value.disks.map(({ replica }) => replicas.raiseFence(replica, { epoch, cycle: baseCycle })),
      );
    } catch (error) {
      if (!(error instanceof FencedError)) throw error;
      // A second run that comes late, when this epoch has gone on to its cycles; another epoch is another owner.
      if (error.found?.epoch !== epoch) return superseded;
    }
    return { kind: 'begun', epoch };
  };

/** Received, and still to be made recovery points of; but for what cannot be applied. */
function isBehind({ replication }: ProtectedItem): boolean {
  const { phase, appliedCycle, receivedCycle, resyncRequired, torn: isTorn } = replication;
  return phase === 'delta' && !isTorn && resyncRequired?.reason !== applyFailedReason && appliedCycle < receivedCycle;
}

function torn(item: ProtectedItem, compareAll: boolean): ProtectedItem {
  const {
    resync,
    resyncRequired,
    checksums,
    checkpointAt: _checkpoint,
    baseClosedByCycle: _closed,
    lastError: _error,
    ...kept
  } = item.replication;
  const { epoch, receivedCycle, appliedCycle, phase } = kept;
  // The site's record of changed chunks counts from a state that the disks hold whole, and no other.
  const holdsWhole = phase === 'delta' && !kept.torn && appliedCycle === receivedCycle;
  return {
    ...item,
    disks: item.disks.map(({ lastSnapshot: _snapshot, ...disk }) => ({
      ...disk,
      baseReceivedThroughBytes: 0,
      baseAppliedThroughBytes: 0,
      digestedThroughBytes: 0,
    })),
    replication: {
      ...kept,
      phase: 'resynchronization',
      torn: true,
      epoch: epoch + 1,
      baseCycle: receivedCycle,
      appliedCycle: receivedCycle,
      ...(resync && {
        resync: {
          ...resync,
          failedAttempts: resyncRequired?.failedAttempts ?? 0,
          ...(holdsWhole && !compareAll && { changedSince: { epoch, cycle: appliedCycle } }),
          ...(holdsWhole && !compareAll && areCurrent(checksums, kept) && { checksumsOf: epoch }),
        },
      }),
    },
  };
}

/** Of the present base, with no cycle since that did not note what it wrote. */
const areCurrent = (
  checksums: ProtectedItem['replication']['checksums'],
  { epoch, appliedCycle }: { epoch: number; appliedCycle: number },
): boolean => checksums?.epoch === epoch && checksums.throughCycle === appliedCycle;

/** Rows that one run deletes: a transaction takes 100 operations. */
const deletedInRunMax = 90;

/** What earlier epochs had received and will not apply any more: rows and blobs. */
export const makeDropSuperseded =
  ({
    table,
    replicas,
    transfers,
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'transfers'>): Activity<typeof activities.dropSuperseded> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return superseded;
    const { protectionId, replication } = stored.value;
    // A failover that took over applies what the epochs before it received.
    if (replication.phase === 'stopped') return superseded;
    const isOld = (of: { protectionId: string; epoch: number }): boolean =>
      of.protectionId !== protectionId || of.epoch < replication.epoch;
    for (;;) {
      const [cycles, segments] = await Promise.all([
        list(table, rows.cycles(input.vaultId, input.itemId)),
        list(table, rows.segments(input.vaultId, input.itemId)),
      ]);
      const old = [
        ...cycles.filter(({ value }) => isOld(value.manifest)),
        ...segments.filter(({ value }) => isOld(value.announcement)),
      ].slice(0, deletedInRunMax);
      if (old.length === 0) break;
      await table.transact(
        stored.ref.partition,
        old.map(({ ref, etag }) => ({ kind: 'delete', rowKey: ref.rowKey, etag })),
      );
    }
    await dropStrays({ table, replicas, transfers }, input, stored.value);
    return done;
  };

/**
 * How far it has come, from the item's row alone. Once its base is whole the row names the job no longer, and the next
 * resynchronization may have taken an epoch since: so the epoch is asked last.
 */
export const makeReadResynchronization =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.readResynchronization> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, { protectionId: input.protectionId })) return { kind: 'superseded' };
    const { resyncRequired, epoch, checkpointAt, baseClosedByCycle, phase } = stored.value.replication;
    if (phase === 'stopped') return { kind: 'superseded' };
    if (!isOfJob(stored.value, input)) return { kind: 'finished' };
    if (epoch !== input.epoch) return { kind: 'superseded' };
    if (resyncRequired) return { kind: 'failed', reason: resyncRequired.reason, message: resyncRequired.message };
    if (checkpointAt === undefined) return { kind: 'starting' };
    return { kind: baseClosedByCycle === undefined ? 'comparing' : 'completing' };
  };

/** The base is closed and its first recovery point is made: the disks are a state of the VM again. */
export const makeFinishResynchronization =
  ({
    table,
    clock,
  }: Pick<ActivityDependencies, 'table' | 'clock'>): Activity<typeof activities.finishResynchronization> =>
  async (input) => {
    const now = (await clock.now()).toString();
    const scopes = await scopesOf(table, input);
    await completeNotes(table, input, scopes);
    const change = await changeItem(table, input, async (item) => {
      if (item.replication.phase !== 'resynchronization') return { kind: 'unchanged' };
      const isFirst = item.state === 'InitialReplicationInProgress';
      const state = nextState(item.state, isFirst ? 'initialReplicationFinished' : 'resyncFinished');
      // A failover that is still in its checks reads the state that it will go back to when it is refused.
      if (state === undefined && item.state !== 'UnplannedFailoverInProgress') return { kind: 'superseded' };
      const { resync, ...replication } = item.replication;
      // Of what was spared nothing is known but by the checksums kept before.
      const areChecksumsWhole = scopes.length === 0 || resync?.checksumsOf !== undefined;
      const job = finalizeJob(input, item, now);
      return {
        kind: 'changed',
        item: {
          ...item,
          state: state ?? item.state,
          replication: {
            ...replication,
            phase: 'delta',
            torn: false,
            ...(areChecksumsWhole && {
              checksums: { epoch: input.epoch, throughCycle: replication.appliedCycle },
            }),
          },
          ...(isFirst && { activeJob: { jobName: job.jobName, scenarioName: job.scenarioName, startedAt: now } }),
        },
        operations: [
          ...(await scopeDeletions(table, input)),
          ...(isFirst ? [insert(rows.job(input.vaultId, input.jobName), job)] : []),
        ],
      };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

/** What is compared of each disk by the site's record of changed chunks; none where all of it is. */
async function scopesOf(
  table: StateTable,
  { vaultId, itemId, epoch }: Pick<EpochWorkflowInput, 'vaultId' | 'itemId' | 'epoch'>,
): Promise<Stored<StoredResyncScope>[]> {
  return (await list(table, rows.resyncScopes(vaultId, itemId))).filter(({ value }) => value.epoch === epoch);
}

/** Every disk has its notes, with those of the base before where neither side was looked at now. */
async function completeNotes(
  table: StateTable,
  input: EpochWorkflowInput,
  scopes: readonly Stored<StoredResyncScope>[],
): Promise<void> {
  const stored = await read(table, rows.item(input.vaultId, input.itemId));
  if (!owned(stored, input) || stored.value.replication.phase !== 'resynchronization') return;
  const { vaultId, itemId, epoch } = input;
  const source = { vaultId, item: stored.value };
  const from = stored.value.replication.resync?.checksumsOf;
  for (const diskIndex of stored.value.disks.keys()) {
    const { rowKey } = rows.resyncScope(vaultId, itemId, diskIndex);
    const scope = scopes.find(({ ref }) => ref.rowKey === rowKey)?.value;
    const map = scope && { groupBytes: scope.groupBytes, bitmap: Buffer.from(scope.bitmap, 'base64') };
    if (map !== undefined && from !== undefined)
      await carryNotes(table, { ...source, diskIndex }, { from, to: epoch }, map);
    else await beginNotes(table, { ...source, diskIndex }, epoch);
  }
}

async function scopeDeletions(
  table: StateTable,
  { vaultId, itemId }: Pick<JobWorkflowInput, 'vaultId' | 'itemId'>,
): Promise<RowOperation[]> {
  const scopes = await list(table, rows.resyncScopes(vaultId, itemId));
  return scopes.map(({ ref }) => ({ kind: 'delete', rowKey: ref.rowKey }));
}

/**
 * Gives up: the item waits for a resynchronization again, torn if this one had begun. The next begins by itself after the
 * retry schedule's wait at the earliest. A failover that took the item over is not touched.
 */
export const makeAbandonResynchronization =
  ({
    table,
    clock,
  }: Pick<ActivityDependencies, 'table' | 'clock'>): Activity<typeof activities.abandonResynchronization> =>
  async (input) => {
    const now = await clock.now();
    await changeItem(table, input, async (item) => {
      if (!isOfJob(item, input)) return { kind: 'unchanged' };
      const { resync, resyncRequired, ...kept } = item.replication;
      const event: ProtectionEvent = 'resyncFailed';
      const failedAttempts = (resync?.failedAttempts ?? 0) + 1;
      const wasBegun = kept.phase === 'resynchronization';
      const required = resyncRequired ?? {
        reason: resync?.cause ?? 'requested',
        message: messageWithCode(input.failure),
        at: now.toString(),
      };
      const isWanted = wasBegun || resyncRequired !== undefined;
      const started = Temporal.Instant.from(resync?.startedAt ?? now.toString());
      return {
        kind: 'changed',
        item: {
          ...item,
          state: nextState(item.state, event) ?? item.state,
          replication: {
            ...kept,
            phase: wasBegun ? phaseBefore(item) : kept.phase,
            ...(isWanted && {
              resyncRequired: {
                ...required,
                failedAttempts,
                nextAttemptAt: nextAttemptAt(started, failedAttempts, now).toString(),
              },
            }),
          },
        },
        operations: await scopeDeletions(table, input),
      };
    });
    return {};
  };

const phaseBefore = ({ state }: ProtectedItem): 'initialReplication' | 'delta' =>
  state === 'InitialReplicationInProgress' ? 'initialReplication' : 'delta';
