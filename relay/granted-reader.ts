import { UnderstudyError } from '../core/domain/errors.js';
import type { RandomReader } from '../core/dataplane/random-access.js';
import type { BlobTransfer } from '../core/ports/blob-transfer.js';

/** The store's code for a SAS that it does not take (docs/errors.md). */
const grantRefused = 'US6021';

export interface GrantedReader extends Pick<RandomReader, 'read'> {
  /** How many bytes were read so far. */
  readonly readBytes: () => number;
}

/** Reads one blob by the SAS that `grant` gives, and by a fresh one when it has run out; one that is refused too is a failure. */
export function grantedReader(
  blobs: Pick<BlobTransfer, 'readRange'>,
  grant: () => Promise<string>,
  signal: AbortSignal,
): GrantedReader {
  let url: Promise<string> | undefined;
  let bytes = 0;
  const read = async (from: Promise<string>, offsetBytes: number, lengthBytes: number) => {
    const data = await blobs.readRange(await from, offsetBytes, lengthBytes, signal);
    bytes += data.length;
    return data;
  };
  return {
    readBytes: () => bytes,
    read: async (offsetBytes, lengthBytes) => {
      const first = (url ??= grant());
      try {
        return await read(first, offsetBytes, lengthBytes);
      } catch (error) {
        // A grant that failed is asked for again by whoever reads next.
        if (url === first) url = undefined;
        if (!(error instanceof UnderstudyError) || error.code !== grantRefused) throw error;
        return read((url ??= grant()), offsetBytes, lengthBytes);
      }
    },
  };
}
