import { operations } from '../../../functions/arm/operations.js';
import type { Operation } from '../../../functions/arm/operation.js';
import { fullPath } from '../../../functions/arm/router.js';
import { asJobName } from '../../../core/domain/ids.js';
import type { Job } from '../../../core/domain/jobs/job.js';
import type { RecoveryPoint } from '../../../core/domain/recovery-point/recovery-point.js';
import type { ReplicationEvent } from '../../../core/domain/health/health-events.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { insert } from '../../../core/records/access.js';
import { eventNameOf, rows, vaultPartition } from '../../../core/records/rows.js';
import { InMemoryCloudCompute } from '../in-memory/cloud-compute.js';
import { InMemoryReplicaStore } from '../in-memory/replica-store.js';
import { InMemoryTransferStore } from '../in-memory/transfer-store.js';
import { sampleJob } from '../sample-job.js';
import { Harness, replicasAccount, sampleInventory, vaultPath } from './harness.js';
import { ReplicatedItem, vaultId } from './replicated-items.js';

/** A vault in which there is one of everything that an operation may name, and requests of every operation that name it. */
export interface PopulatedVault {
  harness: Harness;
  /** Values of the path templates' parameters. */
  names: Record<string, string>;
  /** By operation: what a client would send. Operations without a body have none. */
  bodies: Record<string, unknown>;
}

const networkId = replicasAccount.replace(
  'Microsoft.Storage/storageAccounts/replicas',
  'Microsoft.Network/virtualNetworks/prod',
);
const pointName = '6a1f6a3e-0000-4000-8000-0000000000aa';
const jobName = asJobName('0190a000-0000-7000-8000-000000000001');

