import { inconsistencyOf, type InconsistentVm, type MissingInAzure } from '../../core/domain/health/consistency.js';
import { namesakeOf } from '../../core/domain/failover/namesake.js';
import { lastKnownVm } from '../../core/domain/failover/source-vm.js';
import { targetNetworkId } from '../../core/domain/failover/target-network.js';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { VaultId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { list } from '../../core/records/access.js';
import { rows, type Fabric } from '../../core/records/rows.js';
import type { App } from '../app.js';

/** Items of the fabric that do not fit what its site, or Azure, has now. Each account and network is looked for once. */
export async function findInconsistencies(app: App, vaultId: VaultId, fabric: Fabric): Promise<InconsistentVm[]> {
  const items = (await list(app.table, rows.items(vaultId))).map(({ value }) => value);
  const looked = new Map<string, Promise<boolean>>();
  const isThere = (armId: string, look: () => Promise<unknown>): Promise<boolean> => {
    const known = looked.get(armId.toLowerCase()) ?? found(look);
    looked.set(armId.toLowerCase(), known);
    return known;
  };
  const missingOf = async (item: ProtectedItem): Promise<MissingInAzure[]> => {
    const { storageAccountId } = item.target;
    const networkId = targetNetworkId(item, lastKnownVm(item, fabric.inventory), fabric.networkMappings);
    const missing: MissingInAzure[] = [];
    const namesake = namesakeOf(item, items);
    if (namesake !== undefined) {
      const { vmName } = item.target;
      missing.push({
        code: 'US3131',
        message: `its virtual machine in Azure is ${vmName}, as that of ${namesake.itemName} is`,
      });
    }
    if (!(await isThere(storageAccountId, () => app.cloudInventory.storageAccount(storageAccountId)))) {
      missing.push({ code: 'US3069', message: `the storage account ${storageAccountId} is not there` });
    }
    if (networkId !== undefined && !(await isThere(networkId, () => app.cloudInventory.network(networkId)))) {
      missing.push({ code: 'US3079', message: `the virtual network ${networkId} is not there` });
    }
    return missing;
  };
  const inconsistent: InconsistentVm[] = [];
  for (const item of items.filter(({ fabricName }) => fabricName === fabric.fabricName)) {
    const entry = inconsistencyOf(item, fabric.inventory, await missingOf(item));
    if (entry !== undefined) inconsistent.push(entry);
  }
  return inconsistent;
}

async function found(look: () => Promise<unknown>): Promise<boolean> {
  try {
    await look();
    return true;
  } catch (error) {
    if (error instanceof UnderstudyError && (error.code === 'US6010' || error.code === 'US6011')) return false;
    throw error;
  }
}
