import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import {
  placeOfTransferBlob,
  transferPrefixOfProtection,
  transferStorageAccountId,
  type TransferPlace,
} from '../core/domain/replication/blob-names.js';
import type { Fence } from '../core/domain/replication/fence.js';
import type { ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import type { TransferStore } from '../core/ports/transfer-store.js';
import type { ItemWorkflowInput } from '../core/domain/workflows/workflows.js';
import { list } from '../core/records/access.js';
import { rows } from '../core/records/rows.js';
import { dropNotesBefore } from './kept-checksums.js';

/**
 * Deletes what lost answers and late uploads left behind. Only epochs and cycles that the item has closed are touched, never
 * by age (docs/architecture.md, rule 3): what belongs to the present cycle or a later one may still be on its way to its row.
 */
export async function dropStrays(
  { table, replicas, transfers }: { table: StateTable; replicas: ReplicaStore; transfers: TransferStore },
  input: ItemWorkflowInput,
  item: ProtectedItem,
): Promise<void> {
  // A failover applies under its own epoch what an earlier one received: there, an earlier epoch is not over.
  if (item.replication.phase === 'stopped' || item.replication.phase === 'failback') return;
  await dropStrayIntents(table, input, item);
  await dropStraySnapshots(table, replicas, input, item);
  const { phase, checksums, epoch } = item.replication;
  // While disks are compared, the notes of the base before are still read.
  if (phase === 'delta') await dropNotesBefore(table, { vaultId: input.vaultId, item }, checksums?.epoch ?? epoch);
  const account = transferStorageAccountId(item);
  const strays: string[] = [];
  for await (const name of transfers.listBelow(account, transferPrefixOfProtection(item.protectionId))) {
    const place = placeOfTransferBlob(item.protectionId, name);
    if (place && isOver(item, place)) strays.push(name);
  }
  for (const name of strays) await transfers.deleteBelow(account, name);
}

/** Intents of an earlier epoch, or of a cycle that has its point: nobody finishes them any more. */
async function dropStrayIntents(table: StateTable, input: ItemWorkflowInput, item: ProtectedItem): Promise<void> {
  const points = await list(table, rows.points(input.vaultId, input.itemId));
  const strays = points.filter(
    ({ value }) => value.state === 'intent' && value.protectionId === item.protectionId && isClosed(item, value),
  );
  if (strays.length === 0) return;
  const deletions = strays.slice(0, strayIntentsMax);
  await table.transact(
    deletions[0]?.ref.partition ?? '',
    deletions.map(({ ref, etag }) => ({ kind: 'delete', rowKey: ref.rowKey, etag })),
  );
}
const strayIntentsMax = 90;

async function dropStraySnapshots(
  table: StateTable,
  replicas: ReplicaStore,
  input: ItemWorkflowInput,
  item: ProtectedItem,
): Promise<void> {
  for (const disk of item.disks) {
    const snapshots = await replicas.listSnapshots(disk.replica);
    // Read after the list: a point made meanwhile refers to a snapshot that the list may hold.
    const named = (await list(table, rows.points(input.vaultId, input.itemId))).flatMap(({ value }) => value.disks);
    for (const { snapshotId, fence } of snapshots) {
      if (fence === undefined || !isClosed(item, fence) || disk.lastSnapshot?.snapshotId === snapshotId) continue;
      if (named.some((each) => each.diskId === disk.diskId && each.snapshotId === snapshotId)) continue;
      await replicas.deleteSnapshot(disk.replica, snapshotId);
    }
  }
}

const isClosed = ({ replication }: ProtectedItem, { epoch, cycle }: Fence): boolean =>
  epoch < replication.epoch || cycle <= replication.appliedCycle;

function isOver(item: ProtectedItem, place: TransferPlace): boolean {
  const { epoch, appliedCycle, phase } = item.replication;
  if (place.epoch !== epoch) return place.epoch < epoch;
  switch (place.kind) {
    case 'cycle':
      return place.cycle <= appliedCycle;
    case 'base':
    case 'digest': {
      if (phase === 'delta') return true;
      const disk = item.disks.find(({ diskId }) => diskId === place.diskId);
      return disk !== undefined && place.fromBytes < disk.baseAppliedThroughBytes;
    }
  }
}
