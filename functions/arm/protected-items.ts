import type { ReplicationProtectedItem, VMNicDetails } from '@azure/arm-recoveryservices-siterecovery';
import { lastKnownVm } from '../../core/domain/failover/source-vm.js';
import { nicPlans, primaryNic } from '../../core/domain/failover/nics.js';
import { targetNetworkId } from '../../core/domain/failover/target-network.js';
import { failoverHealth } from '../../core/domain/health/failover-health.js';
import { rpoSeconds } from '../../core/domain/health/rpo.js';
import { jobKinds } from '../../core/domain/jobs/job.js';
import {
  healthOf,
  surroundingsInVault,
  surroundingsOfItem,
  type ItemSurroundings,
} from '../../core/records/item-surroundings.js';
import { itemIdOf, rows, type Fabric } from '../../core/records/rows.js';
import { armState } from '../../core/domain/protected-item/arm-state.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { allowedOperations } from '../../core/domain/protected-item/state-table.js';
import { list, read, type Stored } from '../../core/records/access.js';
import type { Temporal } from 'temporal-polyfill';
import type { ApiResponse } from '../http/exchange.js';
import { azureContainer } from './container-mappings.js';
import { cloudOf } from './clouds.js';
import { friendlyNameOf, isSpokenFor, providerArmId } from './fabrics.js';
import { parseFilter } from './filter.js';
import { healthErrorToWire } from './health-error.js';
import { jobArmId } from './job-wire.js';
import { notFound, ok, param, vaultOperation, type VaultCall } from './operation.js';
import { answerPage } from './paging.js';
import { policyArmId } from './policies.js';
import { protectableItemArmId, protectedItemArmId } from './protectable-items.js';
import type { Wire } from './wire.js';

const bytesPerMegabyte = 1024 * 1024;

/** The job that runs on the item, or what clients expect where none does. A resynchronization shows where nothing else runs. */
function scenarioToWire(call: VaultCall, { activeJob, replication: { resync } }: ProtectedItem) {
  const running = activeJob ?? (resync && { ...resync, scenarioName: jobKinds.resynchronize.scenarioName });
  return {
    scenarioName: running?.scenarioName ?? 'None',
    jobId: jobArmId(call, running?.jobName ?? 'None'),
    startTime: running?.startedAt ?? '1753-01-01T01:01:01Z',
  };
}

/** Whole per cent of the base that arrived, as text: so the wire has it. */
function initialReplicationPercent(item: ProtectedItem): string {
  const total = item.disks.reduce((sum, disk) => sum + disk.sourceSizeBytes, 0);
  const received = item.disks.reduce((sum, disk) => sum + disk.baseReceivedThroughBytes, 0);
  return String(total === 0 ? 0 : Math.floor((100 * received) / total));
}

function nicsToWire(item: ProtectedItem, fabric: Fabric | undefined): Wire<VMNicDetails>[] {
  const vm = lastKnownVm(item, fabric?.inventory);
  const networkId = targetNetworkId(item, vm, fabric?.networkMappings ?? []);
  return nicPlans(item, vm).map(({ nic, role, chosen }) => ({
    nicId: nic.nicId,
    vMNetworkName: fabric?.inventory.networks.find((network) => network.networkId === nic.networkId)?.name,
    recoveryVMNetworkId: networkId,
    selectionType: role === 'notUsed' ? 'NotSelected' : 'SelectedByUser',
    ipConfigs: [
      {
        name: 'ipConfig1',
        isPrimary: role === 'primary',
        subnetName: nic.subnetName,
        staticIPAddress: nic.ipAddress,
        recoverySubnetName: chosen?.subnetName ?? (chosen?.role === 'primary' ? item.target.subnetName : undefined),
        recoveryStaticIPAddress: chosen?.staticIpAddress,
        tfoSubnetName: chosen?.test?.subnetName,
        tfoStaticIPAddress: chosen?.test?.staticIpAddress,
        recoveryIPAddressType: chosen?.staticIpAddress === undefined ? 'Dynamic' : 'Static',
        isSeletedForFailover: role !== 'notUsed',
      },
    ],
  }));
}

