import type { OperationsDiscovery } from '@azure/arm-recoveryservices-siterecovery';
import { collection, operation, type Operation } from './operation.js';
import { fullPath } from './router.js';
import type { Wire } from './wire.js';

const verbs = { GET: 'read', PUT: 'write', PATCH: 'write', DELETE: 'delete', POST: 'action' } as const;

/** `Microsoft.RecoveryServices/vaults/replicationPolicies/read`: types of the path, and what is done; of a POST its last word. */
function permissionOf(row: Operation): string | undefined {
  const [, provider] = fullPath(row).split('/providers/');
  if (provider === undefined) return undefined;
  const types = provider.split('/').filter((segment) => !segment.startsWith('{'));
  return `${types.join('/')}/${verbs[row.method]}`;
}

/** What a role definition may name. Derived from the operations table, as routes and docs are. */
export const discoveryOperation = (operations: () => readonly Operation[]): Operation =>
  operation(
    'operations.list',
    'GET',
    '/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.RecoveryServices/operations',
    { summary: 'Every operation of this surface', response: 'OperationsDiscoveryCollection' },
    async () => {
      const named = new Map<string, Wire<OperationsDiscovery>>();
      for (const row of operations()) {
        const name = permissionOf(row);
        if (name === undefined || named.has(name)) continue;
        const [, resource = ''] = /^Microsoft\.RecoveryServices\/(.*)\/[a-z]+$/i.exec(name) ?? [];
        named.set(name, {
          name,
          display: { provider: 'Understudy', resource, operation: row.name, description: row.summary },
          origin: 'user',
        });
      }
      return collection([...named.values()]);
    },
  );
