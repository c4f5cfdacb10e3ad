import type { AccessUri, DiskProperties, InstanceViewStatus, SnapshotProperties } from '@azure/arm-compute';
import type { VirtualMachineProperties } from '@azure/arm-compute';
import type { NetworkInterface, NetworkInterfaceIPConfiguration, PublicIPAddress } from '@azure/arm-network';

/** The JSON that Azure's management API speaks, by the SDKs' own types. */
interface Wire<Properties> {
  id: string;
  name: string;
  type: string;
  location: string;
  tags?: Record<string, string>;
  zones?: string[];
  sku?: { name?: string };
  managedBy?: string;
  properties: Properties;
}
export type WireDisk = Wire<Writable<DiskProperties>>;
export type WireSnapshot = Wire<Writable<SnapshotProperties>>;
export type WireVm = Wire<Writable<VirtualMachineProperties>>;
export type WirePublicAddress = Wire<
  Writable<
    Pick<
      PublicIPAddress,
      'publicIPAllocationMethod' | 'publicIPAddressVersion' | 'ipAddress' | 'ipConfiguration' | 'provisioningState'
    >
  >
>;
export type WireNic = Wire<{
  provisioningState?: NetworkInterface['provisioningState'];
  virtualMachine?: NetworkInterface['virtualMachine'];
  ipConfigurations: {
    id?: string;
    name?: string;
    properties: Writable<
      Pick<
        NetworkInterfaceIPConfiguration,
        | 'primary'
        | 'privateIPAddress'
        | 'privateIPAllocationMethod'
        | 'publicIPAddress'
        | 'subnet'
        | 'provisioningState'
      >
    >;
  }[];
}>;
type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

export interface WireResources {
  disks: WireDisk;
  snapshots: WireSnapshot;
  virtualMachines: WireVm;
  networkInterfaces: WireNic;
  publicIPAddresses: WirePublicAddress;
}
export type ResourceType = keyof WireResources;
export type Resource = WireResources[ResourceType];

export const namespaces: Record<ResourceType, string> = {
  disks: 'Microsoft.Compute',
  snapshots: 'Microsoft.Compute',
  virtualMachines: 'Microsoft.Compute',
  networkInterfaces: 'Microsoft.Network',
  publicIPAddresses: 'Microsoft.Network',
};

/** A refusal as Azure words it. */
export class ArmRefusal extends Error {
  constructor(
    readonly statusCode: number,
    readonly code: string,
    message: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
  }
}

export const notFound = (type: ResourceType, name: string, group: string): ArmRefusal =>
  new ArmRefusal(
    404,
    'ResourceNotFound',
    `The Resource '${namespaces[type]}/${type}/${name}' under resource group '${group}' was not found.`,
  );

export const accessUri = (accessSAS: string): AccessUri => ({ accessSAS }) satisfies AccessUri;

export const powerStatuses = (power: string | undefined, provisioning: string): InstanceViewStatus[] =>
  [
    { code: `ProvisioningState/${provisioning.toLowerCase()}`, level: 'Info' },
    ...(power === undefined ? [] : [{ code: `PowerState/${power}`, level: 'Info' } as const]),
  ] satisfies InstanceViewStatus[];
