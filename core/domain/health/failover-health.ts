import type { ProtectedItem } from '../protected-item/protected-item.js';
import { diskReasons } from './disk-reasons.js';
import type { HealthContext } from './health-context.js';
import type { HealthLevel } from './health-reason.js';
import { nicReasons } from './nic-reasons.js';
import { sizeReasons } from './size-reasons.js';

/**
 * What a failover would come to now. Critical: there is no whole recovery point to go to. Warning: the virtual machine that came up
 * would lack a disk that the source has by now, an interface that it was to have, or room that the source has. None: nothing is to be failed over, or it is already.
 */
export function failoverHealth(item: ProtectedItem, context: Pick<HealthContext, 'vm'>): HealthLevel {
  const { phase, appliedTakenAt } = item.replication;
  if (item.failover !== undefined || phase === 'none' || phase === 'stopped' || phase === 'failback') return 'None';
  if (appliedTakenAt === undefined) return 'Critical';
  const lacks = [...diskReasons(item, context), ...nicReasons(item, context), ...sizeReasons(item, context)];
  return lacks.length > 0 ? 'Warning' : 'Normal';
}
