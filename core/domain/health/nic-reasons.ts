import { lostNics } from '../failover/nics.js';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import type { HealthContext } from './health-context.js';
import type { HealthReason } from './health-reason.js';

/** Where the source lacks network interfaces that its VM in Azure was to have: it would come up without them. */
export function nicReasons(item: ProtectedItem, { vm }: Pick<HealthContext, 'vm'>): HealthReason[] {
  const lost = vm === undefined ? [] : lostNics(item, vm);
  if (lost.length === 0) return [];
  const names = lost.map(({ nicId, role }) => `${nicId} (${role})`).join(', ');
  const isPrimaryLost = lost.some(({ role }) => role === 'primary');
  return [
    {
      level: 'Warning',
      code: 'US3077',
      summary: 'A chosen network interface is missing at the source',
      message: `a failover leaves out network interfaces that the source has no more: ${names}${
        isPrimaryLost ? '; its first one is primary in their place' : ''
      }`,
      possibleCauses: 'The interface was removed, or made anew: it has another id then, and none of its settings.',
      recommendedAction: 'See the virtual machine’s network interfaces, and set their roles anew (vmNics).',
      at: item.replication.lastHeartbeatAt ?? item.createdAt,
    },
  ];
}
