import type { RandomReader } from '../../../core/dataplane/random-access.js';
import { transferLogReplaced, type TransferStore } from '../../../core/ports/transfer-store.js';
import { Faults } from './faults.js';

/** The transfer store's contract in one process's memory; `put` stands for the relay's upload. */
export class InMemoryTransferStore implements TransferStore {
  readonly faults = new Faults();
  /** SAS tokens live no longer than this, as where storage's clock is ahead of the app's. */
  grantSecondsMax = Number.POSITIVE_INFINITY;
  private readonly blobs = new Map<string, { etag: string; data: Buffer }>();
  private versions = 0;

  put(storageAccountId: string, blobName: string, data: Buffer): { etag: string; lengthBytes: number } {
    const etag = `"t${++this.versions}"`;
    this.blobs.set(keyOf(storageAccountId, blobName), { etag, data: Buffer.from(data) });
    return { etag, lengthBytes: data.length };
  }

  async grantUpload(
    storageAccountId: string,
    blobName: string,
    ttlSeconds: number,
  ): Promise<{ url: string; expiresAt: string }> {
    return this.faults.around('grantUpload', () => this.grant(storageAccountId, blobName, ttlSeconds));
  }

  /** The blob as it lies there now, for those who reach it by its URL. */
  content(storageAccountId: string, blobName: string): Buffer | undefined {
    return this.blobs.get(keyOf(storageAccountId, blobName))?.data;
  }

  /** The same by the URL of a grant. */
  contentAt(url: string): Buffer | undefined {
    const [account = '', ...name] = new URL(url).pathname.slice(1).split('/');
    return this.content(decodeURIComponent(account), name.join('/'));
  }

  async grantRead(
    storageAccountId: string,
    blobName: string,
    ttlSeconds: number,
  ): Promise<{ url: string; expiresAt: string }> {
    return this.faults.around('grantRead', () => this.grant(storageAccountId, blobName, ttlSeconds));
  }

  private grant(storageAccountId: string, blobName: string, ttlSeconds: number): { url: string; expiresAt: string } {
    const livesMs = Math.min(ttlSeconds, this.grantSecondsMax) * 1000;
    const expiresAt = new Date(Date.now() + livesMs).toISOString();
    const url = `https://memory.invalid/${encodeURIComponent(storageAccountId)}/${blobName}?se=${expiresAt}&sig=none`;
    return { url, expiresAt };
  }

  async putOnce(storageAccountId: string, blobName: string, content: Buffer): Promise<{ written: boolean }> {
    return this.faults.around('putOnce', () => {
      if (this.blobs.has(keyOf(storageAccountId, blobName))) return { written: false };
      this.put(storageAccountId, blobName, content);
      return { written: true };
    });
  }

  async stat(storageAccountId: string, blobName: string): Promise<{ etag: string; lengthBytes: number } | undefined> {
    return this.faults.around('stat', () => {
      const blob = this.blobs.get(keyOf(storageAccountId, blobName));
      return blob && { etag: blob.etag, lengthBytes: blob.data.length };
    });
  }

  openReader(
    storageAccountId: string,
    blobName: string,
    expected: { etag: string; lengthBytes: number },
  ): RandomReader {
    const read = (offsetBytes: number, lengthBytes: number): Promise<Buffer> =>
      this.faults.around('read', () => {
        if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > expected.lengthBytes) {
          throw new RangeError(`bytes ${offsetBytes} … ${offsetBytes + lengthBytes} of ${expected.lengthBytes}`);
        }
        const blob = this.blobs.get(keyOf(storageAccountId, blobName));
        if (blob?.etag !== expected.etag || blob.data.length < expected.lengthBytes) {
          throw transferLogReplaced(blobName, expected);
        }
        return Buffer.from(blob.data.subarray(offsetBytes, offsetBytes + lengthBytes));
      });
    return { lengthBytes: expected.lengthBytes, read };
  }

  async deleteBelow(storageAccountId: string, prefix: string): Promise<number> {
    return this.faults.around('deleteBelow', () => {
      const keys = [...this.blobs.keys()].filter((key) => key.startsWith(keyOf(storageAccountId, prefix)));
      for (const key of keys) this.blobs.delete(key);
      return keys.length;
    });
  }

  async *listBelow(storageAccountId: string, prefix: string): AsyncIterable<string> {
    const names = await this.faults.around('listBelow', () =>
      [...this.blobs.keys()]
        .filter((key) => key.startsWith(keyOf(storageAccountId, prefix)))
        .map((key) => key.slice(keyOf(storageAccountId, '').length))
        .sort(),
    );
    yield* names;
  }
}

const keyOf = (storageAccountId: string, blobName: string): string => `${storageAccountId.toLowerCase()}\n${blobName}`;
