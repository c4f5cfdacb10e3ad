import type { ProtectedItem } from '../protected-item/protected-item.js';

type Named = Pick<ProtectedItem, 'itemId' | 'target'>;

/** The same for items whose failovers would make one virtual machine in Azure. */
export const targetKey = ({ vmName, resourceGroupId }: Named['target']): string =>
  `${resourceGroupId}/${vmName}`.toLowerCase();

/** Another item whose VM in Azure would have the same name in the same resource group: of the two, one could be failed over. */
export function namesakeOf<Item extends Named>(item: Named, items: readonly Item[]): Item | undefined {
  const key = targetKey(item.target);
  return items.find((other) => other.itemId !== item.itemId && targetKey(other.target) === key);
}
