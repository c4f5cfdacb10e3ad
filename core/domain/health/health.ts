import type { Temporal } from 'temporal-polyfill';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import { diskReasons } from './disk-reasons.js';
import type { HealthContext } from './health-context.js';
import type { Health, HealthLevel, HealthReason } from './health-reason.js';
import { hindranceReasons } from './hindrance-reasons.js';
import { nicReasons } from './nic-reasons.js';
import { sizeReasons } from './size-reasons.js';
import { paceReasons } from './pace-reasons.js';
import { secondsSince } from './seconds-since.js';

/**
 * How well an item is replicated now, with every reason, by the rules of Hyper-V Replica: Critical is what cannot be sent,
 * Warning what is not as it should be. Pure: computed anew at each look, so that nothing has to be cleared.
 */
export function replicationHealth(item: ProtectedItem, context: HealthContext, now: Temporal.Instant): Health {
  const { phase } = item.replication;
  if (phase === 'none' || phase === 'stopped' || phase === 'failback') {
    const reasons = sourceRunsReason(item);
    return { level: reasons.length === 0 ? 'None' : 'Critical', reasons };
  }
  const found = [
    ...hindranceReasons(item, context, now),
    ...diskReasons(item, context),
    ...nicReasons(item, context),
    ...sizeReasons(item, context),
    ...paceReasons(item, context, now),
    ...testReason(item, now),
  ];
  // The app and the relay may say the same of one thing; the graver one comes first in this list.
  const reasons = found.filter(({ code }, index) => found.findIndex((other) => other.code === code) === index);
  return { level: worstOf(reasons), reasons };
}

/** After a failover the relay tells one thing of the source that an operator must know: two copies serve at the same time. */
const sourceRunsCode = 'US5123';

function sourceRunsReason({ failover, replication: { relayError } }: ProtectedItem): HealthReason[] {
  if (failover === undefined || relayError?.code !== sourceRunsCode) return [];
  return [
    {
      level: 'Critical',
      code: sourceRunsCode,
      summary: 'The source runs beside its failover',
      message: relayError.message,
      possibleCauses: 'The site came back after a failover, and its host started the virtual machine by itself.',
      recommendedAction: relayError.recommendedAction,
      at: relayError.at,
    },
  ];
}

/** A test VM is never cleaned up by time alone (docs/architecture.md): but one that is forgotten costs money. */
const testMaxSeconds = 14 * 24 * 3600;

function testReason({ testFailover, vmName }: ProtectedItem, now: Temporal.Instant): HealthReason[] {
  if (testFailover === undefined || secondsSince(testFailover.startedAt, now) <= testMaxSeconds) return [];
  return [
    {
      level: 'Warning',
      code: 'US3063',
      summary: 'Test failover is not cleaned up',
      message: `the test VM of ${vmName} has been up for more than 14 days`,
      possibleCauses: 'The test failover was forgotten, or its clean-up failed.',
      recommendedAction: 'Clean the test failover up. It counts as successful only then.',
      at: testFailover.startedAt,
    },
  ];
}

function worstOf(reasons: readonly HealthReason[]): HealthLevel {
  if (reasons.some(({ level }) => level === 'Critical')) return 'Critical';
  return reasons.length > 0 ? 'Warning' : 'Normal';
}
