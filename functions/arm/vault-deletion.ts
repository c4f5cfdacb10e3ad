import { decideAndCommit, list, read, remove, replace } from '../../core/records/access.js';
import { rows, vaultPartition } from '../../core/records/rows.js';
import type { VaultId } from '../../core/domain/ids.js';
import { transactionOperationsMax, type StateTable } from '../../core/ports/state-table.js';
import { refuseUsed } from './used.js';

/**
 * Marks the vault first: from there on nothing is written into it, and a deletion that breaks off is carried on by a repeat or by
 * housekeeping. Resolves with false where there is no vault.
 */
export async function deleteVault(table: StateTable, vaultId: VaultId): Promise<boolean> {
  const wasThere = await decideAndCommit(table, vaultPartition(vaultId), async () => {
    const vault = await read(table, rows.vault(vaultId));
    if (vault === undefined || vault.value.deleting) return { operations: [], result: vault !== undefined };
    const [fabrics, items] = await Promise.all([list(table, rows.fabrics(vaultId)), list(table, rows.items(vaultId))]);
    refuseUsed(
      'vault',
      vault.value.name,
      [
        ...fabrics.map(({ value }) => `fabric ${value.fabricName}`),
        ...items.map(({ value }) => `protected item ${value.itemName}`),
      ],
      'Disable replication of the items and remove the fabrics first.',
    );
    return { operations: [replace(vault, { ...vault.value, deleting: true })], result: true };
  });
  await carryDeletionOn(table, vaultId);
  return wasThere;
}

/** Brings a deletion that was begun to its end; a vault that stands is left as it is. May run several times, also at once. */
export async function carryDeletionOn(table: StateTable, vaultId: VaultId): Promise<void> {
  let isOver = false;
  while (!isOver) isOver = await deleteSomeRows(table, vaultId);
  await dropFromIndex(table, vaultId);
}

/**
 * Every transaction holds only while the vault's row is the marked one that was read: another deletion may have come to its end,
 * and a vault of the same name may have been created since, whose rows are not ours.
 */
const deleteSomeRows = (table: StateTable, vaultId: VaultId): Promise<boolean> =>
  decideAndCommit(table, vaultPartition(vaultId), async () => {
    const vault = await read(table, rows.vault(vaultId));
    if (!vault?.value.deleting) return { operations: [], result: true };
    const some = await list(table, { partition: vaultPartition(vaultId), prefix: '' }, transactionOperationsMax);
    const others = some.filter(({ ref }) => ref.rowKey !== vault.ref.rowKey).slice(0, transactionOperationsMax - 1);
    return others.length === 0
      ? { operations: [remove(vault)], result: true }
      : { operations: [replace(vault, vault.value), ...others.map(remove)], result: false };
  });

/** Only while the vault is not there. A creation writes the entry before and after the vault, so that it cannot miss its entry. */
const dropFromIndex = (table: StateTable, vaultId: VaultId): Promise<void> =>
  decideAndCommit(table, rows.vaultIndex(vaultId).partition, async () => {
    const entry = await read(table, rows.vaultIndex(vaultId));
    const isNeeded = entry === undefined || (await read(table, rows.vault(vaultId))) !== undefined;
    return { operations: isNeeded ? [] : [remove(entry)], result: undefined };
  });
