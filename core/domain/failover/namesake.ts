import type { ProtectedItem } from '../protected-item/protected-item.js';

type Named = Pick<ProtectedItem, 'itemId' | 'target'>;

const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

/** Where the VMs of two items' failovers would be one in Azure. */
export const isSameTarget = (a: Named['target'], b: Named['target']): boolean =>
  same(a.vmName, b.vmName) && same(a.resourceGroupId, b.resourceGroupId);

/** Another item whose VM in Azure would have the same name in the same resource group: of the two, one could be failed over. */
export const namesakeOf = <Item extends Named>(item: Named, items: readonly Item[]): Item | undefined =>
  items.find((other) => other.itemId !== item.itemId && isSameTarget(other.target, item.target));
