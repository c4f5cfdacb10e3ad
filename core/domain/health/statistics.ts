import { Temporal } from 'temporal-polyfill';
import type { ReplicationPolicy } from '../policy/replication-policy.js';
import type { ProtectedItem, ReplicationProgress } from '../protected-item/protected-item.js';
import type { CycleManifest } from '../relay-protocol/wire.js';
import { secondsSince } from './seconds-since.js';
import { slotMilliseconds, slotOf, slotsKept, withCycle, type StatisticsBucket } from './statistics-bucket.js';

/** The item's progress with an accepted cycle counted: statistics, and what became of freezing the guest. */
export function withCycleCounted(
  replication: ReplicationProgress,
  manifest: CycleManifest,
  receivedAt: string,
): ReplicationProgress {
  const { freezeFailure, ...rest } = replication;
  const failure =
    manifest.freezeFailure !== undefined
      ? { message: manifest.freezeFailure, at: manifest.takenAt }
      : manifest.consistency === 'applicationConsistent'
        ? undefined
        : freezeFailure;
  return {
    ...rest,
    statistics: withCycle(replication.statistics, manifest, Temporal.Instant.from(receivedAt)),
    ...(failure === undefined ? {} : { freezeFailure: failure }),
  };
}

/** The monitoring interval, summed up. Averages are 0 where nothing came. */
export interface MonitoringSummary {
  from: string;
  to: string;
  receivedCount: number;
  /** Those that should have come by now and did not included. */
  missedCount: number;
  /** 0 … 1. */
  missedShare: number;
  averageBytes: number;
  largestBytes: number;
  averageLatencySeconds: number;
  largestLatencySeconds: number;
  freezeFailureCount: number;
}

export function summarize(
  item: ProtectedItem,
  policy: Pick<ReplicationPolicy, 'replicationIntervalSeconds' | 'intervalEditedAt'>,
  now: Temporal.Instant,
): MonitoringSummary {
  const oldestSlot = slotOf(now) - slotsKept + 1;
  const buckets = item.replication.statistics.filter(({ slot }) => slot >= oldestSlot);
  const sum = (of: (bucket: StatisticsBucket) => number) => buckets.reduce((total, each) => total + of(each), 0);
  const largest = (of: (bucket: StatisticsBucket) => number) => Math.max(0, ...buckets.map(of));
  const receivedCount = sum((each) => each.receivedCount);
  const missedCount = sum((each) => each.missedCount) + overdueCount(item, policy, now);
  const oldest = Temporal.Instant.fromEpochMilliseconds(oldestSlot * slotMilliseconds);
  const created = Temporal.Instant.from(item.createdAt);
  return {
    from: (Temporal.Instant.compare(created, oldest) > 0 ? created : oldest).toString(),
    to: now.toString(),
    receivedCount,
    missedCount,
    missedShare: missedCount === 0 ? 0 : missedCount / (receivedCount + missedCount),
    averageBytes: receivedCount === 0 ? 0 : Math.round(sum((each) => each.bytesSum) / receivedCount),
    largestBytes: largest((each) => each.bytesMax),
    averageLatencySeconds: receivedCount === 0 ? 0 : sum((each) => each.latencySumMilliseconds) / receivedCount / 1000,
    largestLatencySeconds: largest((each) => each.latencyMaxMilliseconds) / 1000,
    freezeFailureCount: sum((each) => each.freezeFailureCount),
  };
}

/**
 * Cycles that should have been taken since the last one and did not come: none where none is due. The cycle that is due now has
 * one interval to arrive, and an edited interval counts from its edit. What the manifest of the next cycle then says of them is
 * counted in their place.
 */
function overdueCount(
  { replication }: ProtectedItem,
  {
    replicationIntervalSeconds,
    intervalEditedAt,
  }: Pick<ReplicationPolicy, 'replicationIntervalSeconds' | 'intervalEditedAt'>,
  now: Temporal.Instant,
): number {
  const { phase, paused, torn, resyncRequired, receivedTakenAt, resumedAt } = replication;
  if (phase !== 'delta' || paused || torn || resyncRequired !== undefined || receivedTakenAt === undefined) return 0;
  const elapsedSeconds = Math.min(
    secondsSince(receivedTakenAt, now),
    ...[resumedAt, intervalEditedAt].flatMap((at) => (at === undefined ? [] : [secondsSince(at, now)])),
    (slotsKept * slotMilliseconds) / 1000,
  );
  return Math.max(0, Math.floor(elapsedSeconds / replicationIntervalSeconds) - 1);
}
