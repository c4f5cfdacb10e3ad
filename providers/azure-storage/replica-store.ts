import { BlobSASPermissions, type PageBlobClient } from '@azure/storage-blob';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { ReplicaBlob } from '../../core/domain/protected-item/protected-item.js';
import { fenceFromSequenceNumber, fenceToSequenceNumber, type Fence } from '../../core/domain/replication/fence.js';
import type { CloudInventory } from '../../core/ports/cloud-inventory.js';
import {
  checkPageRange,
  FencedError,
  PageRangeError,
  pageBytes,
  pageWriteMaxBytes,
  type ReplicaProperties,
  type ReplicaStore,
  type ReplicaStoreCapabilities,
} from '../../core/ports/replica-store.js';
import { BlobAccounts, isEmulator, type IdentityCredential } from './blob-accounts.js';
import { readBlobRange } from './blob-reads.js';
import { mergedRanges } from './page-ranges.js';
import { serviceAnswer, storageFailure } from './storage-errors.js';

/** Opens the store over the accounts of the inventory. Holds no resources that need closing. */
export async function openReplicaStore(options: {
  inventory: CloudInventory;
  identity?: IdentityCredential;
  /** Default: true unless an account of the inventory is the local emulator's. */
  copiesFromSnapshotsAreIndependent?: boolean;
}): Promise<ReplicaStore> {
  const copiesFromSnapshotsAreIndependent =
    options.copiesFromSnapshotsAreIndependent ?? !(await options.inventory.storageAccounts()).some(isEmulator);
  return new PageBlobReplicaStore(new BlobAccounts(options.inventory, options.identity), {
    copiesFromSnapshotsAreIndependent,
  });
}

/** Lengths of blobs that were seen; forgotten when there are more, for a process may live long. */
const knownLengthsMax = 10_000;
/** Time that the store's own side has to fetch a snapshot of another account. */
const copySourceSeconds = 24 * 3600;

class PageBlobReplicaStore implements ReplicaStore {
  /** A blob keeps its length for life, so that range checks need no call. */
  private readonly knownLengths = new Map<string, number>();

  constructor(
    private readonly accounts: BlobAccounts,
    readonly capabilities: ReplicaStoreCapabilities,
  ) {}

