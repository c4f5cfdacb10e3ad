import { createHash } from 'node:crypto';
import { BlockBlobClient } from '@azure/storage-blob';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { BlobUpload } from '../../core/ports/blob-transfer.js';
import { blobPipeline } from './connections.js';
import { serviceAnswer, storageFailure } from './storage-errors.js';

/** Azure: a block blob holds at most 50,000 blocks. */
const blocksMax = 50_000;
/** An honest SAS lasts for many blocks: a service that refuses three in a row refuses for another reason. */
const renewalsMax = 3;

/** The port's upload: blocks are staged with their MD5, which the service checks, and committed once at the end. */
export async function uploadBlocks(options: BlobUpload): Promise<{ etag: string; lengthBytes: number }> {
  const failed = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
  const target = new RenewableTarget(options.renew, options.url);
  const blockIds: string[] = [];
  const running = new Set<Promise<void>>();
  let firstFailure: { error: unknown } | undefined;
  let lengthBytes = 0;

  const stage = (block: Buffer): void => {
    if (blockIds.length >= blocksMax) throw tooManyBlocks(options.blockBytes);
    // All ids of a blob must have one length.
    const blockId = Buffer.from(String(blockIds.length).padStart(8, '0')).toString('base64');
    blockIds.push(blockId);
    lengthBytes += block.length;
    const transactionalContentMD5 = createHash('md5').update(block).digest();
    const staged: Promise<void> = target
      .call((client) =>
        client.stageBlock(blockId, block, block.length, { transactionalContentMD5, abortSignal: signal }),
      )
      .then(
        () => {
          running.delete(staged);
        },
        (error: unknown) => {
          running.delete(staged);
          firstFailure ??= { error };
          failed.abort(error);
        },
      );
    running.add(staged);
  };

  try {
    for await (const block of blocksOf(options.chunks, options.blockBytes)) {
      signal.throwIfAborted();
      stage(block);
      while (running.size >= options.concurrency) await Promise.race(running);
    }
    await Promise.all(running);
    signal.throwIfAborted();
    const { etag } = await target.call((client) => client.commitBlockList(blockIds, { abortSignal: signal }));
    if (etag === undefined) throw new Error('the service gave no ETag of the committed blob');
    return { etag, lengthBytes };
  } catch (error) {
    // The first failure is the cause; those of blocks that are broken off because of it are not.
    firstFailure ??= { error };
    failed.abort(error);
    await Promise.allSettled(running);
    options.signal?.throwIfAborted();
    throw storageFailure('uploading', target.name, firstFailure.error);
  }
}

/** The blob under its present SAS. Calls that are refused wait for one common renewal and are made again. */
class RenewableTarget {
  /** Without its query, which is secret. */
  readonly name: string;
  private client: BlockBlobClient;
  private renewal: Promise<void> | undefined;
  private readonly pipeline = blobPipeline();

  constructor(
    private readonly renew: () => Promise<string>,
    firstUrl: string,
  ) {
    this.name = new URL(firstUrl).pathname;
    this.client = new BlockBlobClient(firstUrl, this.pipeline);
  }

  async call<T>(request: (client: BlockBlobClient) => Promise<T>): Promise<T> {
    for (let renewals = 0; ; renewals++) {
      const used = this.client;
      try {
        return await request(used);
      } catch (error) {
        const { statusCode } = serviceAnswer(error);
        if ((statusCode !== 401 && statusCode !== 403) || renewals >= renewalsMax) throw error;
        // Another call may have renewed it meanwhile.
        if (this.client === used) await (this.renewal ??= this.renewOnce());
      }
    }
  }

  private async renewOnce(): Promise<void> {
    try {
      this.client = new BlockBlobClient(await this.renew(), this.pipeline);
    } finally {
      this.renewal = undefined;
    }
  }
}

async function* blocksOf(chunks: AsyncIterable<Buffer>, blockBytes: number): AsyncIterable<Buffer> {
  let gathered: Buffer[] = [];
  let gatheredBytes = 0;
  for await (const chunk of chunks) {
    let rest = chunk;
    while (gatheredBytes + rest.length >= blockBytes) {
      const taken = rest.subarray(0, blockBytes - gatheredBytes);
      rest = rest.subarray(taken.length);
      yield gathered.length === 0 ? taken : Buffer.concat([...gathered, taken], blockBytes);
      gathered = [];
      gatheredBytes = 0;
    }
    if (rest.length > 0) {
      gathered.push(rest);
      gatheredBytes += rest.length;
    }
  }
  if (gatheredBytes > 0) yield Buffer.concat(gathered, gatheredBytes);
}

function tooManyBlocks(blockBytes: number): UnderstudyError {
  return new UnderstudyError({
    code: 'US6025',
    message: `US6025 uploading: more than ${blocksMax} blocks of ${blockBytes} bytes, which no blob holds`,
    recommendedAction: 'Report this as a defect: logs are cut into segments well below this.',
    details: { blockBytes },
  });
}
