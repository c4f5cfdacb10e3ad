import { evaluatePrerequisites } from '../core/domain/prerequisites/prerequisites.js';
import type { PrerequisiteFacts } from '../core/domain/prerequisites/rule.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { vmIn, type SiteVm } from '../core/domain/site/inventory.js';
import type { VaultId } from '../core/domain/ids.js';
import { findOrUndefined } from './cloud-search.js';
import { namesakeOf } from '../core/domain/failover/namesake.js';
import { primaryNic } from '../core/domain/failover/nics.js';
import type { CloudInventory } from '../core/ports/cloud-inventory.js';
import type { StateTable } from '../core/ports/state-table.js';
import { list, read } from '../core/records/access.js';
import { owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import type { Activity, ActivityDependencies } from './activity.js';
import type { activities } from './contract.js';
import { gone } from './failures.js';
import { readFailoverSource } from './failover-source.js';

/** The source VM of an item as its site last reported it; absent when the site reports it no longer. */
export async function readSourceVm(
  table: StateTable,
  vaultId: VaultId,
  item: ProtectedItem,
): Promise<SiteVm | undefined> {
  const fabric = await read(table, rows.fabric(vaultId, item.fabricName));
  return vmIn(fabric?.value.inventory, item.vmId);
}

export const makeEvaluatePrerequisites =
  ({
    table,
    cloudInventory,
  }: Pick<ActivityDependencies, 'table' | 'cloudInventory'>): Activity<typeof activities.evaluatePrerequisites> =>
  async (input) => {
    const stored = await read(table, rows.item(input.vaultId, input.itemId));
    if (!owned(stored, input)) return { kind: 'failed', failures: [{ ...gone(input.itemId), found: '', limit: '' }] };
    const facts = await gatherFacts(table, cloudInventory, input.vaultId, stored.value, input.disksToInclude);
    const failures = evaluatePrerequisites(facts);
    return failures.length === 0 ? { kind: 'met' } : { kind: 'failed', failures };
  };

async function gatherFacts(
  table: StateTable,
  cloudInventory: CloudInventory,
  vaultId: VaultId,
  item: ProtectedItem,
  disksToInclude: readonly string[] | undefined,
): Promise<PrerequisiteFacts> {
  const { target } = item;
  const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
  const [vm, policy, mappings, items, storageAccount, logStorageAccount, network] = await Promise.all([
    readSourceVm(table, vaultId, item),
    read(table, rows.policy(vaultId, item.policyName)),
    list(table, rows.mappings(vaultId)),
    list(table, rows.items(vaultId)),
    findOrUndefined(cloudInventory.storageAccount(target.storageAccountId)),
    target.logStorageAccountId === undefined
      ? ('absent' as const)
      : findOrUndefined(cloudInventory.storageAccount(target.logStorageAccountId)),
    target.networkId === undefined ? undefined : findOrUndefined(cloudInventory.network(target.networkId)),
  ]);
  const others = items.filter(({ value }) => value.itemId !== item.itemId);
  const other = others.find(({ value }) => value.vmId === item.vmId);
  const namesake = namesakeOf(
    item,
    others.map(({ value }) => value),
  );
  const connected = vm && primaryNic(item, vm)?.nic.networkId;
  const accounts = policy?.value.storageAccountIds ?? [];
  return {
    vmName: item.vmName,
    vm,
    policyName: item.policyName,
    policy: policy?.value,
    cloudIsMapped: mappings.some(
      ({ value }) =>
        same(value.fabricName, item.fabricName) &&
        same(value.containerName, item.containerName) &&
        same(value.policyName, item.policyName),
    ),
    target,
    storageAccount,
    logStorageAccount,
    subnetNames: network?.subnets.map(({ name }) => name),
    networkIsMapped:
      connected === undefined || (await readFailoverSource(table, vaultId, item)).networkId !== undefined,
    accountIsOfPolicy: accounts.length === 0 || accounts.some((armId) => same(armId, target.storageAccountId)),
    targetNameTakenBy: namesake?.itemName,
    protectedAs: other ? { itemName: other.value.itemName } : await protectedElsewhere(table, vaultId, item),
    disksToInclude,
  };
}

/** The item of another vault that protects this VM; only vaults that its VMM server is registered with are looked through. */
async function protectedElsewhere(
  table: StateTable,
  vaultId: VaultId,
  { fabricName, vmId }: ProtectedItem,
): Promise<PrerequisiteFacts['protectedAs']> {
  for (const { value } of await list(table, rows.vaultIndexes())) {
    if (value.vaultId === vaultId || (await read(table, rows.fabric(value.vaultId, fabricName))) === undefined)
      continue;
    const items = await list(table, rows.items(value.vaultId));
    const found = items.find((item) => item.value.vmId === vmId);
    const vault = found && (await read(table, rows.vault(value.vaultId)));
    if (found && vault) return { itemName: found.value.itemName, vaultName: vault.value.name };
  }
  return undefined;
}
