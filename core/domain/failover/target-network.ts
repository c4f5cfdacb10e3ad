import type { ProtectedItem } from '../protected-item/protected-item.js';
import type { SiteVm } from '../site/inventory.js';
import { primaryNic } from './nics.js';

/** VM network at the site → virtual network in Azure. It holds for items that replicate already, from their next failover on. */
export interface NetworkMapping {
  mappingName: string;
  /** ARM name of the VM network at the site: its id. */
  networkName: string;
  /** ARM id of the virtual network. */
  recoveryNetworkId: string;
  createdAt: string;
}

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
