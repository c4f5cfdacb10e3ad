import { Temporal } from 'temporal-polyfill';
import type { ReplicationPolicy } from '../policy/replication-policy.js';
import type { RecoveryPoint } from './recovery-point.js';

const hourMilliseconds = 3_600_000;
/** Younger points are all kept. */
const everyPointMilliseconds = hourMilliseconds;

/**
 * Which ready points to drop. Kept are every point of the last hour, then one of each clock hour up to the policy's
 * history: the newest application-consistent one, else the newest. The newest point of all is never dropped, nor one that
 * a job holds. A history of 0 hours keeps the newest only.
 *
 * Hours are clock hours, not hours before now: which point stands for an hour is settled when the hour is over.
 */
export function planRetention(
  points: readonly RecoveryPoint[],
  policy: Pick<ReplicationPolicy, 'recoveryPointHistoryHours'>,
  now: Temporal.Instant,
): RecoveryPoint[] {
  const ready = points.filter(({ state }) => state === 'ready').sort((a, b) => a.cycle - b.cycle);
  const newest = ready.at(-1);
  const keptOfHour = new Map<number, RecoveryPoint>();
  for (const point of ready) {
    const hour = Math.floor(takenAtMilliseconds(point) / hourMilliseconds);
    const kept = keptOfHour.get(hour);
    if (kept?.consistency === 'applicationConsistent' && point.consistency === 'crashConsistent') continue;
    keptOfHour.set(hour, point);
  }
  const standsForItsHour = new Set(keptOfHour.values());
  const history = policy.recoveryPointHistoryHours * hourMilliseconds;
  return ready.filter((point) => {
    if (point === newest || point.pinnedBy.length > 0) return false;
    const age = now.epochMilliseconds - takenAtMilliseconds(point);
    if (age > history) return true;
    return age > everyPointMilliseconds && !standsForItsHour.has(point);
  });
}

const takenAtMilliseconds = (point: RecoveryPoint): number => Temporal.Instant.from(point.takenAt).epochMilliseconds;
