import type { Temporal } from 'temporal-polyfill';
import type { ProtectedItem, ReplicationError } from '../protected-item/protected-item.js';
import { hasRelayContact, lastContactAt } from './contact.js';
import type { HealthContext } from './health-context.js';
import type { HealthReason } from './health-reason.js';
import { secondsSince } from './seconds-since.js';

/** What stands in the way of sending: a resynchronization, an error, a silent relay, an operator's pause, a base that is not whole. */
export function hindranceReasons(item: ProtectedItem, context: HealthContext, now: Temporal.Instant): HealthReason[] {
  return [
    ...resyncReason(item),
    ...errorReasons(item, now),
    ...contactReason(item, context, now),
    ...pauseReason(item),
    ...initialReplicationReason(item),
  ];
}

function resyncReason({ createdAt, replication }: ProtectedItem): HealthReason[] {
  const { resync, resyncProgress, resyncRequired, torn, appliedAt } = replication;
  if (resync !== undefined) {
    const progress =
      resyncProgress && `: ${resyncProgress.comparedBytes} of ${resyncProgress.totalBytes} bytes compared`;
    return [
      {
        level: 'Critical',
        code: 'US3055',
        summary: 'Resynchronization is running',
        message: `source and replica are compared${progress ?? ''}; recovery points of before stay usable`,
        possibleCauses: resync.cause,
        recommendedAction: 'Wait until it is complete. If the site is lost meanwhile, fail over.',
        at: resync.startedAt,
      },
    ];
  }
  if (resyncRequired === undefined && !torn) return [];
  return [
    {
      level: 'Critical',
      code: 'US3050',
      summary: 'Resynchronization required',
      message: resyncRequired?.message ?? 'a resynchronization was begun and not completed',
      possibleCauses: resyncRequired?.reason ?? 'torn',
      recommendedAction: 'Resynchronize the virtual machine. Recovery points made before stay usable.',
      at: resyncRequired?.at ?? appliedAt ?? createdAt,
    },
  ];
}

/** Hyper-V Replica's limit of the last send: what has not got through for so long, and fails, cannot be sent. */
export const lastSendMaxSeconds = 3600;

/** Of two errors with one code the graver one comes first, and is told. */
function errorReasons({ createdAt, replication }: ProtectedItem, now: Temporal.Instant): HealthReason[] {
  const { relayError, lastError, receivedAt, appliedAt } = replication;
  const reasons = [
    ...(relayError ? [errorReason(relayError, receivedAt ?? createdAt, now)] : []),
    ...(lastError ? [errorReason(lastError, appliedAt ?? createdAt, now)] : []),
  ];
  return reasons.sort((a, b) => Number(b.level === 'Critical') - Number(a.level === 'Critical'));
}

/** `succeededAt`: when the side that fails last got anything through. */
function errorReason(
  { blocking, code, message, recommendedAction, at }: ReplicationError,
  succeededAt: string,
  now: Temporal.Instant,
): HealthReason {
  const isStopped = blocking === true;
  const isStanding = secondsSince(succeededAt, now) > lastSendMaxSeconds;
  return {
    level: isStopped || isStanding ? 'Critical' : 'Warning',
    code,
    summary: isStopped
      ? 'Replication stopped'
      : isStanding
        ? 'Nothing gets through; replication is being retried'
        : 'Replication is being retried',
    message,
    possibleCauses: message,
    recommendedAction,
    at,
  };
}

function contactReason(item: ProtectedItem, { relayHeardAt }: HealthContext, now: Temporal.Instant): HealthReason[] {
  const at = lastContactAt(item, relayHeardAt);
  if (at === undefined || hasRelayContact(item, relayHeardAt, now)) return [];
  return [
    {
      level: 'Critical',
      code: 'US3051',
      summary: 'No contact with the relay',
      message: `the relay was last heard at ${at}`,
      possibleCauses: 'The relay is stopped, its machine is down, or the line between the site and Azure is cut.',
      recommendedAction: 'See that the relay runs and reaches the app by HTTPS. If the site is lost, fail over.',
      at,
    },
  ];
}

function pauseReason({ createdAt, replication: { paused, pausedAt } }: ProtectedItem): HealthReason[] {
  if (!paused) return [];
  return [
    {
      level: 'Warning',
      code: 'US3052',
      summary: 'Replication is paused',
      message: 'an operator paused replication; changes are logged at the source and not sent',
      possibleCauses: 'An operator paused it.',
      recommendedAction: 'Resume replication before the logs grow to half of the disks.',
      at: pausedAt ?? createdAt,
    },
  ];
}

function initialReplicationReason({ createdAt, replication: { phase, checkpointAt } }: ProtectedItem): HealthReason[] {
  if (phase !== 'initialReplication') return [];
  return [
    {
      level: 'Warning',
      code: 'US3053',
      summary: 'Initial replication is not complete',
      message: 'there is no recovery point yet',
      possibleCauses: 'Initial replication is running.',
      recommendedAction: 'Wait until initial replication is complete.',
      at: checkpointAt ?? createdAt,
    },
  ];
}
