import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { asVaultId } from '../../../core/domain/ids.js';
import type { ProtectedItem, ReplicaBlob } from '../../../core/domain/protected-item/protected-item.js';
import {
  checksumTableBlob,
  placeOfTransferBlob,
  transferStorageAccountId,
} from '../../../core/domain/replication/blob-names.js';
import { transferContainer } from '../../../core/ports/transfer-store.js';
import { list } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { localVaultId } from '../../../scripts/supervisor/environment.js';
import type { UnderstudySystem } from './understudy-system.js';

const vaultId = asVaultId(localVaultId);

/** What the rows of an item name. */
interface Named {
  /** Of page blobs and their snapshots. */
  addresses: Set<string>;
  isTransferLog: (blobName: string) => boolean;
}

const addressOf = ({ storageAccountId, container, blobName }: ReplicaBlob, snapshotId = ''): string =>
  [storageAccountId.split('/').at(-1), container, blobName, snapshotId].join('|');

/**
 * Blobs and snapshots in the storage accounts, and intents of recovery points, that no row names: empty where nothing was
 * left behind.
 */
export async function leftovers(system: UnderstudySystem): Promise<string[]> {
  const items = (await list(system.table, rows.items(vaultId))).map(({ value }) => value);
  const named = await Promise.all(items.map((item) => namedBy(system, item)));
  const problems = named.flatMap(({ unfinished }) => unfinished);
  for await (const { account, container, name, snapshot } of allBlobs(system)) {
    const address = [account, container, name, snapshot].join('|');
    const isNamed = named.some(({ addresses, isTransferLog }) =>
      container === transferContainer ? isTransferLog(name) : addresses.has(address),
    );
    if (!isNamed) problems.push(address);
  }
  return problems;
}

async function namedBy(system: UnderstudySystem, item: ProtectedItem): Promise<Named & { unfinished: string[] }> {
  const { itemId, protectionId, replication, failover, failback, testFailover } = item;
  const points = (await list(system.table, rows.points(vaultId, itemId))).map(({ value }) => value);
  const cycles = (await list(system.table, rows.cycles(vaultId, itemId))).map(({ value }) => value.manifest);
  const segments = (await list(system.table, rows.segments(vaultId, itemId))).map(({ value }) => value.announcement);
  const blobs = [
    ...item.disks.flatMap(({ diskId, replica }) => [
      replica,
      checksumTableBlob(transferStorageAccountId(item), protectionId, diskId),
    ]),
    ...[
      ...(failover?.disks ?? []),
      ...(failover?.change?.disks ?? []),
      ...(testFailover?.disks ?? []),
      ...(failback?.renewal?.disks ?? []),
    ].map(({ blob }) => blob),
  ];
  const snapshots = item.disks.flatMap(({ diskId, replica, lastSnapshot }) => {
    const ids = points.flatMap(({ disks }) => disks.filter((disk) => disk.diskId === diskId));
    return [...ids, ...(lastSnapshot ? [lastSnapshot] : [])].map(({ snapshotId }) => addressOf(replica, snapshotId));
  });
  const isTransferLog = (blobName: string): boolean => {
    const place = placeOfTransferBlob(protectionId, blobName);
    switch (place?.kind) {
      case 'cycle': {
        const { epoch, cycle } = place;
        // Or what the relay has sent of the cycle that it is about to announce.
        const isNext = epoch === replication.epoch && cycle === replication.receivedCycle + 1;
        return isNext || (cycle > replication.appliedCycle && cycles.some((of) => of.cycle === cycle));
      }
      case 'base':
        return segments.some((of) => of.epoch === place.epoch && of.diskId === place.diskId);
      case 'digest':
        // Those of a failback that is over go with the sweep that comes with some of the later cycles.
        return true;
      case undefined:
        return false;
    }
  };
  return {
    addresses: new Set([
      ...blobs.map((blob) => addressOf(blob)),
      ...snapshots,
      // A failback's sources are held still until its commit.
      ...(failback?.round?.sources ?? []).map(({ blob, snapshotId }) => addressOf(blob, snapshotId)),
    ]),
    isTransferLog,
    unfinished: points
      .filter(({ state }) => state !== 'ready')
      .map(({ epoch, cycle, state }) => `${item.vmName}: the point ${epoch}/${cycle} is left in ${state}`),
  };
}

async function* allBlobs(
  system: UnderstudySystem,
): AsyncGenerator<{ account: string; container: string; name: string; snapshot: string }> {
  const { accounts, blobEndpointBase } = system.environment.azurite;
  // The first one is the app's own.
  for (const { name: account, key } of accounts.slice(1)) {
    const service = new BlobServiceClient(
      `${blobEndpointBase}/${account}`,
      new StorageSharedKeyCredential(account, key),
    );
    for await (const { name: container } of service.listContainers()) {
      const blobs = service.getContainerClient(container).listBlobsFlat({ includeSnapshots: true });
      for await (const { name, snapshot } of blobs) yield { account, container, name, snapshot: snapshot ?? '' };
    }
  }
}
