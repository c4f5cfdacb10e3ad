import type { Temporal } from 'temporal-polyfill';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import { diskReasons } from './disk-reasons.js';
import type { HealthContext } from './health-context.js';
import type { Health, HealthLevel, HealthReason } from './health-reason.js';
import { hindranceReasons } from './hindrance-reasons.js';
import { paceReasons } from './pace-reasons.js';

/**
 * How well an item is replicated now, with every reason, by the rules of Hyper-V Replica: Critical is what cannot be sent,
 * Warning what is not as it should be. Pure: computed anew at each look, so that nothing has to be cleared.
 */
export function replicationHealth(item: ProtectedItem, context: HealthContext, now: Temporal.Instant): Health {
  const { phase } = item.replication;
  if (phase === 'none' || phase === 'stopped') return { level: 'None', reasons: [] };
  const found = [
    ...hindranceReasons(item, context, now),
    ...diskReasons(item, context),
    ...paceReasons(item, context, now),
  ];
  // The app and the relay may say the same of one thing; the graver one comes first in this list.
  const reasons = found.filter(({ code }, index) => found.findIndex((other) => other.code === code) === index);
  return { level: worstOf(reasons), reasons };
}

function worstOf(reasons: readonly HealthReason[]): HealthLevel {
  if (reasons.some(({ level }) => level === 'Critical')) return 'Critical';
  return reasons.length > 0 ? 'Warning' : 'Normal';
}
