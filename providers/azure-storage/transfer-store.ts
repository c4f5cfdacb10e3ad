import { BlobSASPermissions, type BlobClient } from '@azure/storage-blob';
import type { RandomReader } from '../../core/dataplane/random-access.js';
import type { CloudInventory } from '../../core/ports/cloud-inventory.js';
import { transferContainer, transferLogReplaced, type TransferStore } from '../../core/ports/transfer-store.js';
import { BlobAccounts, type IdentityCredential } from './blob-accounts.js';
import { readBlobRange } from './blob-reads.js';
import { serviceAnswer, storageFailure } from './storage-errors.js';

/** Opens the store over the accounts of the inventory. Holds no resources that need closing. */
export function openTransferStore(options: {
  inventory: CloudInventory;
  identity?: IdentityCredential;
}): TransferStore {
  return new BlockBlobTransferStore(new BlobAccounts(options.inventory, options.identity));
}

const deletesAtOnce = 8;

class BlockBlobTransferStore implements TransferStore {
  constructor(private readonly accounts: BlobAccounts) {}

  async grantUpload(
    storageAccountId: string,
    blobName: string,
    ttlSeconds: number,
  ): Promise<{ url: string; expiresAt: string }> {
    await this.accounts.ensureContainer(storageAccountId, transferContainer);
    const permissions = BlobSASPermissions.parse('cw');
    return this.accounts.grant(storageAccountId, transferContainer, blobName, permissions, ttlSeconds);
  }

  async grantRead(
    storageAccountId: string,
    blobName: string,
    ttlSeconds: number,
  ): Promise<{ url: string; expiresAt: string }> {
    const permissions = BlobSASPermissions.parse('r');
    return this.accounts.grant(storageAccountId, transferContainer, blobName, permissions, ttlSeconds);
  }

  async putOnce(storageAccountId: string, blobName: string, content: Buffer): Promise<{ written: boolean }> {
    await this.accounts.ensureContainer(storageAccountId, transferContainer);
    const container = await this.accounts.container(storageAccountId, transferContainer);
    try {
      await container
        .getBlockBlobClient(blobName)
        .upload(content, content.length, { conditions: { ifNoneMatch: '*' } });
      return { written: true };
    } catch (error) {
      const { statusCode } = serviceAnswer(error);
      if (statusCode === 409 || statusCode === 412) return { written: false };
      throw storageFailure('writing', `${transferContainer}/${blobName}`, error);
    }
  }

  async stat(storageAccountId: string, blobName: string): Promise<{ etag: string; lengthBytes: number } | undefined> {
    const client = await this.client(storageAccountId, blobName);
    try {
      const { etag, contentLength } = await client.getProperties();
      if (etag === undefined || contentLength === undefined) throw new Error(`${blobName} has no ETag or length`);
      return { etag, lengthBytes: contentLength };
    } catch (error) {
      if (serviceAnswer(error).statusCode === 404) return undefined;
      throw storageFailure('reading the properties of', `${transferContainer}/${blobName}`, error);
    }
  }

  openReader(
    storageAccountId: string,
    blobName: string,
    expected: { etag: string; lengthBytes: number },
  ): RandomReader {
    const read = async (offsetBytes: number, lengthBytes: number): Promise<Buffer> => {
      if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > expected.lengthBytes) {
        throw new RangeError(
          `bytes ${offsetBytes} … ${offsetBytes + lengthBytes} of ${blobName}, which has ${expected.lengthBytes}`,
        );
      }
      if (lengthBytes === 0) return Buffer.alloc(0);
      const client = await this.client(storageAccountId, blobName);
      try {
        return await readBlobRange(client, offsetBytes, lengthBytes, { ifMatch: expected.etag });
      } catch (error) {
        const { statusCode } = serviceAnswer(error);
        // 416: it is shorter than announced.
        if (statusCode === 404 || statusCode === 412 || statusCode === 416)
          throw transferLogReplaced(blobName, expected);
        throw storageFailure('reading', `${transferContainer}/${blobName}`, error);
      }
    };
    return { lengthBytes: expected.lengthBytes, read };
  }

  async deleteBelow(storageAccountId: string, prefix: string): Promise<number> {
    const container = await this.accounts.container(storageAccountId, transferContainer);
    let count = 0;
    const running = new Set<Promise<void>>();
    const remove = async (name: string): Promise<void> => {
      const { succeeded } = await container.getBlobClient(name).deleteIfExists({ deleteSnapshots: 'include' });
      if (succeeded) count++;
    };
    try {
      for await (const name of this.listBelow(storageAccountId, prefix)) {
        const removal = remove(name);
        running.add(removal);
        removal.then(
          () => running.delete(removal),
          () => undefined,
        );
        if (running.size >= deletesAtOnce) await Promise.race(running);
      }
      await Promise.all(running);
    } catch (error) {
      await Promise.allSettled(running);
      throw storageFailure('deleting', `${transferContainer}/${prefix}*`, error);
    }
    return count;
  }

  async *listBelow(storageAccountId: string, prefix: string): AsyncIterable<string> {
    const container = await this.accounts.container(storageAccountId, transferContainer);
    try {
      for await (const { name } of container.listBlobsFlat({ prefix })) yield name;
    } catch (error) {
      // Nothing was ever uploaded to this account.
      if (serviceAnswer(error).code === 'ContainerNotFound') return;
      throw storageFailure('listing', `${transferContainer}/${prefix}*`, error);
    }
  }

  private async client(storageAccountId: string, blobName: string): Promise<BlobClient> {
    return (await this.accounts.container(storageAccountId, transferContainer)).getBlobClient(blobName);
  }
}
