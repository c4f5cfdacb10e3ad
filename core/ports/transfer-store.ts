import { UnderstudyError } from '../domain/errors.js';
import type { RandomReader } from '../dataplane/random-access.js';

/** Where the relay leaves transfer logs: block blobs in the item's storage account (container `understudy-transfer`). */
export interface TransferStore {
  /**
   * A SAS for one blob, create and write only, https where the account has it, no start time, valid `ttlSeconds` of
   * system time. Blocks staged under an earlier SAS of the same blob stay.
   */
  grantUpload(
    storageAccountId: string,
    blobName: string,
    ttlSeconds: number,
  ): Promise<{ url: string; expiresAt: string }>;
  /** A SAS to read one blob and nothing else, under the same terms. */
  grantRead(
    storageAccountId: string,
    blobName: string,
    ttlSeconds: number,
  ): Promise<{ url: string; expiresAt: string }>;
  /**
   * Writes a small blob unless one is there already: what was written first stays, whatever a second call brings. Resolves
   * with whether this call wrote it.
   */
  putOnce(storageAccountId: string, blobName: string, content: Buffer): Promise<{ written: boolean }>;
  stat(storageAccountId: string, blobName: string): Promise<{ etag: string; lengthBytes: number } | undefined>;
  /** Reads with ifMatch: rejects with US3011 when the blob is not the one that was announced. */
  openReader(storageAccountId: string, blobName: string, expected: { etag: string; lengthBytes: number }): RandomReader;
  /** Deletes every blob below the prefix; returns how many. */
  deleteBelow(storageAccountId: string, prefix: string): Promise<number>;
  /** Names below the prefix, for sweeps. */
  listBelow(storageAccountId: string, prefix: string): AsyncIterable<string>;
}

/** The longest time that a SAS lives (docs/architecture.md, rule 14). */
export const uploadGrantSeconds = 15 * 60;

export const transferContainer = 'understudy-transfer';

/** The blob is gone or is not the one that was announced (its ETag or length differs). */
export function transferLogReplaced(
  blobName: string,
  expected: { etag: string; lengthBytes: number },
): UnderstudyError {
  return new UnderstudyError({
    code: 'US3011',
    message: `US3011 reading ${blobName}: it is gone, or is not the one that was announced (ETag ${expected.etag}, ${expected.lengthBytes} bytes)`,
    possibleCauses: 'It was uploaded again after its announcement, or deleted outside of Understudy.',
    recommendedAction: 'The cycle cannot be applied: resynchronize the item.',
    httpStatus: 409,
    details: { blobName, expected },
  });
}
