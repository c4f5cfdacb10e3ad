import { Temporal } from 'temporal-polyfill';
import type { CycleManifest } from '../relay-protocol/wire.js';

/** What one half hour of business time brought. */
export interface StatisticsBucket {
  /** Half hours since 1970. */
  slot: number;
  receivedCount: number;
  missedCount: number;
  /** Transfer logs of the cycles, as they travelled. */
  bytesSum: number;
  /** Of one cycle. */
  bytesMax: number;
  /** From a cycle's log switch until it was received. */
  latencySumMilliseconds: number;
  latencyMaxMilliseconds: number;
  freezeFailureCount: number;
}

export const slotMilliseconds = 30 * 60 * 1000;
/** 12 hours and the half hour that runs (docs/decisions/rolling-monitoring-interval.md). */
export const slotsKept = 25;

export const slotOf = (instant: Temporal.Instant): number => Math.floor(instant.epochMilliseconds / slotMilliseconds);

/** The buckets with one more cycle in them; bounded, however long replication runs. */
export function withCycle(
  buckets: readonly StatisticsBucket[],
  manifest: CycleManifest,
  receivedAt: Temporal.Instant,
): StatisticsBucket[] {
  const last = buckets.at(-1);
  // Receipt is ordered by the item's row, not by the clock: two instances of the app may read it the other way round.
  const slot = Math.max(slotOf(receivedAt), last?.slot ?? 0);
  const before = last?.slot === slot ? last : emptyBucket(slot);
  const bytes = manifest.disks.reduce((sum, { log }) => sum + (log?.lengthBytes ?? 0), 0);
  const takenAt = Temporal.Instant.from(manifest.takenAt);
  const latencyMilliseconds = Math.max(0, receivedAt.epochMilliseconds - takenAt.epochMilliseconds);
  const bucket: StatisticsBucket = {
    slot,
    receivedCount: before.receivedCount + 1,
    missedCount: before.missedCount + (manifest.missedCycleCount ?? 0),
    bytesSum: before.bytesSum + bytes,
    bytesMax: Math.max(before.bytesMax, bytes),
    latencySumMilliseconds: before.latencySumMilliseconds + latencyMilliseconds,
    latencyMaxMilliseconds: Math.max(before.latencyMaxMilliseconds, latencyMilliseconds),
    freezeFailureCount: before.freezeFailureCount + (manifest.freezeFailure === undefined ? 0 : 1),
  };
  return [...buckets.filter((each) => each.slot < slot && each.slot > slot - slotsKept), bucket];
}

const emptyBucket = (slot: number): StatisticsBucket => ({
  slot,
  receivedCount: 0,
  missedCount: 0,
  bytesSum: 0,
  bytesMax: 0,
  latencySumMilliseconds: 0,
  latencyMaxMilliseconds: 0,
  freezeFailureCount: 0,
});