export async function populatedVault(changes: Partial<ProtectedItem> = {}): Promise<PopulatedVault> {
  const harness = new Harness();
  const replicas = new InMemoryReplicaStore();
  Object.assign(harness.app, {
    replicas,
    transfers: new InMemoryTransferStore(),
    compute: new InMemoryCloudCompute(replicas),
  });
  const account = await harness.app.cloudInventory.storageAccount(replicasAccount);
  Object.assign(harness.app.cloudInventory, {
    network: async (armId: string) => ({
      armId,
      name: 'prod',
      subnets: [{ name: 'default', addressPrefix: '10.10.0.0/24' }],
    }),
    storageAccounts: async () => [account],
  });
  const inventory = sampleInventory();
  const relay = await harness.registeredRelay(inventory);
  const item = await ReplicatedItem.put(harness, relay, { policyName: 'default', ...changes });
  const [network] = inventory.networks;
  const [cloud] = inventory.clouds;
  const unprotected = inventory.vms.find(({ name }) => name === 'web-01');
  const fabricPath = `${vaultPath}/replicationFabrics/${relay.fabricName}`;
  const containerPath = `${fabricPath}/replicationProtectionContainers/${cloud?.cloudId}`;
  const policyId = `${vaultPath}/replicationPolicies/default`;
  const policy = { instanceType: 'HyperVReplicaAzure', storageAccounts: [replicasAccount] };
  const groups = [
    {
      groupType: 'Boot',
      replicationProtectedItems: [{ id: item.armId }],
      startGroupActions: [
        {
          actionName: 'tell',
          failoverTypes: ['PlannedFailover'],
          failoverDirections: ['PrimaryToRecovery'],
          customDetails: {
            instanceType: 'AutomationRunbookActionDetails',
            runbookId: 'https://example.net/hook',
            fabricLocation: 'Recovery',
          },
        },
      ],
      endGroupActions: [],
    },
  ];
  const plan = { primaryFabricId: fabricPath, recoveryFabricId: 'Microsoft Azure', groups };
  const there = {
    failoverDirection: 'PrimaryToRecovery',
    providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
  };
  const test = { failoverDirection: 'PrimaryToRecovery', networkType: 'VmNetworkAsInput', networkId };
  const bodies: Record<string, unknown> = {
    'vaults.createOrUpdate': { location: 'local', tags: { owner: 'ops' }, sku: { name: 'Standard' }, properties: {} },
    'replicationAlertSettings.create': { properties: { customEmailAddresses: ['ops@example.net'], locale: 'en-US' } },
    'replicationFabrics.beginCreate': { properties: { customDetails: { instanceType: 'HyperVSite' } } },
    'replicationJobs.beginExport': { jobStatus: 'Failed', jobOutputType: 'Json', startTime: '2026-01-01T00:00:00Z' },
    'replicationJobs.beginResume': { properties: { comments: 'go on' } },
    'replicationNetworkMappings.beginCreate': {
      properties: { recoveryNetworkId: networkId, recoveryFabricName: 'Azure' },
    },
    'replicationNetworkMappings.beginUpdate': { properties: { recoveryNetworkId: networkId } },
    'replicationPolicies.beginCreate': {
      properties: { providerSpecificInput: { ...policy, replicationInterval: 300, recoveryPointHistoryDuration: 4 } },
    },
    'replicationPolicies.beginUpdate': {
      properties: { replicationProviderSettings: { ...policy, replicationInterval: 900 } },
    },
    'replicationProtectedItems.beginApplyRecoveryPoint': {
      properties: {
        recoveryPointId: `${item.armId}/recoveryPoints/${pointName}`,
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
      },
    },
    'replicationProtectedItems.beginCreate': {
      properties: {
        policyId,
        protectableItemId: `${containerPath}/replicationProtectableItems/${unprotected?.vmId}`,
        providerSpecificDetails: {
          instanceType: 'HyperVReplicaAzure',
          vmName: 'web-01',
          osType: 'Windows',
          targetStorageAccountId: replicasAccount,
          logStorageAccountId: replicasAccount,
          targetAzureVmName: 'web-dr',
          targetAzureNetworkId: networkId,
          disksToInclude: unprotected?.disks.map(({ diskId }) => diskId),
          targetVmTags: { owner: 'ops' },
        },
      },
    },
    'replicationProtectedItems.beginDelete': { properties: { disableProtectionReason: 'NotSpecified' } },
    'replicationProtectedItems.beginPlannedFailover': { properties: there },
    'replicationProtectedItems.beginReprotect': { properties: {} },
    'replicationProtectedItems.beginResolveHealthErrors': { properties: { healthErrors: [{ healthErrorId: 'x' }] } },
    'replicationProtectedItems.beginTestFailover': { properties: { ...there, ...test } },
    'replicationProtectedItems.beginTestFailoverCleanup': { properties: { comments: 'fine' } },
    'replicationProtectedItems.beginUnplannedFailover': {
      properties: { ...there, sourceSiteOperations: 'NotRequired' },
    },
    'replicationProtectedItems.beginUpdate': {
      properties: {
        recoveryAzureVMName: 'sql-dr',
        recoveryAzureVMSize: 'Standard_D2s_v5',
        licenseType: 'WindowsServer',
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzure', targetVmTags: { owner: 'ops' } },
      },
    },
    'replicationProtectionContainerMappings.beginCreate': { properties: { policyId, providerSpecificInput: {} } },
    'replicationProtectionContainerMappings.beginDelete': { properties: {} },
    'replicationProtectionContainerMappings.beginUpdate': { properties: {} },
    'replicationRecoveryPlans.beginCreate': { properties: plan },
    'replicationRecoveryPlans.beginPlannedFailover': { properties: { failoverDirection: 'PrimaryToRecovery' } },
    'replicationRecoveryPlans.beginTestFailover': { properties: test },
    'replicationRecoveryPlans.beginTestFailoverCleanup': { properties: { comments: 'fine' } },
    'replicationRecoveryPlans.beginUnplannedFailover': {
      properties: { failoverDirection: 'PrimaryToRecovery', sourceSiteOperations: 'NotRequired' },
    },
    'replicationRecoveryPlans.beginUpdate': { properties: { groups } },
    'replicationVaultSetting.beginCreate': { properties: { migrationSolutionId: 'm' } },
    'understudy.alertWebhooks.update': { urls: ['https://example.net/hook'] },
    'understudy.exports.create': { recoveryPointId: `${item.armId}/recoveryPoints/${pointName}` },
    'understudy.pauseReplication': { itemId: item.armId },
    'understudy.publicAddress': { itemId: item.armId, publicAddress: true },
    'understudy.registrationKeys.create': { vaultId: vaultPath },
    'understudy.replicationSettings.update': {
      resync: { mode: 'window', windowStart: '18:30', windowEnd: '06:00', timeZone: 'Europe/Berlin', atOnceMax: 4 },
      rpoThresholdSeconds: 1800,
    },
    'understudy.resumeReplication': { itemId: item.armId },
  };
  const eventName = eventNameOf(harness.now, '00');
  const event: ReplicationEvent = {
    eventName,
    kind: 'raised',
    severity: 'Warning',
    code: 'US3058',
    itemId: item.first.itemId,
    vmName: 'sql-01',
    fabricName: relay.fabricName,
    containerName: cloud?.cloudId ?? '',
    description: '',
    possibleCauses: '',
    message: 'm',
    recommendedAction: 'r',
    at: harness.now.toString(),
  };
  const { itemId, protectionId, disks } = item.first;
  const job: Job = {
    ...sampleJob(jobName, harness.now.toString()),
    state: 'Failed',
    itemId,
    targetResourceId: item.armId,
    intent: { orchestrator: 'unplannedFailover', input: { vaultId, itemId, protectionId, jobName } },
  };
  const point: RecoveryPoint = {
    recoveryPointId: pointName,
    protectionId,
    cycle: 3,
    epoch: 1,
    consistency: 'crashConsistent',
    takenAt: harness.now.toString(),
    state: 'ready',
    pinnedBy: [],
    disks: disks.map(({ diskId }) => ({ diskId, snapshotId: 's' })),
  };
  await harness.table.transact(vaultPartition(vaultId), [
    insert(rows.event(vaultId, eventName), event),
    insert(rows.job(vaultId, jobName), job),
    insert(rows.point(vaultId, itemId, point.cycle), point),
  ]);
  const names: Record<string, string> = {
    subscriptionId: '00000000-0000-0000-0000-000000000000',
    resourceGroupName: 'local',
    fabricName: relay.fabricName,
    providerName: relay.relayId,
    protectionContainerName: cloud?.cloudId ?? '',
    networkName: network?.networkId ?? '',
    logicalNetworkName: network?.logicalNetworkId ?? '',
    protectableItemName: unprotected?.vmId ?? '',
    policyName: 'default',
    mappingName: 'default',
    networkMappingName: 'prod',
    replicatedProtectedItemName: 'sql-01',
    recoveryPlanName: 'payroll',
    recoveryPointName: pointName,
    jobName,
    eventName,
    alertSettingName: 'defaultAlertSetting',
    vaultSettingName: 'default',
    resource: 'replicationPolicies/default',
    exportId: 'x',
  };
  const vault = { harness, names, bodies };
  for (const name of [
    'replicationPolicies.beginCreate',
    'replicationProtectionContainerMappings.beginCreate',
    'replicationNetworkMappings.beginCreate',
    'replicationRecoveryPlans.beginCreate',
  ]) {
    const operation = operations.find((each) => each.name === name);
    if (operation === undefined) throw new Error(`no operation ${name}`);
    await ask(vault, operation);
  }
  return vault;
}

