import { noVmId } from './refusals.js';

/**
 * Where a virtual machine's resources are and what they are called: all in its resource group and named after it, so that a
 * run that repeats another finds what that one made. A VM's name has at most 64 characters, a resource's 80.
 */
export interface VmPlace {
  vmArmId: string;
  subscriptionId: string;
  resourceGroup: string;
  vmName: string;
}

const vmIdPattern =
  /^\/subscriptions\/([^/]+)\/resourceGroups\/([^/]+)\/providers\/Microsoft\.Compute\/virtualMachines\/([^/]+)$/i;

export function placeOf(vmArmId: string): VmPlace {
  const [, subscriptionId, resourceGroup, vmName] = vmIdPattern.exec(vmArmId) ?? [];
  if (subscriptionId === undefined || resourceGroup === undefined || vmName === undefined) {
    throw noVmId(vmArmId);
  }
  return { vmArmId, subscriptionId, resourceGroup, vmName };
}

/** By its place among the VM's interfaces, the primary one first. */
export const networkInterfaceName = ({ vmName }: VmPlace, index: number): string =>
  index === 0 ? `${vmName}-nic` : `${vmName}-nic-${index + 1}`;
export const publicAddressName = ({ vmName }: VmPlace): string => `${vmName}-ip`;
/** The OS disk is found without its LUN: it tells what its VM is. */
export const diskName = ({ vmName }: VmPlace, disk: 'os' | { isOsDisk: boolean; lun: number }): string =>
  disk === 'os' || disk.isOsDisk ? `${vmName}-os` : `${vmName}-data-${disk.lun}`;
export const snapshotName = ({ vmName }: VmPlace, lun: number, exportDigest: string): string =>
  `${vmName}-${lun}-${exportDigest.slice(0, 12)}`;

export const resourceId = (
  { subscriptionId, resourceGroup }: VmPlace,
  type: 'Microsoft.Compute/disks' | 'Microsoft.Network/networkInterfaces' | 'Microsoft.Network/publicIPAddresses',
  name: string,
): string => `/subscriptions/${subscriptionId}/resourceGroups/${resourceGroup}/providers/${type}/${name}`;
