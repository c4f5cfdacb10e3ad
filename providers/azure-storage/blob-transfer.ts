import { BlockBlobClient } from '@azure/storage-blob';
import { checkReadRange, type BlobTransfer } from '../../core/ports/blob-transfer.js';
import { readBlobRange } from './blob-reads.js';
import { blobPipeline } from './connections.js';
import { storageFailure } from './storage-errors.js';
import { uploadBlocks } from './upload.js';

/** By SAS, without an account's credential. Holds no resources that need closing. */
export function openBlobTransfer(): BlobTransfer {
  return { upload: uploadBlocks, readRange };
}

async function readRange(url: string, offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<Buffer> {
  checkReadRange(offsetBytes, lengthBytes);
  const client = new BlockBlobClient(url, blobPipeline());
  try {
    return await readBlobRange(client, offsetBytes, lengthBytes, {}, signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw storageFailure('reading', new URL(url).pathname, error);
  }
}
