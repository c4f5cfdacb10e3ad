import { transferPrefixOfProtection, transferStorageAccountId } from '../core/domain/replication/blob-names.js';
import { read, remove } from '../core/records/access.js';
import { changeItem, owned } from '../core/records/item-change.js';
import { rows } from '../core/records/rows.js';
import { done, superseded, type Activity, type ActivityDependencies } from './activity.js';
import { deleteRows } from './commit.js';
import type { activities } from './contract.js';
import { endExports } from './failback.js';
import { dropChecksums } from './kept-checksums.js';

/** A new epoch, in which nothing is sent or applied any more; what runs for an earlier one finds itself superseded. */
export const makeStopReplication =
  ({ table }: Pick<ActivityDependencies, 'table'>): Activity<typeof activities.stopReplication> =>
  async (input) => {
    const change = await changeItem(table, input, (item) => {
      if (item.activeJob?.jobName !== input.jobName) return { kind: 'superseded' };
      if (item.replication.ownedBy === input.jobName) return { kind: 'unchanged' };
      const { resync: _, sourceLock: _lock, ...replication } = item.replication;
      return {
        kind: 'changed',
        item: {
          ...item,
          replication: {
            ...replication,
            phase: 'stopped',
            stopReason: 'disabled',
            epoch: replication.epoch + 1,
            ownedBy: input.jobName,
          },
        },
      };
    });
    return change.kind === 'superseded' ? superseded : done;
  };

/**
 * Deletes all that replication keeps in Azure, a bounded number of rows a call, and the item's row once nothing else is left.
 * A failover's virtual machine and its disks are not replication's any more.
 */
export const makeDropReplica =
  ({
    table,
    replicas,
    transfers,
    compute,
  }: Pick<ActivityDependencies, 'table' | 'replicas' | 'transfers' | 'compute'>): Activity<
    typeof activities.dropReplica
  > =>
  async (input) => {
    const { vaultId, itemId } = input;
    const stored = await read(table, rows.item(vaultId, itemId));
    if (!owned(stored, input) || stored.value.replication.ownedBy !== input.jobName) return { remaining: false };
    const item = stored.value;
    // Points first: none is offered any more when its snapshots go with the disks.
    for (const ref of [
      rows.points(vaultId, itemId),
      rows.cycles(vaultId, itemId),
      rows.segments(vaultId, itemId),
      rows.resyncScopes(vaultId, itemId),
    ]) {
      if (await deleteRows(table, ref)) return { remaining: true };
    }
    for (const { replica } of item.disks) await replicas.deleteDisk(replica);
    const { failback, failover } = item;
    if (failback !== undefined && failover?.vmArmId !== undefined) {
      await endExports(compute, failover.vmArmId, item, failback.jobName);
    }
    // What a failback's commits that failed half-way had begun.
    const { renewal } = failback ?? {};
    const begun = [...(renewal?.disks ?? []).map(({ blob }) => blob), ...(renewal?.replaced ?? [])];
    for (const blob of begun) await replicas.deleteDisk(blob);
    // What a change of the point that failed half-way left behind.
    for (const { disks } of item.failover?.replaced ?? []) {
      for (const { blob } of disks) await replicas.deleteDisk(blob);
    }
    await transfers.deleteBelow(transferStorageAccountId(item), transferPrefixOfProtection(item.protectionId));
    await dropChecksums({ table, replicas }, { vaultId, item });
    await table.transact(stored.ref.partition, [remove(stored)]);
    return { remaining: false };
  };
