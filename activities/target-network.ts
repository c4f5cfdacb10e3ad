import { targetNetworkId } from '../core/domain/failover/target-network.js';
import type { VaultId } from '../core/domain/ids.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { vmIn } from '../core/domain/site/inventory.js';
import type { StateTable } from '../core/ports/state-table.js';
import { read } from '../core/records/access.js';
import { rows } from '../core/records/rows.js';

/** The virtual network that a failover of the item would connect its VM to, now. */
export async function readTargetNetworkId(
  table: StateTable,
  vaultId: VaultId,
  item: ProtectedItem,
): Promise<string | undefined> {
  const fabric = (await read(table, rows.fabric(vaultId, item.fabricName)))?.value;
  const vm = vmIn(fabric?.inventory, item.vmId);
  return targetNetworkId(item, vm, fabric?.networkMappings ?? []);
}
