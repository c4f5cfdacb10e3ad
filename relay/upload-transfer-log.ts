import type { TransferLogStream } from '../core/dataplane/transfer-log/writer.js';
import type { Assignment, TransferLogRef, UploadTarget } from '../core/domain/relay-protocol/wire.js';
import { UploadStalledError } from './errors.js';
import { blockBytes, blocksInFlight, uploadStallMilliseconds } from './limits.js';
import type { RelayContext } from './relay-context.js';
import { StallWatch } from './stall-watch.js';

/**
 * Streams a transfer log into a blob that the app names, block by block in bounded memory. The blob appears whole or not
 * at all, under a new name each time: a repeated upload never touches what was announced. One that does not move gives
 * back its place.
 */
export async function uploadTransferLog(
  { client, blobs, uploadGate }: Pick<RelayContext, 'client' | 'blobs' | 'uploadGate'>,
  assignment: Assignment,
  target: UploadTarget,
  log: TransferLogStream,
  signal: AbortSignal,
): Promise<TransferLogRef> {
  const { itemId, protectionId, epoch } = assignment;
  const upload = async (watch: StallWatch): Promise<TransferLogRef> => {
    const { uploadId, url } = await client.requestUpload(itemId, { protectionId, epoch, target }, watch.signal);
    const { etag, lengthBytes } = await blobs.upload({
      url,
      renew: async () => {
        const request = { protectionId, epoch, target, uploadId };
        const renewed = await client.requestUpload(itemId, request, watch.signal);
        return renewed.url;
      },
      chunks: watch.through(log.bytes),
      blockBytes,
      concurrency: blocksInFlight,
      signal: watch.signal,
    });
    const { digest, changedBytes, frameCount } = log.summary();
    return { uploadId, lengthBytes, digest, etag, changedBytes, frameCount };
  };
  const pass = async () => {
    const stalled = () => new UploadStalledError(assignment.vmName, target.diskId, uploadStallMilliseconds / 1000);
    const watch = new StallWatch(signal, uploadStallMilliseconds, stalled);
    try {
      return await upload(watch);
    } finally {
      watch.end();
    }
  };
  return uploadGate.pass(pass, { signal, key: itemId });
}
