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
import { fabricsOf, siteReasons } from './fabrics.js';
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

/** One entry for each code, with what has it. */
function issuesOf(
  kind: Pick<Wire<HealthErrorSummary>, 'category' | 'affectedResourceType' | 'affectedResourceSubtype'>,
  found: readonly { id: string; reasons: readonly HealthReason[] }[],
): Wire<HealthErrorSummary>[] {
  const byCode = new Map<string, { reason: HealthReason; ids: string[] }>();
  for (const { id, reasons } of found) {
    for (const reason of reasons) {
      const issue = byCode.get(reason.code) ?? { reason, ids: [] };
      issue.ids.push(id);
      byCode.set(reason.code, issue);
    }
  }
  return [...byCode.values()].map(({ reason, ids }) => ({
    ...kind,
    summaryCode: reason.code,
    severity: reason.level === 'Critical' ? 'Error' : 'Warning',
    summaryMessage: reason.summary,
    affectedResourceCorrelationIds: ids,
  }));
}

const itemIssues = {
  category: 'Replication',
  affectedResourceType: 'ReplicationProtectedItem',
  affectedResourceSubtype: 'HyperVReplicaAzure',
} as const;
const fabricIssues = { category: 'FabricInfrastructure', affectedResourceType: 'ReplicationFabric' } as const;
const containerIssues = { category: 'FabricInfrastructure', affectedResourceType: 'ProtectionContainer' } as const;

async function healthToWire(call: VaultCall): Promise<Wire<VaultHealthDetails>> {
  const [items, fabrics, surroundingsOf, now] = await Promise.all([
    list(call.app.table, rows.items(call.vaultId)),
    fabricsOf(call),
    surroundingsInVault(call.app.table, call.vaultId),
    call.app.clock.now(),
  ]);
  const found = items.map(({ value: item }) => ({
    id: item.itemId,
    ...healthOf(item, surroundingsOf(item), now),
  }));
  const sites = fabrics.map((fabric) => ({ id: fabric.fabricName, fabric, reasons: siteReasons(fabric, now) }));
  // A cloud is as well as the relay that speaks for it.
  const clouds = sites.flatMap(({ fabric, reasons }) =>
    fabric.inventory.clouds.map(({ cloudId }) => ({ id: cloudId, reasons })),
  );
  const levelOf = ({ reasons }: { reasons: HealthReason[] }) => (reasons.length > 0 ? 'Critical' : 'Normal');
  return {
    id: call.armId('/replicationVaultHealth/default'),
    name: 'default',
    type: 'Microsoft.RecoveryServices/vaults/replicationVaultHealth',
    properties: {
      vaultErrors: [],
      protectedItemsHealth: { ...counted(found.map(({ level }) => level)), issues: issuesOf(itemIssues, found) },
      fabricsHealth: { ...counted(sites.map(levelOf)), issues: issuesOf(fabricIssues, sites) },
      containersHealth: { ...counted(clouds.map(levelOf)), issues: issuesOf(containerIssues, clouds) },
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
