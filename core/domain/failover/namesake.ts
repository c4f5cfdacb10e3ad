import type { ProtectedItem } from '../protected-item/protected-item.js';
import { testVmName } from './test-failover.js';

type Named = Pick<ProtectedItem, 'itemId' | 'target'>;

/** Of the virtual machines that an item's failovers would make in Azure, the real one and the test. */
export const targetKeys = (target: Named['target']): string[] =>
  [target.vmName, testVmName({ target })].map((name) => `${target.resourceGroupId}/${name}`.toLowerCase());

/** Another item whose VM in Azure, real or test, would have the same name in the same resource group: of the two, one could be failed over. */
export function namesakeOf<Item extends Named>(item: Named, items: readonly Item[]): Item | undefined {
  const keys = targetKeys(item.target);
  return items.find(
    (other) => other.itemId !== item.itemId && targetKeys(other.target).some((key) => keys.includes(key)),
  );
}