  async createDisk(blob: ReplicaBlob, lengthBytes: number): Promise<void> {
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes <= 0 || lengthBytes % pageBytes !== 0) {
      throw new PageRangeError(blob, 0, lengthBytes, `a disk's length must be a positive multiple of ${pageBytes}`);
    }
    await this.accounts.ensureContainer(blob.storageAccountId, blob.container);
    const client = await this.client(blob);
    await this.run('creating', blob, async () => {
      try {
        await client.create(lengthBytes, { conditions: { ifNoneMatch: '*' }, blobSequenceNumber: 0 });
      } catch (error) {
        if (serviceAnswer(error).statusCode !== 409) throw error;
        const found = await this.lengthOf(blob);
        if (found !== lengthBytes) throw otherLength(blob, lengthBytes, found);
      }
    });
    this.remember(blob, lengthBytes);
  }

  async raiseFence(blob: ReplicaBlob, fence: Fence): Promise<void> {
    const wanted = fenceToSequenceNumber(fence);
    const client = await this.client(blob);
    await this.run('raising the fence of', blob, async () => {
      const answer = await client.updateSequenceNumber('max', wanted);
      const found = answer.blobSequenceNumber ?? (await client.getProperties()).blobSequenceNumber ?? 0;
      if (found !== wanted) throw new FencedError(blob, fence, fenceFromSequenceNumber(found));
    });
  }

  async writePages(blob: ReplicaBlob, offsetBytes: number, data: Buffer, fence: Fence): Promise<void> {
    const blobLengthBytes = await this.lengthOf(blob);
    checkPageRange(blob, offsetBytes, data.length, { blobLengthBytes, maxBytes: pageWriteMaxBytes });
    const client = await this.client(blob);
    await this.fenced('writing pages of', blob, fence, () =>
      client.uploadPages(data, offsetBytes, data.length, {
        conditions: { ifSequenceNumberEqualTo: fenceToSequenceNumber(fence) },
      }),
    );
  }

  async clearPages(blob: ReplicaBlob, offsetBytes: number, lengthBytes: number, fence: Fence): Promise<void> {
    checkPageRange(blob, offsetBytes, lengthBytes, { blobLengthBytes: await this.lengthOf(blob) });
    const client = await this.client(blob);
    await this.fenced('clearing pages of', blob, fence, () =>
      client.clearPages(offsetBytes, lengthBytes, {
        conditions: { ifSequenceNumberEqualTo: fenceToSequenceNumber(fence) },
      }),
    );
  }

  async readPages(blob: ReplicaBlob, offsetBytes: number, lengthBytes: number, snapshotId?: string): Promise<Buffer> {
    checkPageRange(blob, offsetBytes, lengthBytes, { blobLengthBytes: await this.lengthOf(blob) });
    const client = await this.client(blob, snapshotId);
    return this.run('reading pages of', blob, () => readBlobRange(client, offsetBytes, lengthBytes));
  }

  async *allocatedRanges(
    blob: ReplicaBlob,
    snapshotId?: string,
    within?: { fromBytes: number; toBytes: number },
  ): AsyncIterable<{ offsetBytes: number; lengthBytes: number }> {
    const client = await this.client(blob, snapshotId);
    const range = within === undefined ? [] : ([within.fromBytes, within.toBytes - within.fromBytes] as const);
    const pages = client.listPageRanges(...range).byPage();
    const nextPage = () => this.run('listing pages of', blob, () => pages.next());
    async function* pieces(): AsyncIterable<{ start: number; end: number }> {
      for (let page = await nextPage(); page.done !== true; page = await nextPage()) {
        for (const { start, end } of page.value.pageRange ?? []) {
          // The emulator gives ranges that reach over the bounds.
          const [from, to] = [
            Math.max(start, within?.fromBytes ?? 0),
            Math.min(end, (within?.toBytes ?? Infinity) - 1),
          ];
          if (from <= to) yield { start: from, end: to };
        }
      }
    }
    yield* mergedRanges(pieces());
  }

  async properties(blob: ReplicaBlob): Promise<ReplicaProperties | undefined> {
    const client = await this.client(blob);
    return this.run('reading the properties of', blob, async () => {
      try {
        const { contentLength, etag, blobSequenceNumber } = await client.getProperties();
        if (contentLength === undefined || etag === undefined || blobSequenceNumber === undefined) {
          throw new Error(`${blob.container}/${blob.blobName} is not a page blob`);
        }
        this.remember(blob, contentLength);
        return { lengthBytes: contentLength, etag, fence: fenceFromSequenceNumber(blobSequenceNumber) };
      } catch (error) {
        if (serviceAnswer(error).statusCode !== 404) throw error;
        this.knownLengths.delete(keyOf(blob));
        return undefined;
      }
    });
  }

  async createSnapshot(blob: ReplicaBlob, options: { ifMatch: string; fence: Fence }): Promise<{ snapshotId: string }> {
    const client = await this.client(blob);
    const { epoch, cycle } = options.fence;
    return this.fenced('making a snapshot of', blob, options.fence, async () => {
      const { snapshot } = await client.createSnapshot({
        conditions: { ifMatch: options.ifMatch },
        metadata: { epoch: String(epoch), cycle: String(cycle) },
      });
      if (snapshot === undefined) throw new Error('the service gave no id of the snapshot');
      return { snapshotId: snapshot };
    });
  }

  async listSnapshots(blob: ReplicaBlob): Promise<{ snapshotId: string; fence: Fence | undefined }[]> {
    const container = await this.accounts.container(blob.storageAccountId, blob.container);
    return this.run('listing snapshots of', blob, async () => {
      const found: { snapshotId: string; fence: Fence | undefined }[] = [];
      const options = { prefix: blob.blobName, includeSnapshots: true, includeMetadata: true };
      for await (const entry of container.listBlobsFlat(options)) {
        if (entry.name !== blob.blobName || !entry.snapshot) continue;
        found.push({ snapshotId: entry.snapshot, fence: fenceOf(entry.metadata) });
      }
      // Ids are times of one form; the emulator lists the newest first.
      return found.sort((a, b) => (a.snapshotId < b.snapshotId ? -1 : 1));
    });
  }

  async deleteSnapshot(blob: ReplicaBlob, snapshotId: string): Promise<void> {
    const client = await this.client(blob, snapshotId);
    await this.run('deleting a snapshot of', blob, () => absentIsFine(() => client.delete()));
  }

  async deleteDisk(blob: ReplicaBlob): Promise<void> {
    const client = await this.client(blob);
    const remove = () => client.delete({ deleteSnapshots: 'include' });
    await this.run('deleting', blob, () =>
      absentIsFine(async () => {
        try {
          await remove();
        } catch (error) {
          if (serviceAnswer(error).code !== 'PendingCopyOperation') throw error;
          await endCopy(client);
          await remove();
        }
      }),
    );
    this.knownLengths.delete(keyOf(blob));
  }

  async copySnapshot(
    from: ReplicaBlob,
    snapshotId: string | undefined,
    to: ReplicaBlob,
  ): Promise<{ finished: boolean }> {
    const isSameAccount = from.storageAccountId.toLowerCase() === to.storageAccountId.toLowerCase();
    return this.copy('copying a snapshot to', to, async () =>
      isSameAccount
        ? (await this.client(from, snapshotId)).url
        : (await this.grantRead(from, snapshotId, copySourceSeconds)).url,
    );
  }

  async copyFromUrl(grantSource: () => Promise<string>, to: ReplicaBlob): Promise<{ finished: boolean }> {
    return this.copy('copying an exported disk to', to, grantSource);
  }

  async grantRead(
    blob: ReplicaBlob,
    snapshotId: string | undefined,
    ttlSeconds: number,
  ): Promise<{ url: string; expiresAt: string }> {
    const { storageAccountId, container, blobName } = blob;
    const permissions = BlobSASPermissions.parse('r');
    return this.accounts.grant(storageAccountId, container, blobName, permissions, ttlSeconds, snapshotId);
  }

  private async client(blob: ReplicaBlob, snapshotId?: string): Promise<PageBlobClient> {
    const container = await this.accounts.container(blob.storageAccountId, blob.container);
    const client = container.getPageBlobClient(blob.blobName);
    return snapshotId === undefined ? client : client.withSnapshot(snapshotId);
  }

  private async copy(
    tried: string,
    to: ReplicaBlob,
    grantSource: () => Promise<string>,
  ): Promise<{ finished: boolean }> {
    if (!this.capabilities.copiesFromSnapshotsAreIndependent) {
      throw new Error('this store makes no independent copies: copy the allocated pages instead');
    }
    await this.accounts.ensureContainer(to.storageAccountId, to.container);
    const target = await this.client(to);
    return this.run(tried, to, async () => {
      const found = await copyState(target);
      if (found !== 'none') return { finished: found === 'success' };
      const source = await grantSource();
      try {
        // Starts the copy; we look in on it ourselves.
        const poller = await target.beginCopyFromURL(source, { conditions: { ifNoneMatch: '*' } });
        poller.stopPolling();
      } catch (error) {
        // Another run of the same activity started it first.
        if (serviceAnswer(error).statusCode !== 409) throw error;
      }
      return { finished: (await copyState(target)) === 'success' };
    });
  }

  private async lengthOf(blob: ReplicaBlob): Promise<number> {
    const known = this.knownLengths.get(keyOf(blob));
    if (known !== undefined) return known;
    const client = await this.client(blob);
    const { contentLength } = await this.run('reading the properties of', blob, () => client.getProperties());
    if (contentLength === undefined) throw new Error(`${blob.container}/${blob.blobName} has no length`);
    this.remember(blob, contentLength);
    return contentLength;
  }

  private remember(blob: ReplicaBlob, lengthBytes: number): void {
    if (this.knownLengths.size >= knownLengthsMax) this.knownLengths.clear();
    this.knownLengths.set(keyOf(blob), lengthBytes);
  }

  /** A failed condition means that another writer's fence stands. */
  private async fenced<T>(tried: string, blob: ReplicaBlob, fence: Fence, call: () => Promise<T>): Promise<T> {
    return this.run(tried, blob, async () => {
      try {
        return await call();
      } catch (error) {
        const { statusCode, code } = serviceAnswer(error);
        if (statusCode !== 412 || code?.startsWith('Lease') === true) throw error;
        throw new FencedError(blob, fence, (await this.properties(blob))?.fence);
      }
    });
  }

  private async run<T>(tried: string, blob: ReplicaBlob, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (error instanceof FencedError) throw error;
      throw storageFailure(tried, `${blob.container}/${blob.blobName}`, error);
    }
  }
}

