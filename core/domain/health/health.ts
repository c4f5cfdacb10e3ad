import { Temporal } from 'temporal-polyfill';
import type { ReplicationPolicy } from '../policy/replication-policy.js';
import type { ProtectedItem } from '../protected-item/protected-item.js';

export type HealthLevel = 'None' | 'Normal' | 'Warning' | 'Critical';

export interface HealthReason {
  level: 'Warning' | 'Critical';
  code: string;
  summary: string;
  message: string;
  possibleCauses: string;
  recommendedAction: string;
  at: string;
}

export interface Health {
  level: HealthLevel;
  reasons: HealthReason[];
}

/** A relay that says nothing for this long cannot send. */
const heartbeatMissingSeconds = 5 * 60;
/** Hyper-V Replica: more than an hour since the last send is not normal; we call it critical, since RPO is lost. */
const silentSeconds = 3600;
/** Cycles that may be late before it is worth a warning. */
const lateCyclesMax = 3;

/** Seconds between now and the source's time of the last received cycle; undefined before the first. */
export function rpoSeconds(item: ProtectedItem, now: Temporal.Instant): number | undefined {
  const { receivedTakenAt } = item.replication;
  return receivedTakenAt === undefined ? undefined : Math.max(0, secondsSince(receivedTakenAt, now));
}

const secondsSince = (instant: string, now: Temporal.Instant): number =>
  Math.floor((now.epochMilliseconds - Temporal.Instant.from(instant).epochMilliseconds) / 1000);

/** How well an item is replicated now, with every reason. Pure: nothing is stored, so nothing has to be cleared. */
export function replicationHealth(
  item: ProtectedItem,
  policy: Pick<ReplicationPolicy, 'replicationIntervalSeconds'>,
  now: Temporal.Instant,
): Health {
  const { phase } = item.replication;
  if (phase === 'none' || phase === 'stopped') return { level: 'None', reasons: [] };
  const reasons = [
    ...resyncReason(item),
    ...errorReason(item),
    ...heartbeatReason(item, now),
    ...pauseReason(item, now),
    ...(phase === 'initialReplication' ? initialReplicationReason(item) : lateReason(item, policy, now)),
  ];
  const level = reasons.some((reason) => reason.level === 'Critical')
    ? 'Critical'
    : reasons.length > 0
      ? 'Warning'
      : 'Normal';
  return { level, reasons };
}

function resyncReason(item: ProtectedItem): HealthReason[] {
  const { resyncRequired } = item.replication;
  if (!resyncRequired) return [];
  return [
    {
      level: 'Critical',
      code: 'US3050',
      summary: 'Resynchronization required',
      message: resyncRequired.message,
      possibleCauses: resyncRequired.reason,
      recommendedAction: 'Resynchronize the virtual machine. Recovery points made before stay usable.',
      at: resyncRequired.at,
    },
  ];
}

function errorReason(item: ProtectedItem): HealthReason[] {
  const { lastError } = item.replication;
  if (!lastError) return [];
  return [
    {
      level: lastError.blocking === true ? 'Critical' : 'Warning',
      code: lastError.code,
      summary: lastError.blocking === true ? 'Replication stopped' : 'Replication is being retried',
      message: lastError.message,
      possibleCauses: lastError.message,
      recommendedAction: lastError.recommendedAction,
      at: lastError.at,
    },
  ];
}

function heartbeatReason(item: ProtectedItem, now: Temporal.Instant): HealthReason[] {
  const { lastHeartbeatAt } = item.replication;
  if (lastHeartbeatAt === undefined || secondsSince(lastHeartbeatAt, now) <= heartbeatMissingSeconds) return [];
  return [
    {
      level: 'Critical',
      code: 'US3051',
      summary: 'No contact with the relay',
      message: `the relay was last heard at ${lastHeartbeatAt}`,
      possibleCauses: 'The relay is stopped, its machine is down, or the line between the site and Azure is cut.',
      recommendedAction: 'See that the relay runs and reaches the app by HTTPS. If the site is lost, fail over.',
      at: lastHeartbeatAt,
    },
  ];
}

function pauseReason(item: ProtectedItem, now: Temporal.Instant): HealthReason[] {
  if (!item.replication.paused) return [];
  return [
    {
      level: 'Warning',
      code: 'US3052',
      summary: 'Replication is paused',
      message: 'an operator paused replication; changes are logged at the source and not sent',
      possibleCauses: 'An operator paused it.',
      recommendedAction: 'Resume replication before the logs grow to half of the disks.',
      at: now.toString(),
    },
  ];
}

function initialReplicationReason(item: ProtectedItem): HealthReason[] {
  return [
    {
      level: 'Warning',
      code: 'US3053',
      summary: 'Initial replication is not complete',
      message: 'there is no recovery point yet',
      possibleCauses: 'Initial replication is running.',
      recommendedAction: 'Wait until initial replication is complete.',
      at: item.replication.checkpointAt ?? item.createdAt,
    },
  ];
}

function lateReason(
  item: ProtectedItem,
  policy: Pick<ReplicationPolicy, 'replicationIntervalSeconds'>,
  now: Temporal.Instant,
): HealthReason[] {
  const lagSeconds = rpoSeconds(item, now);
  const interval = policy.replicationIntervalSeconds;
  if (item.replication.paused || lagSeconds === undefined || lagSeconds <= lateCyclesMax * interval) return [];
  const silent = lagSeconds > Math.max(silentSeconds, lateCyclesMax * interval);
  return [
    {
      level: silent ? 'Critical' : 'Warning',
      code: 'US3054',
      summary: 'Replication is late',
      message: `the newest received state of the virtual machine is ${lagSeconds} s old, at an interval of ${interval} s`,
      possibleCauses:
        'The line is slow or cut, the guest writes faster than the line carries, or the relay is stopped.',
      recommendedAction: 'See the relay and the line; lower the churn or widen the line.',
      at: item.replication.receivedAt ?? now.toString(),
    },
  ];
}
