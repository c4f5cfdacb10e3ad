import type {
  HealthErrorSummary,
  ResourceHealthSummary,
  VaultHealthDetails,
} from '@azure/arm-recoveryservices-siterecovery';
import type { HealthReason } from '../../core/domain/health/health-reason.js';
import { jobKinds } from '../../core/domain/jobs/job.js';
import { list } from '../../core/records/access.js';
import { healthOf, surroundingsInVault } from '../../core/records/item-surroundings.js';
import { rows } from '../../core/records/rows.js';
import { fabricsOf, isConnected } from './fabrics.js';
import { ok, vaultOperation, type VaultCall } from './operation.js';
import { changeRows } from './row-operation.js';
import type { Wire } from './wire.js';

const levels = ['None', 'Normal', 'Warning', 'Critical'] as const;

function counted(
  found: readonly (typeof levels)[number][],
): Pick<Wire<ResourceHealthSummary>, 'resourceCount' | 'categorizedResourceCounts'> {
  const counts = Object.fromEntries(levels.map((level) => [level, found.filter((each) => each === level).length]));
  return { resourceCount: found.length, categorizedResourceCounts: counts };
}

/** One entry for each code, with the items that have it. */
function issuesOf(found: readonly { itemId: string; reasons: readonly HealthReason[] }[]): Wire<HealthErrorSummary>[] {
  const byCode = new Map<string, { reason: HealthReason; itemIds: string[] }>();
  for (const { itemId, reasons } of found) {
    for (const reason of reasons) {
      const issue = byCode.get(reason.code) ?? { reason, itemIds: [] };
      issue.itemIds.push(itemId);
      byCode.set(reason.code, issue);
    }
  }
  return [...byCode.values()].map(({ reason, itemIds }) => ({
    summaryCode: reason.code,
    category: 'Replication',
    severity: reason.level === 'Critical' ? 'Error' : 'Warning',
    summaryMessage: reason.summary,
    affectedResourceType: 'ReplicationProtectedItem',
    affectedResourceSubtype: 'HyperVReplicaAzure',
    affectedResourceCorrelationIds: itemIds,
  }));
}

async function healthToWire(call: VaultCall): Promise<Wire<VaultHealthDetails>> {
  const [items, fabrics, surroundingsOf, now] = await Promise.all([
    list(call.app.table, rows.items(call.vaultId)),
    fabricsOf(call),
    surroundingsInVault(call.app.table, call.vaultId),
    call.app.clock.now(),
  ]);
  const found = items.map(({ value: item }) => ({
    itemId: item.itemId,
    ...healthOf(item, surroundingsOf(item), now),
  }));
  const fabricLevels = fabrics.map((fabric) => (isConnected(fabric, now) ? 'Normal' : 'Critical'));
  // A cloud is as well as the relay that speaks for it.
  const containerLevels = fabrics.flatMap(({ inventory }, index) =>
    inventory.clouds.map(() => fabricLevels[index] ?? 'None'),
  );
  return {
    id: call.armId('/replicationVaultHealth/default'),
    name: 'default',
    type: 'Microsoft.RecoveryServices/vaults/replicationVaultHealth',
    properties: {
      vaultErrors: [],
      protectedItemsHealth: { ...counted(found.map(({ level }) => level)), issues: issuesOf(found) },
      fabricsHealth: { ...counted(fabricLevels), issues: [] },
      containersHealth: { ...counted(containerLevels), issues: [] },
    },
  };
}

export const vaultHealthOperations = [
  vaultOperation(
    'replicationVaultHealth.get',
    'GET',
    '~/replicationVaultHealth',
    {
      summary: 'How many items, servers and clouds are well, and what ails the others',
      response: 'VaultHealthDetails',
    },
    async (call) => ok(await healthToWire(call)),
  ),
  vaultOperation(
    'replicationVaultHealth.beginRefresh',
    'POST',
    '~/replicationVaultHealth/default/refresh',
    {
      summary: 'The same, as a job: health is always computed from the rows of now',
      response: 'VaultHealthDetails',
      longRunning: true,
      role: 'operator',
    },
    (call) =>
      changeRows(call, {
        kind: jobKinds.refreshVaultHealth,
        targetResourceId: call.armId('/replicationVaultHealth'),
        targetObjectName: call.vault.name,
        decide: async () => [],
      }),
  ),
];
