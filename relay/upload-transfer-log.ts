import type { TransferLogStream } from '../core/dataplane/transfer-log/writer.js';
import type { Assignment, TransferLogRef, UploadTarget } from '../core/domain/relay-protocol/wire.js';
import { blockBytes, blocksInFlight } from './limits.js';
import type { RelayContext } from './relay-context.js';

/**
 * Streams a transfer log into a blob that the app names, block by block in bounded memory. The blob appears whole or not
 * at all, under a new name each time: a repeated upload never touches what was announced.
 */
export async function uploadTransferLog(
  { client, blobs, uploadGate }: Pick<RelayContext, 'client' | 'blobs' | 'uploadGate'>,
  assignment: Assignment,
  target: UploadTarget,
  log: TransferLogStream,
  signal: AbortSignal,
): Promise<TransferLogRef> {
  const { itemId, protectionId, epoch } = assignment;
  return uploadGate.pass(
    async () => {
      const { uploadId, url } = await client.requestUpload(itemId, { protectionId, epoch, target }, signal);
      const { etag, lengthBytes } = await blobs.upload({
        url,
        renew: async () => {
          const renewed = await client.requestUpload(itemId, { protectionId, epoch, target, uploadId }, signal);
          return renewed.url;
        },
        chunks: log.bytes,
        blockBytes,
        concurrency: blocksInFlight,
        signal,
      });
      const { digest, changedBytes, frameCount } = log.summary();
      return { uploadId, lengthBytes, digest, etag, changedBytes, frameCount };
    },
    { signal, key: itemId },
  );
}
