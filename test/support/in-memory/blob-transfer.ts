import { UnderstudyError } from '../../../core/domain/errors.js';
import { checkReadRange, type BlobTransfer, type BlobUpload } from '../../../core/ports/blob-transfer.js';
import type { InMemoryTransferStore } from './transfer-store.js';

/** A SAS that has expired is renewed this often, as the real one does. */
const renewalsMax = 3;

/** The blob transfer's contract in one process's memory: what it uploads lies in the store, what it reads comes from there. */
export class InMemoryBlobTransfer implements BlobTransfer {
  constructor(
    private readonly store: InMemoryTransferStore,
    private readonly options: {
      /** Each request to storage passes here: it may take its time, or fail. */
      request?: <T>(effect: () => Promise<T>) => Promise<T>;
      /** Smaller blocks than asked for, so that small logs travel in several requests. */
      blockBytesMax?: number;
    } = {},
  ) {}

  async upload({ url, renew, chunks, blockBytes, signal }: BlobUpload): Promise<{ etag: string; lengthBytes: number }> {
    const staged: Buffer[] = [];
    let sas = url;
    const call = async <T>(effect: () => T): Promise<T> => {
      for (let renewals = 0; ; renewals++) {
        signal?.throwIfAborted();
        const used = sas;
        const answer = await this.request(async () => (isExpired(used) ? refused : { value: effect() }));
        signal?.throwIfAborted();
        if (answer !== refused) return answer.value;
        if (renewals >= renewalsMax) throw sasRefused(used);
        sas = await renew();
      }
    };
    const sizeBytes = Math.min(blockBytes, this.options.blockBytesMax ?? blockBytes);
    for await (const chunk of chunks) {
      signal?.throwIfAborted();
      for (let at = 0; at < chunk.length; at += sizeBytes) {
        const block = Buffer.from(chunk.subarray(at, at + sizeBytes));
        await call(() => staged.push(block));
      }
    }
    const { storageAccountId, blobName } = placeOf(url);
    return call(() => this.store.put(storageAccountId, blobName, Buffer.concat(staged)));
  }

  async readRange(url: string, offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<Buffer> {
    checkReadRange(offsetBytes, lengthBytes);
    const bytes = await this.request(async () => {
      if (isExpired(url)) throw sasRefused(url);
      const data = this.store.contentAt(url);
      const { pathname } = new URL(url);
      if (data === undefined) throw failure('US6022', `${pathname} is not there`);
      if (offsetBytes + lengthBytes > data.length) throw failure('US6023', `${pathname} ends at ${data.length}`);
      return Buffer.from(data.subarray(offsetBytes, offsetBytes + lengthBytes));
    });
    signal?.throwIfAborted();
    return bytes;
  }

  private request<T>(effect: () => Promise<T>): Promise<T> {
    return this.options.request ? this.options.request(effect) : effect();
  }
}

const refused = Symbol('refused');

const isExpired = (url: string): boolean => {
  const expiresAt = new URL(url).searchParams.get('se');
  return expiresAt !== null && Date.parse(expiresAt) <= Date.now();
};

function placeOf(url: string): { storageAccountId: string; blobName: string } {
  const [account = '', ...name] = new URL(url).pathname.slice(1).split('/');
  return { storageAccountId: decodeURIComponent(account), blobName: name.join('/') };
}

const sasRefused = (url: string): UnderstudyError => failure('US6021', `${new URL(url).pathname}: the SAS is refused`);

const failure = (code: string, message: string): UnderstudyError =>
  new UnderstudyError({ code, message: `${code} ${message}`, recommendedAction: 'None: this is a test.' });
