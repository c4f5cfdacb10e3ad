import type { ProtectedItem, TargetNic } from '../protected-item/protected-item.js';
import type { SiteVm } from '../site/inventory.js';

/** VM network at the site → virtual network in Azure. It holds for items that replicate already, from their next failover on. */
export interface NetworkMapping {
  mappingName: string;
  /** ARM name of the VM network at the site: its id. */
  networkName: string;
  /** ARM id of the virtual network. */
  recoveryNetworkId: string;
  createdAt: string;
}

/** One network interface as it is to be in Azure, with what the operator chose for it. */
export interface NicPlan {
  nic: SiteVm['nics'][number];
  role: TargetNic['role'];
  chosen: TargetNic | undefined;
}

/**
 * Roles as the operator set them; where none was set, the VM's first interface is the primary one and the others are left out, as
 * are interfaces that were added later.
 */
export function nicPlans({ target }: Pick<ProtectedItem, 'target'>, vm: Pick<SiteVm, 'nics'> | undefined): NicPlan[] {
  return (vm?.nics ?? []).map((nic, index) => {
    const chosen = target.nics?.find(({ nicId }) => nicId === nic.nicId);
    const byDefault = target.nics === undefined && index === 0 ? 'primary' : 'notUsed';
    return { nic, role: chosen?.role ?? byDefault, chosen };
  });
}

export const primaryNic = (item: Pick<ProtectedItem, 'target'>, vm: Pick<SiteVm, 'nics'> | undefined) =>
  nicPlans(item, vm).find(({ role }) => role === 'primary');

/** The virtual network that a failover's VM is connected to: the one that its item names, else the mapped one; else none. */
export function targetNetworkId(
  item: Pick<ProtectedItem, 'target'>,
  vm: Pick<SiteVm, 'nics'> | undefined,
  mappings: readonly NetworkMapping[],
): string | undefined {
  if (item.target.networkId !== undefined) return item.target.networkId;
  const networkName = primaryNic(item, vm)?.nic.networkId;
  return mappings.find((mapping) => mapping.networkName === networkName)?.recoveryNetworkId;
}
