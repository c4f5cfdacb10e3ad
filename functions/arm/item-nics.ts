import type { IPConfigInputDetails, VMNicInputDetails } from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { isUsableAddress } from '../../core/domain/failover/address.js';
import { discoveredNics, usedNics } from '../../core/domain/failover/nics.js';
import { subnetNamed } from '../../core/domain/failover/placement.js';
import { lastKnownVm } from '../../core/domain/failover/source-vm.js';
import { targetNetworkId } from '../../core/domain/failover/target-network.js';
import type { ProtectedItem, TargetNic } from '../../core/domain/protected-item/protected-item.js';
import type { SiteVm } from '../../core/domain/site/inventory.js';
import { list } from '../../core/records/access.js';
import { rows, type Fabric } from '../../core/records/rows.js';
import { badReference, networkOrBadReference } from './cloud-resources.js';
import type { VaultCall } from './operation.js';
import { invalid } from './target-input.js';
import { unsupported } from './unsupported.js';
import type { ShapeOf } from './wire.js';

const address = z.union([z.ipv4({ error: 'an IPv4 address' }), z.literal('')]).nullish();

const securityGroups = 'security groups are set on the subnet';
const acceleration = 'interfaces are made without accelerated networking';
const names = 'interfaces are named after their virtual machine, in its resource group';
const publicAddresses = 'a public address is asked for by /understudy/v1/publicAddress';
const loadBalancers = 'interfaces are joined to load balancers by a runbook of a recovery plan';

const ipConfigBody = z.object({
  ipConfigName: z.string().nullish(),
  isPrimary: z.boolean().nullish(),
  isSeletedForFailover: z.boolean().nullish(),
  recoverySubnetName: z.string().nullish(),
  recoveryStaticIPAddress: address,
  tfoSubnetName: z.string().nullish(),
  tfoStaticIPAddress: address,
  recoveryPublicIPAddressId: unsupported(publicAddresses),
  recoveryLBBackendAddressPoolIds: unsupported(loadBalancers),
  tfoPublicIPAddressId: unsupported(publicAddresses),
  tfoLBBackendAddressPoolIds: unsupported(loadBalancers),
} satisfies ShapeOf<IPConfigInputDetails>);

export const nicBody = z.object({
  nicId: z.string().min(1),
  /** As portal and recordings spell them; `NotSelected` leaves the interface out. */
  selectionType: z.enum(['SelectedByUser', 'SelectedByDefault', 'NotSelected']).nullish(),
  ipConfigs: z.array(ipConfigBody).max(1, 'one IP configuration an interface').nullish(),
  recoveryNetworkSecurityGroupId: unsupported(securityGroups),
  tfoNetworkSecurityGroupId: unsupported(securityGroups),
  enableAcceleratedNetworkingOnRecovery: unsupported(acceleration),
  enableAcceleratedNetworkingOnTfo: unsupported(acceleration),
  recoveryNicName: unsupported(names),
  recoveryNicResourceGroupName: unsupported(names),
  reuseExistingNic: unsupported(names),
  tfoNicName: unsupported(names),
  tfoNicResourceGroupName: unsupported(names),
  tfoReuseExistingNic: unsupported(names),
  targetNicName: unsupported(names),
} satisfies ShapeOf<VMNicInputDetails>);
type NicBody = z.output<typeof nicBody>;

const nicsPath = '$.properties.vmNics';

/** The roles of all of the VM's interfaces, of which exactly one is primary; undefined where nothing is said of them. */
export function nicsFrom(
  {
    vmNics,
    selectedSourceNicId,
  }: { vmNics?: NicBody[] | null | undefined; selectedSourceNicId?: string | null | undefined },
  { target }: ProtectedItem,
  vm: SiteVm | undefined,
): TargetNic[] | undefined {
  const idOf = (nicId: string, path: string): string => {
    const known = vm?.nics.find((nic) => nic.nicId.toLowerCase() === nicId.toLowerCase())?.nicId;
    if (known !== undefined) return known;
    throw badReference(path, 'network interface of the virtual machine', nicId, 'See vmNics of the item.');
  };
  const primaryId = selectedSourceNicId ? idOf(selectedSourceNicId, '$.properties.selectedSourceNicId') : undefined;
  if (vmNics && vmNics.length > 0) {
    const nics = vmNics.map((body, index) => nicFrom(body, idOf(body.nicId, `${nicsPath}[${index}].nicId`), primaryId));
    return checkRoles(nics);
  }
  if (primaryId === undefined) return target.nics;
  const nics = target.nics ?? discoveredNics({ nics: vm?.nics ?? [] });
  // Those that are gone are not chosen any more.
  const others = nics.filter(({ nicId }) => nicId !== primaryId && vm?.nics.some((nic) => nic.nicId === nicId));
  const primary = nics.find(({ nicId }) => nicId === primaryId) ?? { nicId: primaryId };
  return [
    { ...primary, role: 'primary' },
    ...others.map((nic): TargetNic => ({ ...nic, role: nic.role === 'primary' ? 'secondary' : nic.role })),
  ];
}

