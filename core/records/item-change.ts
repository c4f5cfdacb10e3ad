import type { ItemId, VaultId } from '../domain/ids.js';
import type { ProtectedItem } from '../domain/protected-item/protected-item.js';
import type { RowOperation, StateTable } from '../ports/state-table.js';
import { decideAndCommit, read, replace, type Stored } from './access.js';
import { rows, vaultPartition } from './rows.js';

/** What becomes of an item's row: nothing because it is not the caller's any more, nothing because it is so already, or a change. */
export type ItemChange =
  | { kind: 'superseded' }
  | { kind: 'unchanged' }
  /** `operations`: rows of the same partition that change with it. */
  | { kind: 'changed'; item: ProtectedItem; operations?: RowOperation[] };

/** The item, if its row still speaks of the life (and, where given, the epoch) that the caller works for. */
export function owned(
  stored: Stored<ProtectedItem> | undefined,
  owner: { protectionId: string; epoch?: number },
): stored is Stored<ProtectedItem> {
  return (
    stored?.value.protectionId === owner.protectionId &&
    (owner.epoch === undefined || stored.value.replication.epoch === owner.epoch)
  );
}

/**
 * One read-modify-write of an item under its ETag. `decide` runs again after a conflict, and only while the item is still
 * the owner's: a writer of an earlier epoch changes nothing (docs/architecture.md, rules 2 and 7).
 */
export async function changeItem(
  table: StateTable,
  owner: { vaultId: VaultId; itemId: ItemId; protectionId: string; epoch?: number },
  decide: (item: ProtectedItem) => ItemChange | Promise<ItemChange>,
): Promise<ItemChange> {
  const ref = rows.item(owner.vaultId, owner.itemId);
  return decideAndCommit<ItemChange>(table, vaultPartition(owner.vaultId), async () => {
    const stored = await read(table, ref);
    if (!owned(stored, owner)) return { operations: [], result: { kind: 'superseded' } };
    const change = await decide(stored.value);
    return change.kind === 'changed'
      ? { operations: [replace(stored, change.item), ...(change.operations ?? [])], result: change }
      : { operations: [], result: change };
  });
}