const keyOf = (blob: ReplicaBlob): string =>
  `${blob.storageAccountId.toLowerCase()}\n${blob.container}\n${blob.blobName}`;

async function absentIsFine(call: () => Promise<unknown>): Promise<void> {
  try {
    await call();
  } catch (error) {
    if (serviceAnswer(error).statusCode !== 404) throw error;
  }
}

/** A failed or broken-off copy is removed, so that the next call starts it anew; that it failed is told all the same. */
async function copyState(target: PageBlobClient): Promise<'none' | 'pending' | 'success'> {
  try {
    const { copyStatus, copyStatusDescription } = await target.getProperties();
    if (copyStatus === 'pending' || copyStatus === 'success') return copyStatus;
    await target.delete();
    if (copyStatus === 'failed') throw copyFailed(target.name, copyStatusDescription);
    return 'none';
  } catch (error) {
    if (serviceAnswer(error).statusCode === 404) return 'none';
    throw error;
  }
}

function copyFailed(blobName: string, description: string | undefined): UnderstudyError {
  return new UnderstudyError({
    code: 'US6027',
    message: `US6027 the copy to ${blobName} failed on the storage service’s side: ${description ?? 'it gave no reason'}`,
    possibleCauses: 'The source was deleted or its access ran out meanwhile, or the service had a fault of its own.',
    recommendedAction: 'It is begun anew a few times. If it fails again, see the source disk and the storage account.',
    retry: 'later',
    httpStatus: 502,
  });
}

async function endCopy(target: PageBlobClient): Promise<void> {
  const { copyId } = await target.getProperties();
  if (copyId === undefined) return;
  try {
    await target.abortCopyFromURL(copyId);
  } catch (error) {
    // It finished meanwhile.
    if (serviceAnswer(error).code !== 'NoPendingCopyOperation') throw error;
  }
}

function fenceOf(metadata: Record<string, string> | undefined): Fence | undefined {
  const epoch = Number(metadata?.epoch ?? Number.NaN);
  const cycle = Number(metadata?.cycle ?? Number.NaN);
  return Number.isInteger(epoch) && Number.isInteger(cycle) ? { epoch, cycle } : undefined;
}

function otherLength(blob: ReplicaBlob, wantedBytes: number, foundBytes: number): UnderstudyError {
  return new UnderstudyError({
    code: 'US6024',
    message: `US6024 creating ${blob.container}/${blob.blobName} with ${wantedBytes} bytes: it is there with ${foundBytes}`,
    possibleCauses: 'The source disk was resized, or another protection uses the name.',
    recommendedAction: 'Disable protection of the item and enable it again.',
    httpStatus: 409,
    details: { blob, wantedBytes, foundBytes },
  });
}
