import type { Temporal } from 'temporal-polyfill';
import type { ProtectedItem, ReplicationError } from '../protected-item/protected-item.js';
import { hasRelayContact, lastContactAt } from './contact.js';
import type { HealthContext } from './health-context.js';
import type { HealthReason } from './health-reason.js';

/** What stands in the way of sending: a resynchronization, an error, a silent relay, an operator's pause, a base that is not whole. */
export function hindranceReasons(item: ProtectedItem, context: HealthContext, now: Temporal.Instant): HealthReason[] {
  const { relayError, lastError } = item.replication;
  // Of two errors with one code the blocking one is told.
  const errors = [relayError, lastError]
    .filter((error) => error !== undefined)
    .sort((a, b) => Number(b.blocking ?? false) - Number(a.blocking ?? false));
  return [
    ...resyncReason(item),
    ...errors.map(errorReason),
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

const errorReason = ({ blocking, code, message, recommendedAction, at }: ReplicationError): HealthReason => ({
  level: blocking === true ? 'Critical' : 'Warning',
  code,
  summary: blocking === true ? 'Replication stopped' : 'Replication is being retried',
  message,
  possibleCauses: message,
  recommendedAction,
  at,
});

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
