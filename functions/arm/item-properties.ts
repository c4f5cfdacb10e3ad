import type {
  HyperVReplicaAzureUpdateReplicationProtectedItemInput,
  IPConfigInputDetails,
  UpdateReplicationProtectedItemInputProperties,
  VMNicInputDetails,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { isUsableAddress } from '../../core/domain/failover/address.js';
import { isVmSize, subnetNamed, vmSizes } from '../../core/domain/failover/placement.js';
import { lastKnownVm } from '../../core/domain/failover/source-vm.js';
import { targetNetworkId } from '../../core/domain/failover/target-network.js';
import { jobKinds } from '../../core/domain/jobs/job.js';
import { limits } from '../../core/domain/prerequisites/limits.js';
import type { ProtectedItem, TargetNic } from '../../core/domain/protected-item/protected-item.js';
import { replace } from '../../core/records/access.js';
import type { Fabric } from '../../core/records/rows.js';
import type { SiteVm } from '../../core/domain/site/inventory.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { refuseBusyItem } from '../jobs/refuse-operation.js';
import { badReference, networkOrBadReference } from './cloud-resources.js';
import { fabricOf } from './fabrics.js';
import { collection, vaultOperation, vaultOperationWithBody, type VaultCall } from './operation.js';
import { protectedItemArmId } from './protectable-items.js';
import { itemOf, itemPath } from './protected-items.js';
import { changeRows } from './row-operation.js';
import type { ShapeOf } from './wire.js';

const armId = z.string().startsWith('/subscriptions/');
const address = z.ipv4({ error: 'an IPv4 address' });
const tags = z.record(z.string().max(512), z.string().max(256)).nullish();
/** Azure takes 50 tags a resource; the rest are those by which Understudy knows its own. */
const tagCountMax = 15;

const nicBody = z.object({
  nicId: z.string().min(1),
  /** As portal and recordings spell them; `NotSelected` leaves the interface out. */
  selectionType: z.enum(['SelectedByUser', 'SelectedByDefault', 'NotSelected']).nullish(),
  ipConfigs: z
    .array(
      z.object({
        ipConfigName: z.string().nullish(),
        isPrimary: z.boolean().nullish(),
        isSeletedForFailover: z.boolean().nullish(),
        recoverySubnetName: z.string().nullish(),
        recoveryStaticIPAddress: z.union([address, z.literal('')]).nullish(),
      } satisfies ShapeOf<IPConfigInputDetails>),
    )
    .nullish(),
} satisfies ShapeOf<VMNicInputDetails>);

const updateBody = z.object({
  properties: z.object({
    recoveryAzureVMName: z
      .string()
      .regex(limits.vmNamePattern, 'up to 63 letters, digits and hyphens; a letter or digit first and last')
      .nullish(),
    recoveryAzureVMSize: z
      .string()
      .refine(isVmSize, { error: 'the name of a size of virtual machines, like Standard_D2s_v5' })
      .nullish(),
    /** Empty takes the item's own choice away: its network's mapping holds then. */
    selectedRecoveryAzureNetworkId: z.union([armId, z.literal('')]).nullish(),
    selectedSourceNicId: z.string().nullish(),
    vmNics: z.array(nicBody).nullish(),
    licenseType: z.enum(['NotSpecified', 'NoLicenseType', 'WindowsServer']).nullish(),
    recoveryAvailabilitySetId: z.union([armId, z.literal('')]).nullish(),
    providerSpecificDetails: z
      .object({
        instanceType: z.literal('HyperVReplicaAzure'),
        recoveryAzureV2ResourceGroupId: armId.nullish(),
        recoveryAzureV1ResourceGroupId: armId.nullish(),
        targetAvailabilityZone: z
          .string()
          .regex(/^[1-3]?$/, 'a zone: 1, 2 or 3')
          .nullish(),
        targetVmTags: tags,
      } satisfies ShapeOf<HyperVReplicaAzureUpdateReplicationProtectedItemInput>)
      .nullish(),
  } satisfies ShapeOf<UpdateReplicationProtectedItemInputProperties>),
});
type UpdateBody = z.output<typeof updateBody>['properties'];
type NicBody = z.output<typeof nicBody>;

function invalid(target: string, message: string, recommendedAction: string): ApiError {
  return new ApiError({
    code: 'US1005',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    target,
    message: `${target}: ${message}`,
    recommendedAction,
  });
}

/** The roles of all of the VM's interfaces, of which exactly one is primary. */
function nicsFrom(bodies: readonly NicBody[], vm: SiteVm | undefined, primaryNicId: string | undefined): TargetNic[] {
  const known = vm?.nics ?? [];
  const nics = bodies.map((body, index): TargetNic => {
    const target = `$.properties.vmNics[${index}].nicId`;
    const nicId = known.find((nic) => nic.nicId.toLowerCase() === body.nicId.toLowerCase())?.nicId;
    if (nicId === undefined) {
      throw badReference(target, 'network interface of the virtual machine', body.nicId, 'See vmNics of the item.');
    }
    const [ip] = body.ipConfigs ?? [];
    const isUsed = body.selectionType !== 'NotSelected' && ip?.isSeletedForFailover !== false;
    const isPrimary = primaryNicId === undefined ? ip?.isPrimary === true : nicId === primaryNicId.toLowerCase();
    return {
      nicId,
      role: !isUsed ? 'notUsed' : isPrimary ? 'primary' : 'secondary',
      ...(ip?.recoverySubnetName ? { subnetName: ip.recoverySubnetName } : {}),
      ...(ip?.recoveryStaticIPAddress ? { staticIpAddress: ip.recoveryStaticIPAddress } : {}),
    };
  });
  const used = nics.filter(({ role }) => role !== 'notUsed');
  const [only] = used;
  // One alone is the primary one, said or not.
  if (used.length === 1 && only !== undefined) only.role = 'primary';
  const primaryCount = nics.filter(({ role }) => role === 'primary').length;
  if (used.length > 0 && primaryCount !== 1) {
    throw invalid(
      '$.properties.vmNics',
      `${primaryCount} network interfaces are primary; exactly one is to be`,
      'Set isPrimary in the ipConfigs of one interface, or name it in selectedSourceNicId.',
    );
  }
  return nics;
}

/** A string or nothing: an empty one takes the value away, and what is left out stays. */
const chosen = <Name extends string>(
  name: Name,
  given: string | null | undefined,
  before: string | undefined,
): Partial<Record<Name, string>> => {
  const value = given ?? before;
  return value ? ({ [name]: value } as Record<Name, string>) : {};
};

function targetFrom(item: ProtectedItem, body: UpdateBody, vm: SiteVm | undefined): ProtectedItem['target'] {
  const { target } = item;
  const { networkId: _, availabilitySetId: _set, availabilityZone: _zone, licenseType: _license, ...rest } = target;
  const details = body.providerSpecificDetails ?? undefined;
  const licence = body.licenseType ?? (target.licenseType === undefined ? 'NoLicenseType' : 'WindowsServer');
  const sets = chosen('availabilitySetId', body.recoveryAvailabilitySetId, target.availabilitySetId);
  const zones = chosen('availabilityZone', details?.targetAvailabilityZone, target.availabilityZone);
  if (sets.availabilitySetId !== undefined && zones.availabilityZone !== undefined) {
    throw invalid(
      '$.properties.recoveryAvailabilitySetId',
      'a virtual machine is in an availability set or in a zone, not in both',
      'Send the other one as an empty text.',
    );
  }
  const vmTags = details?.targetVmTags ?? target.tags;
  if (vmTags !== undefined && Object.keys(vmTags).length > tagCountMax) {
    throw invalid(
      '$.properties.providerSpecificDetails.targetVmTags',
      `${Object.keys(vmTags).length} tags; at most ${tagCountMax} are taken`,
      'Leave some out.',
    );
  }
  const nics =
    body.vmNics === undefined || body.vmNics === null
      ? target.nics
      : nicsFrom(body.vmNics, vm, body.selectedSourceNicId ?? undefined);
  return {
    ...rest,
    vmName: body.recoveryAzureVMName ?? target.vmName,
    resourceGroupId:
      details?.recoveryAzureV2ResourceGroupId ?? details?.recoveryAzureV1ResourceGroupId ?? target.resourceGroupId,
    ...chosen('vmSize', body.recoveryAzureVMSize, target.vmSize),
    ...chosen('networkId', body.selectedRecoveryAzureNetworkId, target.networkId),
    ...sets,
    ...zones,
    ...(licence === 'WindowsServer' ? { licenseType: 'WindowsServer' as const } : {}),
    ...(vmTags === undefined ? {} : { tags: vmTags }),
    ...(nics === undefined ? {} : { nics }),
  };
}

/** Subnets and addresses are of the network that the next failover goes to: those that were chosen must be there. */
async function checkPlaces(call: VaultCall, item: ProtectedItem, fabric: Fabric): Promise<void> {
  const vm = lastKnownVm(item, fabric.inventory);
  const networkId = targetNetworkId(item, vm, fabric.networkMappings);
  if (networkId === undefined) return;
  const network = await networkOrBadReference(call, networkId, '$.properties.selectedRecoveryAzureNetworkId');
  for (const [index, { nicId, subnetName, staticIpAddress }] of (item.target.nics ?? []).entries()) {
    const place = `$.properties.vmNics[${index}].ipConfigs[0]`;
    const isThere = network.subnets.some(({ name }) => name.toLowerCase() === subnetName?.toLowerCase());
    if (subnetName !== undefined && !isThere) {
      const names = network.subnets.map(({ name }) => name).join(', ');
      throw badReference(`${place}.recoverySubnetName`, `subnet of ${network.name}`, subnetName, `It has: ${names}.`);
    }
    const subnet = subnetNamed(subnetName ?? vm?.nics.find((nic) => nic.nicId === nicId)?.subnetName, network.subnets);
    if (staticIpAddress === undefined || subnet === undefined) continue;
    if (isUsableAddress(subnet.addressPrefix, staticIpAddress)) continue;
    throw invalid(
      `${place}.recoveryStaticIPAddress`,
      `${staticIpAddress} is no address that a virtual machine may have in ${subnet.name} (${subnet.addressPrefix})`,
      'Choose one of that subnet beyond its first four and before its last, or none.',
    );
  }
}

/** Of the next failover: while one stands, or a job runs, they are what its virtual machine was made by. */
async function updateItem(call: VaultCall, body: UpdateBody): Promise<ApiResponse> {
  const { value: item } = await itemOf(call);
  const fabric = await fabricOf(call);
  const vm = lastKnownVm(item, fabric.inventory);
  await checkPlaces(call, { ...item, target: targetFrom(item, body, vm) }, fabric);
  return changeRows(call, {
    kind: jobKinds.updateItem,
    targetResourceId: protectedItemArmId(call, item),
    targetObjectName: item.vmName,
    itemId: item.itemId,
    decide: async () => {
      const stored = await itemOf(call);
      refuseBusyItem(stored.value);
      return [replace(stored, { ...stored.value, target: targetFrom(stored.value, body, vm) })];
    },
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
      const dataDiskCount = Math.max(0, item.disks.length - 1);
      return collection(
        vmSizes
          .filter(({ dataDisks }) => dataDisks >= dataDiskCount)
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