/** As recorded while a test VM runs; before and after it in the same style. */
function testToWire({ testFailover }: ProtectedItem) {
  const [testFailoverState, testFailoverStateDescription] = {
    none: ['None', 'None'],
    inProgress: ['TestFailoverInitiated', 'Test failover is in progress'],
    takingBack: ['TestFailoverFailed', 'Test failover failed and is taken back'],
    waiting: ['WaitingForCompletion', 'Waiting for user input'],
    cleaningUp: ['MarkedForDeletion', 'Cleaning up test environment'],
  }[testFailover?.state ?? 'none'];
  return { testFailoverState, testFailoverStateDescription };
}

export function itemToWire(
  call: VaultCall,
  item: ProtectedItem,
  surroundings: ItemSurroundings,
  now: Temporal.Instant,
): Wire<ReplicationProtectedItem> {
  const { fabric } = surroundings;
  const state = armState(item);
  const health = healthOf(item, surroundings, now);
  const vm = lastKnownVm(item, fabric?.inventory);
  const cloud = fabric?.inventory.clouds.find(({ cloudId }) => cloudId === item.containerName);
  return {
    id: protectedItemArmId(call, item),
    name: item.itemName,
    type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers/replicationProtectedItems',
    properties: {
      friendlyName: item.vmName,
      protectedItemType: 'HyperVVirtualMachine',
      protectableItemId: protectableItemArmId(call, item.fabricName, item.containerName, item.protectableItemName),
      recoveryServicesProviderId: fabric && isSpokenFor(fabric) ? providerArmId(call, fabric) : undefined,
      primaryFabricFriendlyName: fabric && friendlyNameOf(fabric),
      primaryFabricProvider: 'HyperVReplicaAzure',
      recoveryFabricFriendlyName: azureContainer,
      recoveryFabricId: azureContainer,
      primaryProtectionContainerFriendlyName: cloud?.name,
      recoveryProtectionContainerFriendlyName: azureContainer,
      protectionState: state.protectionState,
      protectionStateDescription:
        item.testFailover?.state === 'waiting' ? 'Cleanup test failover pending' : state.protectionStateDescription,
      activeLocation: state.activeLocation,
      ...testToWire(item),
      allowedOperations: allowedOperations(item),
      replicationHealth: health.level,
      failoverHealth: failoverHealth(item, { vm }),
      healthErrors: health.reasons.map((reason) =>
        healthErrorToWire(reason, { entityId: item.itemId, errorType: 'VirtualMachineHealth' }),
      ),
      policyId: policyArmId(call, item.policyName),
      policyFriendlyName: item.policyName,
      lastSuccessfulFailoverTime: item.lastSuccessfulFailoverAt,
      lastSuccessfulTestFailoverTime: item.lastSuccessfulTestFailoverAt,
      currentScenario: scenarioToWire(call, item),
      failoverRecoveryPointId:
        item.failover === undefined
          ? undefined
          : `${protectedItemArmId(call, item)}/recoveryPoints/${item.failover.recoveryPointId}`,
      recoveryContainerId: azureContainer,
      providerSpecificDetails: {
        instanceType: 'HyperVReplicaAzure',
        azureVmDiskDetails: item.disks.map((disk) => ({
          vhdType: disk.isOsDisk ? 'OperatingSystem' : 'DataDisk',
          vhdId: disk.diskId,
          diskId: disk.diskId,
          vhdName: disk.name,
          maxSizeMB: String(Math.ceil(disk.sourceSizeBytes / bytesPerMegabyte)),
          targetDiskLocation: disk.replica.storageAccountId,
          targetDiskName: disk.name,
          lunId: String(disk.lun),
        })),
        recoveryAzureVmName: item.target.vmName,
        recoveryAzureVMSize: item.target.vmSize,
        recoveryAzureStorageAccount: item.target.storageAccountId,
        recoveryAzureLogStorageAccountId: item.target.logStorageAccountId,
        lastReplicatedTime: item.replication.receivedAt,
        rpoInSeconds: rpoSeconds(item, now),
        lastRpoCalculatedTime: now.toString(),
        lastRecoveryPointReceived: item.replication.appliedTakenAt,
        vmId: item.vmId,
        vmProtectionState: state.vmProtectionState,
        vmProtectionStateDescription: state.vmProtectionStateDescription,
        initialReplicationDetails: {
          initialReplicationType: 'OverNetwork',
          initialReplicationProgressPercentage: initialReplicationPercent(item),
        },
        vmNics: nicsToWire(item, fabric),
        selectedRecoveryAzureNetworkId: targetNetworkId(item, vm, fabric?.networkMappings ?? []),
        selectedSourceNicId: primaryNic(item, vm)?.nic.nicId,
        recoveryAvailabilitySetId: item.target.availabilitySetId,
        targetAvailabilityZone: item.target.availabilityZone,
        licenseType: item.target.licenseType ?? 'NoLicenseType',
        targetVmTags: item.target.tags,
        targetNicTags: item.target.nicTags,
        targetManagedDiskTags: item.target.diskTags,
        encryption: 'Disabled',
        enableRdpOnTargetOption: 'Never',
        oSDetails: { osType: item.target.osType, osEdition: vm?.osName },
        sourceVmRamSizeInMB: vm?.memoryMegabytes,
        sourceVmCpuCount: vm?.cpuCount,
        recoveryAzureResourceGroupId: item.target.resourceGroupId,
        useManagedDisks: 'true',
      },
    },
  };
}

