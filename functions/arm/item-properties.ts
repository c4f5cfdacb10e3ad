import type {
  HyperVReplicaAzureUpdateReplicationProtectedItemInput,
  UpdateReplicationProtectedItemInputProperties,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { namesakeOf, targetKeys } from '../../core/domain/failover/namesake.js';
import { sizeCounts } from '../../core/domain/failover/nics.js';
import { sizeShortfalls, vmSizes } from '../../core/domain/failover/placement.js';
import { targetNetworkId, type NetworkMapping } from '../../core/domain/failover/target-network.js';
import { lastKnownVm } from '../../core/domain/failover/source-vm.js';
import { jobKinds } from '../../core/domain/jobs/job.js';
import { limits } from '../../core/domain/prerequisites/limits.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { SiteVm } from '../../core/domain/site/inventory.js';
import type { RowOperation } from '../../core/ports/state-table.js';
import { list, read, replace } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { refuseBusyItem } from '../jobs/refuse-operation.js';
import { fabricOf } from './fabrics.js';
import { checkPlaces, nicBody, nicsFrom } from './item-nics.js';
import { collection, vaultOperation, vaultOperationWithBody, type VaultCall } from './operation.js';
import { protectedItemArmId } from './protectable-items.js';
import { itemOf, itemPath } from './protected-items.js';
import { changeRows } from './row-operation.js';
import {
  armIdOrNone,
  availabilitySetIdOrNone,
  choicesOf,
  enableRdpOnTargetOption,
  invalid,
  licenseType,
  resourceGroupId,
  targetDetails,
  textOf,
  vmSize,
} from './target-input.js';
import { unsupported } from './unsupported.js';
import type { ShapeOf } from './wire.js';

const updateBody = z.object({
  properties: z.object({
    recoveryAzureVMName: z
      .string()
      .regex(limits.vmNamePattern, 'up to 63 letters, digits and hyphens; a letter or digit first and last')
      .nullish(),
    recoveryAzureVMSize: vmSize,
    /** Empty: its network's mapping holds. */
    selectedRecoveryAzureNetworkId: armIdOrNone,
    selectedTfoAzureNetworkId: unsupported('the network of a test failover is named when it is run'),
    selectedSourceNicId: z.string().nullish(),
    enableRdpOnTargetOption,
    vmNics: z.array(nicBody).nullish(),
    licenseType,
    recoveryAvailabilitySetId: availabilitySetIdOrNone,
    providerSpecificDetails: z
      .object({
        ...targetDetails,
        instanceType: z.literal('HyperVReplicaAzure'),
        recoveryAzureV2ResourceGroupId: resourceGroupId,
        recoveryAzureV1ResourceGroupId: resourceGroupId,
        diskIdToDiskEncryptionMap: unsupported('disks are encrypted by keys of the platform'),
        vmDisks: unsupported('disks are named after their virtual machine'),
      } satisfies ShapeOf<HyperVReplicaAzureUpdateReplicationProtectedItemInput>)
      .nullish(),
  } satisfies ShapeOf<UpdateReplicationProtectedItemInputProperties>),
});
type UpdateBody = z.output<typeof updateBody>['properties'];

function targetFrom(
  item: ProtectedItem,
  body: UpdateBody,
  vm: SiteVm | undefined,
  mappings: readonly NetworkMapping[],
): ProtectedItem['target'] {
  const { target: before } = item;
  // Without what an empty text takes away.
  const {
    networkId: _,
    subnetName,
    vmSize: _s,
    availabilitySetId: _a,
    availabilityZone: _z,
    licenseType: _l,
    ...rest
  } = before;
  const details = body.providerSpecificDetails ?? undefined;
  const nics = nicsFrom(body, item, vm);
  const named = textOf(body.selectedRecoveryAzureNetworkId, before.networkId);
  // Clients send back the network that GET shows: the mapped one goes on to be that of the mapping.
  const mapped = targetNetworkId({ target: { ...rest, ...(nics && { nics }) } }, vm, mappings);
  const isMapped = before.networkId === undefined && named?.toLowerCase() === mapped?.toLowerCase();
  const networkId = isMapped ? undefined : named;
  const target: ProtectedItem['target'] = {
    ...rest,
    vmName: body.recoveryAzureVMName ?? before.vmName,
    resourceGroupId:
      details?.recoveryAzureV2ResourceGroupId ?? details?.recoveryAzureV1ResourceGroupId ?? before.resourceGroupId,
    ...(networkId === undefined ? {} : { networkId }),
    // It was found for that network and primary interface.
    ...(subnetName === undefined || networkId !== before.networkId || nics !== before.nics ? {} : { subnetName }),
    ...choicesOf(
      {
        ...details,
        vmSize: body.recoveryAzureVMSize,
        availabilitySetId: body.recoveryAvailabilitySetId,
        availabilityZone: details?.targetAvailabilityZone,
        licenseType: body.licenseType,
      },
      before,
      before.osType,
    ),
    ...(nics === undefined ? {} : { nics }),
  };
  if (body.recoveryAzureVMSize || nics !== before.nics) checkSize({ ...item, target }, vm);
  return target;
}

function checkSize(item: ProtectedItem, vm: SiteVm | undefined): void {
  const [shortfall] = sizeShortfalls(item.target.vmSize, sizeCounts(item, vm));
  if (shortfall === undefined) return;
  throw invalid(
    '$.properties.recoveryAzureVMSize',
    shortfall,
    'Choose a larger size, or leave network interfaces out (NotSelected).',
  );
}

/** Of the next failover: while one stands, or a job runs, they are what its virtual machine was made by. */
async function updateItem(call: VaultCall, body: UpdateBody): Promise<ApiResponse> {
  const { value: item } = await itemOf(call);
  const fabric = await fabricOf(call);
  const vm = lastKnownVm(item, fabric.inventory);
  await checkPlaces(call, { ...item, target: targetFrom(item, body, vm, fabric.networkMappings) }, fabric);
  return changeRows(call, {
    kind: jobKinds.updateItem,
    targetResourceId: protectedItemArmId(call, item),
    targetObjectName: item.vmName,
    itemId: item.itemId,
    decide: async () => {
      const stored = await itemOf(call);
      refuseBusyItem(stored.value);
      const changed = { ...stored.value, target: targetFrom(stored.value, body, vm, fabric.networkMappings) };
      return [
        replace(stored, changed),
        ...(String(targetKeys(changed.target)) === String(targetKeys(stored.value.target))
          ? []
          : await claimName(call, changed)),
      ];
    },
  });
}

/** Refuses the name of another item's VM. Changes of names pass one by one: each writes the vault's row as it is. */
async function claimName(call: VaultCall, item: ProtectedItem): Promise<RowOperation[]> {
  const vault = await read(call.app.table, rows.vault(call.vaultId));
  const items = await list(call.app.table, rows.items(call.vaultId));
  const namesake = namesakeOf(
    item,
    items.map(({ value }) => value),
  );
  if (namesake === undefined) return vault === undefined ? [] : [replace(vault, vault.value)];
  throw new ApiError({
    code: 'US3131',
    armCode: 'Conflict',
    httpStatus: 409,
    target: '$.properties.recoveryAzureVMName',
    message: `the virtual machine ${item.target.vmName} of that resource group, or that of its test, is that of ${namesake.itemName} already`,
    possibleCauses: 'Two sources have the same name, or the name was given twice.',
    recommendedAction: 'Give another name, or another resource group.',
  });
}

export const itemPropertyOperations = [
  vaultOperationWithBody(
    'replicationProtectedItems.beginUpdate',
    'PATCH',
    itemPath,
    {
      summary: 'Settings of the virtual machine that the next failover makes; what is left out stays',
      request: 'UpdateReplicationProtectedItemInput',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      body: updateBody,
    },
    (call, { properties }) => updateItem(call, properties),
  ),
  vaultOperation(
    'targetComputeSizes.listByReplicationProtectedItems',
    'GET',
    `${itemPath}/targetComputeSizes`,
    { summary: 'Sizes of virtual machines that the VM fits', response: 'TargetComputeSizeCollection' },
    async (call) => {
      const { value: item } = await itemOf(call);
      const counts = sizeCounts(item, lastKnownVm(item, (await fabricOf(call)).inventory));
      return collection(
        vmSizes
          .filter(({ name }) => sizeShortfalls(name, counts).length === 0)
          .map(({ name, cpuCount, memoryMegabytes, dataDisks, nics }) => ({
            id: `${protectedItemArmId(call, item)}/targetComputeSizes/${name}`,
            name,
            type: 'Microsoft.RecoveryServices/vaults/replicationFabrics/replicationProtectionContainers/replicationProtectedItems/targetComputeSizes',
            properties: {
              name,
              friendlyName: name,
              cpuCoresCount: cpuCount,
              vCPUsAvailable: cpuCount,
              memoryInGB: memoryMegabytes / 1024,
              maxDataDiskCount: dataDisks,
              maxNicsCount: nics,
              errors: [],
              hyperVGenerations: ['V1', 'V2'],
            },
          })),
      );
    },
  ),
];
