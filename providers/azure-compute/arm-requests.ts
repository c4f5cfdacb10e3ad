import type { Disk, Snapshot, VirtualMachine } from '@azure/arm-compute';
import type { NetworkInterface, PublicIPAddress } from '@azure/arm-network';
import type { NicPlace } from '../../core/domain/failover/nics.js';
import type { CloudVmSpecification } from '../../core/ports/cloud-compute.js';
import type { CloudStorageAccount } from '../../core/ports/cloud-inventory.js';
import { ownerTags, tagsOf } from './specification-tags.js';
import { diskName, networkInterfaceName, resourceId, type VmPlace } from './vm-place.js';

/** What is asked of Azure for a specification. Pure. */
export interface VmRequest {
  specification: CloudVmSpecification;
  place: VmPlace;
  /** The region, which is that of the storage accounts. */
  location: string;
}
type VmDisk = CloudVmSpecification['disks'][number];

const osTypeOf = ({ osType }: CloudVmSpecification): 'Linux' | 'Windows' =>
  osType.toLowerCase() === 'linux' ? 'Linux' : 'Windows';

/** A disk is attached to a machine of its own zone alone. */
const zonesOf = ({ availabilityZone }: CloudVmSpecification): { zones?: string[] } =>
  availabilityZone === undefined ? {} : { zones: [availabilityZone] };

/** Site Recovery's words of Azure Hybrid Benefit, by those of virtual machines. Others are taken as they are. */
const licenseTypes: Readonly<Record<string, string>> = { WindowsServer: 'Windows_Server' };

/** The blob is copied by Azure: what the machine writes later does not reach it. */
export function diskRequest(
  { specification, place, location }: VmRequest,
  disk: VmDisk,
  account: CloudStorageAccount,
): Disk {
  const { container, blobName } = disk.blob;
  const path = blobName.split('/').map(encodeURIComponent).join('/');
  return {
    location,
    tags: tagsOf(specification, place, specification.diskTags),
    ...zonesOf(specification),
    sku: { name: account.kind === 'premium' ? 'Premium_LRS' : 'Standard_LRS' },
    creationData: {
      createOption: 'Import',
      sourceUri: `${account.blobEndpoint.replace(/\/$/, '')}/${container}/${path}`,
      storageAccountId: account.armId,
    },
    ...(disk.isOsDisk && {
      osType: osTypeOf(specification),
      hyperVGeneration: specification.generation === 2 ? 'V2' : 'V1',
      ...(specification.generation === 2 && { securityProfile: { securityType: 'TrustedLaunch' } }),
    }),
  };
}

export function networkInterfaceRequest(
  { specification, place, location }: VmRequest,
  { staticIpAddress }: NicPlace,
  subnetId: string,
  publicAddressId?: string,
): NetworkInterface {
  return {
    location,
    tags: tagsOf(specification, place, specification.nicTags),
    ipConfigurations: [
      {
        name: 'primary',
        primary: true,
        ...(staticIpAddress === undefined
          ? { privateIPAllocationMethod: 'Dynamic' }
          : { privateIPAllocationMethod: 'Static', privateIPAddress: staticIpAddress }),
        subnet: { id: subnetId },
        ...(publicAddressId !== undefined && { publicIPAddress: { id: publicAddressId } }),
      },
    ],
  };
}

export function publicAddressRequest({ specification, place, location }: VmRequest): PublicIPAddress {
  return {
    location,
    tags: tagsOf(specification, place),
    sku: { name: 'Standard' },
    publicIPAllocationMethod: 'Static',
    publicIPAddressVersion: 'IPv4',
  };
}

/** Of disks that are there, without an OS profile: the guest has its accounts and names already. */
export function vmRequest({ specification, place, location }: VmRequest): VirtualMachine {
  const { licenseType } = specification;
  const managedDisk = (disk: VmDisk) => ({
    id: resourceId(place, 'Microsoft.Compute/disks', diskName(place, disk)),
  });
  const [osDisk] = specification.disks.filter(({ isOsDisk }) => isOsDisk);
  if (!osDisk) throw new Error(`virtual machine ${specification.vmArmId} has no OS disk`);
  return {
    location,
    tags: tagsOf(specification, place),
    ...zonesOf(specification),
    ...(specification.availabilitySetId !== undefined && { availabilitySet: { id: specification.availabilitySetId } }),
    ...(licenseType !== undefined && { licenseType: licenseTypes[licenseType] ?? licenseType }),
    hardwareProfile: { vmSize: specification.size },
    storageProfile: {
      osDisk: { createOption: 'Attach', osType: osTypeOf(specification), managedDisk: managedDisk(osDisk) },
      dataDisks: specification.disks
        .filter(({ isOsDisk }) => !isOsDisk)
        .map((disk) => ({ lun: disk.lun, createOption: 'Attach', managedDisk: managedDisk(disk) })),
    },
    networkProfile: {
      networkInterfaces: specification.nics.map((_nic, index) => ({
        id: resourceId(place, 'Microsoft.Network/networkInterfaces', networkInterfaceName(place, index)),
        primary: index === 0,
      })),
    },
    // Secure boot stays off: whether the source had it is not known, and a guest that has unsigned drivers would not boot.
    ...(specification.generation === 2 && {
      securityProfile: {
        securityType: 'TrustedLaunch',
        uefiSettings: { vTpmEnabled: true, secureBootEnabled: false },
      },
    }),
  };
}

export function snapshotRequest(
  { specification, place }: Pick<VmRequest, 'specification' | 'place'>,
  disk: Disk,
  exportName: string,
): Snapshot {
  const { id, location } = disk;
  if (id === undefined) throw new Error(`a disk of ${specification.vmArmId} has no id`);
  return {
    location,
    tags: {
      ...(specification.diskTags ?? specification.tags),
      ...ownerTags(specification, place),
      'understudy-export': exportName,
    },
    creationData: { createOption: 'Copy', sourceResourceId: id },
  };
}
