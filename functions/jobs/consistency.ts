import { findOrUndefined } from '../../activities/cloud-search.js';
import { inconsistencyOf, type InconsistentVm, type MissingInAzure } from '../../core/domain/health/consistency.js';
import { namesakeOf, targetKeys } from '../../core/domain/failover/namesake.js';
import { lostSubnets, misplacedAddresses, nicPlaces } from '../../core/domain/failover/nics.js';
import { lastKnownVm } from '../../core/domain/failover/source-vm.js';
import { targetNetworkId } from '../../core/domain/failover/target-network.js';
import type { VaultId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { list } from '../../core/records/access.js';
import { rows, type Fabric } from '../../core/records/rows.js';
import type { App } from '../app.js';

/** Items of the fabric that do not fit what its site, or Azure, has now. Each account and network is looked for once. */
export async function findInconsistencies(app: App, vaultId: VaultId, fabric: Fabric): Promise<InconsistentVm[]> {
  const items = (await list(app.table, rows.items(vaultId))).map(({ value }) => value);
  const byTarget = new Map<string, ProtectedItem[]>();
  for (const item of items) {
    for (const key of targetKeys(item.target)) byTarget.set(key, [...(byTarget.get(key) ?? []), item]);
  }
  const namesakes = ({ target }: ProtectedItem): ProtectedItem[] =>
    targetKeys(target).flatMap((key) => byTarget.get(key) ?? []);
  const accountOf = foundOnce((armId) => app.cloudInventory.storageAccount(armId));
  const networkOf = foundOnce((armId) => app.cloudInventory.network(armId));
  const missingOf = async (item: ProtectedItem): Promise<MissingInAzure[]> => {
    const { storageAccountId, vmName } = item.target;
    const vm = lastKnownVm(item, fabric.inventory);
    const networkId = targetNetworkId(item, vm, fabric.networkMappings);
    const missing: MissingInAzure[] = [];
    const namesake = namesakeOf(item, namesakes(item));
    if (namesake !== undefined) {
      const message = `its virtual machine in Azure is ${vmName}; this name, or that of its test, is that of ${namesake.itemName} too`;
      missing.push({ code: 'US3131', message });
    }
    if ((await accountOf(storageAccountId)) === undefined) {
      missing.push({ code: 'US3069', message: `the storage account ${storageAccountId} is not there` });
    }
    if (networkId === undefined) {
      if (app.compute.capabilities.runsWithoutNetwork) return missing;
      const message =
        'neither it names a virtual network nor is its VM network mapped to one: it could not be failed over';
      missing.push({ code: 'US6066', message });
      return missing;
    }
    const network = await networkOf(networkId);
    if (network === undefined) {
      missing.push({ code: 'US3079', message: `the virtual network ${networkId} is not there` });
      return missing;
    }
    for (const subnetName of lostSubnets(item, network.subnets)) {
      const message = `the subnet ${subnetName} that was chosen for a network interface is not in ${network.name}: it would be another`;
      missing.push({ code: 'US3078', message });
    }
    for (const { address, subnet } of vm ? misplacedAddresses(nicPlaces(item, vm), network.subnets) : []) {
      const message = `the address ${address} that was chosen for a network interface cannot be had in ${subnet.name} (${subnet.addressPrefix})`;
      missing.push({ code: 'US3078', message });
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

/** What an ARM id stands for, looked for once; undefined where it is not there. */
function foundOnce<T>(look: (armId: string) => Promise<T>): (armId: string) => Promise<T | undefined> {
  const looked = new Map<string, Promise<T | undefined>>();
  return (armId) => {
    const known = looked.get(armId.toLowerCase()) ?? findOrUndefined(look(armId));
    looked.set(armId.toLowerCase(), known);
    return known;
  };
}
