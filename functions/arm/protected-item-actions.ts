import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type {
  DisableProtectionInputProperties,
  EnableProtectionInputProperties,
  HyperVReplicaAzureEnableProtectionInput,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { discoveredNics } from '../../core/domain/failover/nics.js';
import { asProtectionId, asVmId } from '../../core/domain/ids.js';
import { jobKinds } from '../../core/domain/jobs/job.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { unreplicated } from '../../core/domain/protected-item/unreplicated.js';
import type { SiteVm } from '../../core/domain/site/inventory.js';
import {
  workflowNames,
  type DisableProtectionInput,
  type EnableProtectionInput,
} from '../../core/domain/workflows/workflows.js';
import { insert, list, read, replace } from '../../core/records/access.js';
import { itemIdOf, rows, type Fabric } from '../../core/records/rows.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { refuseUnlessAllowed } from '../jobs/refuse-operation.js';
import { startResync } from '../jobs/start-resync.js';
import { submitJob } from '../jobs/submit-job.js';
import { armIdOf, lastSegment, nameIn } from './arm-id.js';
import { badReference } from './cloud-resources.js';
import { cloudOf } from './clouds.js';
import { act } from './item-operation.js';
import { accepted } from './long-running.js';
import { param, vaultOperation, vaultOperationWithBody, type VaultCall } from './operation.js';
import { findPolicy } from './policies.js';
import { protectedItemArmId } from './protectable-items.js';
import { itemOf, itemPath } from './protected-items.js';
import { choicesOf, enableDetails, resourceGroupId, targetDetails, vmSize } from './target-input.js';
import type { ShapeOf } from './wire.js';

const enableBody = z.object({
  properties: z.object({
    policyId: armIdOf('replicationPolicies'),
    protectableItemId: armIdOf('replicationProtectableItems'),
    providerSpecificDetails: z.object({
      instanceType: z.literal('HyperVReplicaAzure'),
      targetStorageAccountId: z.string().startsWith('/subscriptions/').optional(),
      logStorageAccountId: z.string().startsWith('/subscriptions/').nullish(),
      targetAzureVmName: z.string().nullish(),
      vmName: z.string().nullish(),
      osType: z.string().nullish(),
      targetAzureV2ResourceGroupId: resourceGroupId,
      targetAzureV1ResourceGroupId: resourceGroupId,
      targetAzureNetworkId: z.string().nullish(),
      targetAzureSubnetId: z.string().nullish(),
      targetVmSize: vmSize,
      disksToInclude: z.array(z.string().min(1)).nullish(),
      ...targetDetails,
      ...enableDetails,
    } satisfies ShapeOf<HyperVReplicaAzureEnableProtectionInput>),
  } satisfies ShapeOf<EnableProtectionInputProperties>),
});
type EnableBody = z.output<typeof enableBody>;

function vmOf(body: EnableBody, fabric: Fabric, cloudId: string): SiteVm {
  const { protectableItemId } = body.properties;
  const vmId = nameIn(protectableItemId, 'replicationProtectableItems')?.toLowerCase();
  const vm = fabric.inventory.vms.find((candidate) => candidate.vmId === vmId && candidate.cloudId === cloudId);
  if (vm !== undefined) return vm;
  throw badReference(
    '$.properties.protectableItemId',
    'protectable item',
    protectableItemId,
    'List the protectable items of this cloud, and name one of them.',
  );
}

function targetOf(call: VaultCall, body: EnableBody, vm: SiteVm, storageAccountId: string): ProtectedItem['target'] {
  const input = body.properties.providerSpecificDetails;
  const subnetName = input.targetAzureSubnetId ? lastSegment(input.targetAzureSubnetId) : undefined;
  const groupId =
    input.targetAzureV2ResourceGroupId ??
    input.targetAzureV1ResourceGroupId ??
    call.vault.armId.split('/').slice(0, 5).join('/');
  const osType = input.osType ?? vm.osType;
  return {
    storageAccountId,
    vmName: input.targetAzureVmName ?? input.vmName ?? vm.name,
    resourceGroupId: groupId,
    osType,
    nics: discoveredNics(vm, subnetName),
    ...(input.logStorageAccountId ? { logStorageAccountId: input.logStorageAccountId } : {}),
    ...(input.targetAzureNetworkId ? { networkId: input.targetAzureNetworkId } : {}),
    ...(subnetName === undefined ? {} : { subnetName }),
    ...choicesOf(
      {
        ...input,
        vmSize: input.targetVmSize,
        availabilitySetId: input.targetAvailabilitySetId,
        availabilityZone: input.targetAvailabilityZone,
      },
      {},
      osType,
    ),
  };
}

async function storageAccountIdOf(call: VaultCall, body: EnableBody): Promise<string> {
  const given = body.properties.providerSpecificDetails.targetStorageAccountId;
  if (given !== undefined) return given;
  const policyName = nameIn(body.properties.policyId, 'replicationPolicies') ?? '';
  const first = (await findPolicy(call, policyName))?.storageAccountIds[0];
  if (first !== undefined) return first;
  throw new ApiError({
    code: 'US1005',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    target: '$.properties.providerSpecificDetails.targetStorageAccountId',
    message: '$.properties.providerSpecificDetails.targetStorageAccountId is missing, and the policy names no account',
    recommendedAction: 'Name the storage account that the replica disks go to.',
  });
}

/** One item a VM: a second one would track the same disks. */
async function refuseSecondItem(call: VaultCall, vm: SiteVm, itemName: string): Promise<void> {
  const items = await list(call.app.table, rows.items(call.vaultId));
  const other = items.find(
    ({ value }) => value.vmId === vm.vmId && value.itemName.toLowerCase() !== itemName.toLowerCase(),
  );
  if (other === undefined) return;
  throw new ApiError({
    code: 'US1020',
    armCode: 'AlreadyProtected',
    httpStatus: 409,
    target: '$.properties.protectableItemId',
    message: `${vm.name} is protected already, as ${other.value.itemName}`,
    recommendedAction: `Use the item ${other.value.itemName}, or disable its protection first.`,
  });
}

async function putItem(call: VaultCall, body: EnableBody): Promise<ApiResponse> {
  const { fabric, cloud } = await cloudOf(call);
  const itemName = param(call, 'replicatedProtectedItemName');
  const vm = vmOf(body, fabric, cloud.cloudId);
  const { relayId } = fabric;
  assert(relayId !== undefined, 'a relay reported the virtual machine');
  const itemId = itemIdOf(call.vaultId, fabric.fabricName, cloud.cloudId, itemName);
  const target = targetOf(call, body, vm, await storageAccountIdOf(call, body));
  const names = { fabricName: fabric.fabricName, containerName: cloud.cloudId, itemName };
  const disksToInclude = body.properties.providerSpecificDetails.disksToInclude ?? undefined;
  const job = await submitJob(call.app, {
    vaultId: call.vaultId,
    kind: jobKinds.enableProtection,
    orchestrator: workflowNames.enableProtection,
    targetResourceId: protectedItemArmId(call, names),
    targetObjectName: vm.name,
    itemId,
    decide: async (jobName, now) => {
      const existing = await read(call.app.table, rows.item(call.vaultId, itemId));
      if (existing !== undefined) refuseUnlessAllowed(existing.value, 'EnableProtection');
      await refuseSecondItem(call, vm, itemName);
      const item: ProtectedItem = {
        ...unreplicated({
          itemId,
          // A new life each time: blobs and workflows of an earlier one are never met again.
          protectionId: asProtectionId(randomUUID()),
          ...names,
          protectableItemName: vm.vmId,
          vmId: asVmId(vm.vmId),
          vmName: vm.name,
          relayId,
          policyName: nameIn(body.properties.policyId, 'replicationPolicies') ?? '',
          target,
          source: vm,
          state: 'EnablingProtection',
          createdAt: now,
        }),
        activeJob: { jobName, scenarioName: jobKinds.enableProtection.scenarioName, startedAt: now },
      };
      const input: EnableProtectionInput = {
        vaultId: call.vaultId,
        itemId,
        protectionId: item.protectionId,
        jobName,
        ...(disksToInclude === undefined ? {} : { disksToInclude }),
      };
      const row = rows.item(call.vaultId, itemId);
      return { operations: [existing === undefined ? insert(row, item) : replace(existing, item)], input };
    },
  });
  return accepted(call, job);
}

const disableBody = z.object({
  properties: z
    .object({
      disableProtectionReason: z.enum(['NotSpecified', 'MigrationComplete']).nullish(),
    } satisfies ShapeOf<DisableProtectionInputProperties>)
    .nullish(),
});

const disable = (call: VaultCall, operation: 'DisableProtection' | 'CompleteMigration', leaveSite: boolean) =>
  act(call, {
    operation,
    kind: jobKinds.disableProtection,
    orchestrator: workflowNames.disableProtection,
    input: async (base): Promise<DisableProtectionInput> => ({ ...base, leaveSite }),
  });

export const protectedItemActions = [
  vaultOperationWithBody(
    'replicationProtectedItems.beginCreate',
    'PUT',
    itemPath,
    {
      summary: 'Enables replication of a VM',
      request: 'EnableProtectionInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      body: enableBody,
    },
    putItem,
  ),
  vaultOperationWithBody(
    'replicationProtectedItems.beginDelete',
    'POST',
    `${itemPath}/remove`,
    {
      summary: 'Disables replication, at the site too; a failover’s virtual machine stays',
      request: 'DisableProtectionInput',
      longRunning: true,
      body: disableBody,
    },
    (call, body) => {
      const isMigrated = body.properties?.disableProtectionReason === 'MigrationComplete';
      return disable(call, isMigrated ? 'CompleteMigration' : 'DisableProtection', false);
    },
  ),
  vaultOperation(
    'replicationProtectedItems.beginPurge',
    'DELETE',
    itemPath,
    { summary: 'Disables replication in Azure alone: for a site that is lost', longRunning: true },
    (call) => disable(call, 'DisableProtection', true),
  ),
  vaultOperation(
    'replicationProtectedItems.beginRepairReplication',
    'POST',
    `${itemPath}/repairReplication`,
    {
      summary: 'Resynchronizes the VM: compares source and replica, sends what differs',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
    },
    async (call) => accepted(call, await startResync(call.app, call.vault, (await itemOf(call)).value, 'operator')),
  ),
];