/** Names of things that are to be made, not those that are there. */
const namesOf = ({ names }: PopulatedVault, { name }: Operation): Record<string, string> => {
  if (name === 'replicationProtectedItems.beginCreate') return { ...names, replicatedProtectedItemName: 'web-01' };
  return name === 'replicationFabrics.beginCreate' ? { ...names, fabricName: 'branch' } : names;
};

/** The path with `changed` in the place of one parameter's value, encoded already. */
export function pathOf(vault: PopulatedVault, operation: Operation, changed: Record<string, string> = {}): string {
  const values = namesOf(vault, operation);
  const template = operation.path.startsWith('~') ? operation.path.replace('~', vaultPath) : fullPath(operation);
  const path = template.replaceAll(
    /\{\*?([^}]+)\}/g,
    (_, name: string) =>
      changed[name] ?? (name === 'resource' ? values.resource : encodeURIComponent(values[name] ?? 'x')) ?? '',
  );
  const query = operation.path.startsWith('/understudy/')
    ? `vaultId=${encodeURIComponent(vaultPath)}&itemId=${encodeURIComponent(`${vaultPath}/replicationFabrics/${values.fabricName}/replicationProtectionContainers/${values.protectionContainerName}/replicationProtectedItems/sql-01`)}`
    : 'api-version=2023-08-01';
  return `${path}?${query}`;
}

export const ask = (vault: PopulatedVault, operation: Operation, body: unknown = vault.bodies[operation.name]) =>
  vault.harness.arm(operation.method, pathOf(vault, operation), body);