/** The item of the path; `stored` has its ETag. */
export async function itemOf(call: VaultCall): Promise<Stored<ProtectedItem>> {
  const names = ['fabricName', 'protectionContainerName', 'replicatedProtectedItemName'].map((name) =>
    param(call, name),
  );
  const [fabricName = '', containerName = '', itemName = ''] = names;
  const found = await read(
    call.app.table,
    rows.item(call.vaultId, itemIdOf(call.vaultId, fabricName, containerName, itemName)),
  );
  if (found === undefined) throw notFound('replication protected item', itemName);
  return found;
}

const filterNames = ['sourceFabricName', 'instanceType', 'friendlyName', 'replicationHealth'] as const;

/** By their ids, which are digests: the order says nothing, and stays. */
async function answerItems(call: VaultCall, keep: (item: ProtectedItem) => boolean): Promise<ApiResponse> {
  const terms = parseFilter(call.query.get('$filter'), filterNames);
  const [items, surroundingsOf, now] = await Promise.all([
    list(call.app.table, rows.items(call.vaultId)),
    surroundingsInVault(call.app.table, call.vaultId),
    call.app.clock.now(),
  ]);
  const toWire = (item: ProtectedItem) => itemToWire(call, item, surroundingsOf(item), now);
  const fits = (item: ProtectedItem): boolean => {
    if (terms.length === 0) return true;
    const { properties } = toWire(item);
    const actual: Record<(typeof filterNames)[number], string | undefined> = {
      sourceFabricName: surroundingsOf(item).fabric?.inventory.vmmServerName,
      instanceType: 'HyperVReplicaAzure',
      friendlyName: properties?.friendlyName,
      replicationHealth: properties?.replicationHealth,
    };
    return terms.every(({ name, value }) => actual[name as keyof typeof actual]?.toLowerCase() === value.toLowerCase());
  };
  const sorted = items.map(({ value }) => value).filter((item) => keep(item) && fits(item));
  return answerPage(call, { sorted, keyOf: ({ itemId }) => itemId, toWire });
}

export const containerPath =
  '~/replicationFabrics/{fabricName}/replicationProtectionContainers/{protectionContainerName}';
export const itemPath = `${containerPath}/replicationProtectedItems/{replicatedProtectedItemName}`;

/** Replicated VMs, read. */
export const protectedItemOperations = [
  vaultOperation(
    'replicationProtectedItems.listByReplicationProtectionContainers',
    'GET',
    `${containerPath}/replicationProtectedItems`,
    {
      summary: 'Replicated VMs of a cloud',
      response: 'ReplicationProtectedItemCollection',
      query: ['$filter', '$take', '$skipToken'],
    },
    async (call) => {
      const { fabric, cloud } = await cloudOf(call);
      return answerItems(call, (item) => item.fabricName === fabric.fabricName && item.containerName === cloud.cloudId);
    },
  ),
  vaultOperation(
    'replicationProtectedItems.list',
    'GET',
    '~/replicationProtectedItems',
    {
      summary: 'Replicated VMs of the vault',
      response: 'ReplicationProtectedItemCollection',
      query: ['$filter', '$take', 'skipToken'],
    },
    async (call) => answerItems(call, () => true),
  ),
  vaultOperation(
    'replicationProtectedItems.get',
    'GET',
    itemPath,
    { summary: 'One replicated VM', response: 'ReplicationProtectedItem' },
    async (call) => {
      const item = (await itemOf(call)).value;
      const [surroundings, now] = await Promise.all([
        surroundingsOfItem(call.app.table, call.vaultId, item),
        call.app.clock.now(),
      ]);
      return ok(itemToWire(call, item, surroundings, now));
    },
  ),
];
