import type { ProtectedItem } from '../protected-item/protected-item.js';
import { vmIn, type SiteInventory } from '../site/inventory.js';
import { diskReasons } from './disk-reasons.js';
import { nicReasons } from './nic-reasons.js';
import { sizeReasons } from './size-reasons.js';

/** What of one item does not fit what the site, or Azure, has now. */
export interface InconsistentVm {
  vmName: string;
  cloudName: string;
  /** In words, and by code (docs/errors.md), in the same order. */
  details: string[];
  errorIds: string[];
}

/** What an item names in Azure and is not there, or is another's. */
export interface MissingInAzure {
  code: string;
  message: string;
}

/** Holds an item against its site's inventory; undefined where nothing is wrong. After a failover the site's VM is not looked at. */
export function inconsistencyOf(
  item: ProtectedItem,
  inventory: SiteInventory,
  missingInAzure: readonly MissingInAzure[],
): InconsistentVm | undefined {
  const vm = vmIn(inventory, item.vmId);
  const cloudOf = (id: string): string => inventory.clouds.find(({ cloudId }) => cloudId === id)?.name ?? id;
  const found: MissingInAzure[] = [...missingInAzure];
  if (item.failover === undefined) {
    if (vm === undefined) {
      found.push({ code: 'US3067', message: 'the virtual machine is not in the site’s inventory' });
    } else if (vm.cloudId !== item.containerName) {
      found.push({ code: 'US3068', message: `the virtual machine is in cloud ${cloudOf(vm.cloudId)} now` });
    }
    const reasons = [...diskReasons(item, { vm }), ...nicReasons(item, { vm }), ...sizeReasons(item, { vm })];
    for (const { code, message } of reasons) found.push({ code, message });
  }
  if (found.length === 0) return undefined;
  return {
    vmName: item.vmName,
    cloudName: cloudOf(item.containerName),
    details: found.map(({ message }) => message),
    errorIds: found.map(({ code }) => code),
  };
}
