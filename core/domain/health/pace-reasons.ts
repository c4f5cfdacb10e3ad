import type { Temporal } from 'temporal-polyfill';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import type { HealthContext } from './health-context.js';
import type { HealthReason } from './health-reason.js';
import { lastSendMaxSeconds } from './hindrance-reasons.js';
import { rpoSeconds } from './rpo.js';
import { secondsSince } from './seconds-since.js';
import { summarize } from './statistics.js';

/** The limits of Hyper-V Replica ("Interpreting Replication Health"). */
const missedShareMax = 0.2;
const averageLatencyMaxSeconds = 5 * 60;

/** How replication keeps up, once initial replication is complete. */
export function paceReasons(item: ProtectedItem, context: HealthContext, now: Temporal.Instant): HealthReason[] {
  if (item.replication.phase === 'initialReplication') return [];
  return [
    ...summaryReasons(item, context, now),
    ...lastSendReason(item, now),
    ...rpoReason(item, context, now),
    ...freezeReason(item, context),
  ];
}

function summaryReasons(item: ProtectedItem, { policy }: HealthContext, now: Temporal.Instant): HealthReason[] {
  const { missedShare, missedCount, receivedCount, averageLatencySeconds, from, to } = summarize(item, policy, now);
  const slow = {
    level: 'Warning',
    possibleCauses:
      'The line is slow or cut, the guest writes faster than the line carries, or the relay or its host is overloaded.',
    recommendedAction: 'See the relay and the line; lower the churn, widen the line or choose a longer interval.',
    at: item.replication.receivedAt ?? item.createdAt,
  } as const;
  const missed: HealthReason = {
    ...slow,
    code: 'US3056',
    summary: 'Too many replication cycles were missed',
    message: `${missedCount} of ${missedCount + receivedCount} cycles between ${from} and ${to} were missed`,
  };
  const late: HealthReason = {
    ...slow,
    code: 'US3057',
    summary: 'Replication is slow',
    message: `a cycle took ${Math.round(averageLatencySeconds)} s on average from its log switch until it was received`,
  };
  return [
    ...(missedShare > missedShareMax ? [missed] : []),
    ...(averageLatencySeconds > averageLatencyMaxSeconds ? [late] : []),
  ];
}

/** Where nothing is to be sent, because of a pause or a resynchronization, that is told instead. */
function lastSendReason({ replication }: ProtectedItem, now: Temporal.Instant): HealthReason[] {
  const { phase, paused, torn, resyncRequired, resync, receivedAt } = replication;
  const isToSend = phase === 'delta' && !paused && !torn && resyncRequired === undefined && resync === undefined;
  if (!isToSend || receivedAt === undefined || secondsSince(receivedAt, now) <= lastSendMaxSeconds) return [];
  return [
    {
      level: 'Warning',
      code: 'US3054',
      summary: 'Nothing was sent for more than an hour',
      message: `the last cycle was received at ${receivedAt}`,
      possibleCauses:
        'The line is slow or cut, the guest writes faster than the line carries, or the relay is stopped.',
      recommendedAction: 'See the relay and the line; lower the churn or widen the line.',
      at: receivedAt,
    },
  ];
}

function rpoReason(item: ProtectedItem, { rpoThresholdSeconds }: HealthContext, now: Temporal.Instant): HealthReason[] {
  const rpo = rpoSeconds(item, now);
  if (rpo === undefined || rpo <= rpoThresholdSeconds) return [];
  return [
    {
      level: 'Warning',
      code: 'US3058',
      summary: 'RPO is above its threshold',
      message: `a failover now would lose what the virtual machine wrote in the last ${rpo} s; the threshold is ${rpoThresholdSeconds} s`,
      possibleCauses: 'Replication is paused, slow, stopped or waiting for resynchronization: see the other reasons.',
      recommendedAction: 'Mend what the other reasons name, or raise the threshold in the replication settings.',
      at: item.replication.receivedAt ?? item.createdAt,
    },
  ];
}

/** Stands until a point comes out application-consistent, or none is wanted any more. */
function freezeReason({ replication: { freezeFailure } }: ProtectedItem, { policy }: HealthContext): HealthReason[] {
  if (freezeFailure === undefined || policy.appConsistentFrequencyHours === 0) return [];
  return [
    {
      level: 'Warning',
      code: 'US3062',
      summary: 'The last application-consistent point failed',
      message: `the guest could not be frozen, so that the point is crash-consistent: ${freezeFailure.message}`,
      possibleCauses:
        'The guest’s integration services are off or outdated, another backup runs, or a guest disk is dynamic or iSCSI.',
      recommendedAction: 'See the guest’s VSS writers and integration services; the next due point tries again.',
      at: freezeFailure.at,
    },
  ];
}
