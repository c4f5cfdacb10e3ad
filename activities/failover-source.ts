import { lostSubnets } from '../core/domain/failover/nics.js';
import { lastKnownVm } from '../core/domain/failover/source-vm.js';
import { targetNetworkId } from '../core/domain/failover/target-network.js';
import { nicReasons } from '../core/domain/health/nic-reasons.js';
import { sizeReasons } from '../core/domain/health/size-reasons.js';
import type { JobName, VaultId } from '../core/domain/ids.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import type { SiteVm } from '../core/domain/site/inventory.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { StateTable } from '../core/ports/state-table.js';
import { read } from '../core/records/access.js';
import { rows } from '../core/records/rows.js';
import type { ActivityDependencies } from './activity.js';
import { addWarning } from './jobs.js';
import { findOrUndefined } from './cloud-search.js';

/** What a failover of the item that began now would be made of, and the virtual network that its VM would be connected to. */
export async function readFailoverSource(
  table: StateTable,
  vaultId: VaultId,
  item: ProtectedItem,
): Promise<{ source: SiteVm | undefined; networkId: string | undefined }> {
  const fabric = (await read(table, rows.fabric(vaultId, item.fabricName)))?.value;
  const source = lastKnownVm(item, fabric?.inventory);
  return { source, networkId: targetNetworkId(item, source, fabric?.networkMappings ?? []) };
}

/** The failover goes on; its job says what the VM comes up without. A test is in a network of its own: it has no `networkId`. */
export async function warnOfSource(
  needs: Pick<ActivityDependencies, 'table' | 'clock' | 'cloudInventory'>,
  job: { vaultId: VaultId; jobName: JobName },
  item: ProtectedItem,
  { source: vm, networkId }: { source: SiteVm | undefined; networkId?: string | undefined },
): Promise<void> {
  const network = networkId === undefined ? undefined : await findOrUndefined(needs.cloudInventory.network(networkId));
  for (const subnetName of network === undefined ? [] : lostSubnets(item, network.subnets)) {
    await addWarning(needs, job, subnetLost(subnetName, network?.name ?? ''));
  }
  for (const reason of [...nicReasons(item, { vm }), ...sizeReasons(item, { vm })]) {
    const { code, message, possibleCauses, recommendedAction } = reason;
    await addWarning(needs, job, { code, message, possibleCauses, recommendedAction, retry: 'never' });
  }
}

const subnetLost = (subnetName: string, networkName: string): WorkflowFailure => ({
  code: 'US3078',
  message: `the subnet ${subnetName} that was chosen for a network interface is not in ${networkName}: it comes up in another`,
  possibleCauses: 'The subnet was removed or renamed, or the network or its mapping was changed since.',
  recommendedAction:
    'Look at what may reach the virtual machine where it is; choose the subnet anew for the next failover (vmNics).',
  retry: 'never',
});