function nicFrom(body: NicBody, nicId: string, primaryId: string | undefined): TargetNic {
  const [ip] = body.ipConfigs ?? [];
  const isUsed = body.selectionType !== 'NotSelected' && ip?.isSeletedForFailover !== false;
  const isPrimary = primaryId === undefined ? ip?.isPrimary === true : nicId === primaryId;
  const test = {
    ...(ip?.tfoSubnetName ? { subnetName: ip.tfoSubnetName } : {}),
    ...(ip?.tfoStaticIPAddress ? { staticIpAddress: ip.tfoStaticIPAddress } : {}),
  };
  return {
    nicId,
    role: !isUsed ? 'notUsed' : isPrimary ? 'primary' : 'secondary',
    ...(ip?.recoverySubnetName ? { subnetName: ip.recoverySubnetName } : {}),
    ...(ip?.recoveryStaticIPAddress ? { staticIpAddress: ip.recoveryStaticIPAddress } : {}),
    ...(Object.keys(test).length === 0 ? {} : { test }),
  };
}

function checkRoles(nics: TargetNic[]): TargetNic[] {
  const twice = nics.find(({ nicId }, index) => nics.findIndex((nic) => nic.nicId === nicId) !== index);
  if (twice !== undefined) throw invalid(nicsPath, `${twice.nicId} is named twice`, 'Name each interface once.');
  const used = nics.filter(({ role }) => role !== 'notUsed');
  const [only] = used;
  // One alone is the primary one, said or not.
  if (used.length === 1 && only !== undefined) only.role = 'primary';
  const primaryCount = nics.filter(({ role }) => role === 'primary').length;
  if (primaryCount === 1) return nics;
  throw invalid(
    nicsPath,
    `${primaryCount} network interfaces are primary; exactly one is to be`,
    'Set isPrimary in the ipConfigs of one interface that is used, or name it in selectedSourceNicId.',
  );
}

/** Subnets and addresses are of the network that the next failover goes to: those that were chosen must be there. */
export async function checkPlaces(call: VaultCall, item: ProtectedItem, fabric: Fabric): Promise<void> {
  const vm = lastKnownVm(item, fabric.inventory);
  const networkId = targetNetworkId(item, vm, fabric.networkMappings);
  if (networkId === undefined) return;
  const network = await networkOrBadReference(call, networkId, '$.properties.selectedRecoveryAzureNetworkId');
  const hasStatic = item.target.nics?.some(({ staticIpAddress }) => staticIpAddress !== undefined) === true;
  const addresses = hasStatic ? await addressesTaken(call, item, networkId) : new Map<string, string>();
  for (const [index, { nicId, role, subnetName, staticIpAddress }] of (item.target.nics ?? []).entries()) {
    const place = `${nicsPath}[${index}].ipConfigs[0]`;
    const isThere = network.subnets.some(({ name }) => name.toLowerCase() === subnetName?.toLowerCase());
    if (subnetName !== undefined && !isThere) {
      const subnetNames = network.subnets.map(({ name }) => name).join(', ');
      throw badReference(
        `${place}.recoverySubnetName`,
        `subnet of ${network.name}`,
        subnetName,
        `It has: ${subnetNames}.`,
      );
    }
    const settled = role === 'primary' ? item.target.subnetName : undefined;
    const atSource = vm?.nics.find((nic) => nic.nicId === nicId)?.subnetName;
    const subnet = subnetNamed(subnetName ?? settled ?? atSource, network.subnets);
    if (staticIpAddress === undefined || subnet === undefined) continue;
    if (!isUsableAddress(subnet.addressPrefix, staticIpAddress)) {
      throw invalid(
        `${place}.recoveryStaticIPAddress`,
        `${staticIpAddress} is no address that a virtual machine may have in ${subnet.name} (${subnet.addressPrefix})`,
        'Choose one of that subnet beyond its first four and before its last, or none.',
      );
    }
    if (role === 'notUsed') continue;
    const holder = addresses.get(staticIpAddress);
    if (holder !== undefined) {
      throw invalid(
        `${place}.recoveryStaticIPAddress`,
        `${staticIpAddress} is another interface’s, of ${holder}`,
        'Choose another one.',
      );
    }
    addresses.set(staticIpAddress, item.vmName);
  }
}

/** Static addresses that failovers of other items would take in the network, each with its VM. */
async function addressesTaken(
  call: VaultCall,
  { itemId }: ProtectedItem,
  networkId: string,
): Promise<Map<string, string>> {
  const [items, fabrics] = await Promise.all([
    list(call.app.table, rows.items(call.vaultId)),
    list(call.app.table, rows.fabrics(call.vaultId)),
  ]);
  const taken = new Map<string, string>();
  for (const { value: other } of items) {
    if (other.itemId === itemId) continue;
    const fabric = fabrics.find(({ value }) => value.fabricName === other.fabricName)?.value;
    const vm = lastKnownVm(other, fabric?.inventory);
    const network = targetNetworkId(other, vm, fabric?.networkMappings ?? []);
    if (network?.toLowerCase() !== networkId.toLowerCase()) continue;
    for (const { chosen } of usedNics(other, vm)) {
      if (chosen?.staticIpAddress !== undefined) taken.set(chosen.staticIpAddress, other.vmName);
    }
  }
  return taken;
}
