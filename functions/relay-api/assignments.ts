import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { ProtectedItem, ReplicationPhase } from '../../core/domain/protected-item/protected-item.js';
import type { Assignment, AssignmentsResponse } from '../../core/domain/relay-protocol/wire.js';
import { list } from '../../core/records/access.js';
import { rows, type RegisteredRelay, type StoredPolicy } from '../../core/records/rows.js';
import {
  defaultAppConsistentFrequencyHours,
  defaultReplicationIntervalSeconds,
} from '../../core/domain/policy/replication-policy.js';
import type { App } from '../app.js';

/** Below what proxies and the platform cut off (230 s), and short enough that a stopping host waits little. */
const waitSecondsMax = 25;
/** A relay's items are read no more often than this: changes that come together are told together. */
const betweenLooksMilliseconds = 700;
/** How soon a change that another instance of the app made reaches a waiting relay; each look lists all its items. */
const safetyLookMilliseconds = 5000;

export const assignmentsQuery = z.object({
  version: z.string().max(128).optional(),
  waitSeconds: z.coerce.number().min(0).max(600).default(0),
});

const phases: Record<ReplicationPhase, Assignment['phase']> = {
  none: 'idle',
  initialReplication: 'initialReplication',
  delta: 'delta',
  resynchronization: 'resynchronization',
  stopped: 'stopped',
  failback: 'failback',
};

/** What a failback asks of the relay; undefined where none does. */
function failbackOf({ replication, failback, failover }: ProtectedItem): Assignment['failback'] {
  if (replication.phase !== 'failback' || failback === undefined) return undefined;
  const { jobName, createOnHostId, round, swap, vmRan } = failback;
  return {
    lockId: jobName,
    ...(createOnHostId !== undefined &&
      failover?.source !== undefined && { create: { hostId: createOnHostId, vm: failover.source } }),
    isCopying: round !== undefined && round.copied === undefined,
    ...(swap === 'ordered' && { replace: { startAfterwards: vmRan } }),
  };
}

export function assignmentOf(item: ProtectedItem, policy: StoredPolicy | undefined): Assignment {
  const { replication } = item;
  const failback = failbackOf(item);
  return {
    itemId: item.itemId,
    protectionId: item.protectionId,
    vmId: item.vmId,
    vmName: item.vmName,
    epoch: replication.epoch,
    phase: phases[replication.phase],
    ...(replication.stopReason === undefined ? {} : { stopReason: replication.stopReason }),
    paused: replication.paused,
    resyncRequired: replication.resyncRequired !== undefined,
    resumedCount: replication.resumedCount,
    ...(replication.sourceLock === undefined ? {} : { sourceLock: replication.sourceLock }),
    ...(failback === undefined ? {} : { failback }),
    ...(replication.phase === 'resynchronization' && replication.resync?.changedSince !== undefined
      ? { changedSince: replication.resync.changedSince }
      : {}),
    replicationIntervalSeconds: policy?.replicationIntervalSeconds ?? defaultReplicationIntervalSeconds,
    appConsistentFrequencyHours: policy?.appConsistentFrequencyHours ?? defaultAppConsistentFrequencyHours,
    receivedCycle: replication.receivedCycle,
    disks: item.disks.map((disk) => ({
      diskId: disk.diskId,
      sizeBytes: disk.sourceSizeBytes,
      receivedThroughBytes: disk.baseReceivedThroughBytes,
      appliedThroughBytes: disk.baseAppliedThroughBytes,
      digestedThroughBytes: disk.digestedThroughBytes,
    })),
  };
}

/**
 * Without the cycles received: the relay announced them itself and has the answer, and of hundreds of items at work one
 * always has a new one.
 */
const news = (assignment: Assignment): Assignment => ({ ...assignment, receivedCycle: 0 });

const sha256 = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 32);

/** Changes with everything in an item's row that a relay must hear of. */
export const assignmentDigest = (item: ProtectedItem): string =>
  sha256([item.relayId, item.policyName, news(assignmentOf(item, undefined))]);

async function present(app: App, relay: RegisteredRelay): Promise<AssignmentsResponse> {
  const [items, policies, commands] = await Promise.all([
    list(app.table, rows.items(relay.vaultId)),
    list(app.table, rows.policies(relay.vaultId)),
    list(app.table, rows.commands(relay.relayId)),
  ]);
  const policyByName = new Map(policies.map(({ value }) => [value.name.toLowerCase(), value]));
  const assignments = items
    .filter(({ value }) => value.relayId === relay.relayId)
    .map(({ value }) => assignmentOf(value, policyByName.get(value.policyName.toLowerCase())));
  return {
    version: sha256(assignments.map(news)),
    assignments,
    commands: commands.filter(({ value }) => value.result === undefined).map(({ value }) => value.command),
  };
}

/**
 * What the relay is to do: at once when it differs from what the relay knows or a command waits, else when that comes true.
 * The rows are the truth. They are read when this process changed one that counts, and every few seconds in case another did.
 */
export async function awaitAssignments(
  app: App,
  relay: RegisteredRelay,
  query: z.output<typeof assignmentsQuery>,
): Promise<AssignmentsResponse> {
  // System time: this is a transfer's timeout, not business.
  const until = performance.now() + Math.min(query.waitSeconds, waitSecondsMax) * 1000;
  const partitions = [rows.items(relay.vaultId).partition, rows.commands(relay.relayId).partition];
  for (;;) {
    const mark = app.assignmentChanges.mark(partitions);
    const found = await present(app, relay);
    const leftMilliseconds = until - performance.now();
    if (found.version !== query.version || found.commands.length > 0 || leftMilliseconds <= 0) return found;
    await sleep(Math.min(betweenLooksMilliseconds, leftMilliseconds));
    const patience = Math.min(safetyLookMilliseconds, until - performance.now());
    if (patience > 0) await app.assignmentChanges.changedSince(mark, partitions, patience);
  }
}
