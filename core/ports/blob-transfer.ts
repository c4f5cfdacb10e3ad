import { UnderstudyError } from '../domain/errors.js';

/**
 * Bytes to and from single block blobs by SAS: what the relay does with storage. The app says which blob, and for how long.
 *
 * A refused SAS rejects with US6021, a blob that is not there with US6022, a service that does not answer with US6020
 * (`retry: 'later'`). No error holds a SAS.
 */
export interface BlobTransfer {
  /**
   * The blob appears whole or not at all: when it rejects, nothing was committed (or only the answer to the commit was
   * lost). An abort rejects with the signal's reason, a failing source with the source's own error.
   */
  upload(options: BlobUpload): Promise<{ etag: string; lengthBytes: number }>;
  /** Exactly these bytes, at most `readRangeMaxBytes`; rejects where the blob ends before. For small reads: it is held in memory. */
  readRange(url: string, offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<Buffer>;
}

export interface BlobUpload {
  /** The SAS URL to begin with. */
  url: string;
  /** Gives a fresh SAS URL of the same blob, when the service refuses the present one; what was staged stays. */
  renew: () => Promise<string>;
  /** Buffers of any size, in order; they belong to the upload from then on. */
  chunks: AsyncIterable<Buffer>;
  blockBytes: number;
  /** Blocks on the way at once. Memory is bounded by `concurrency` + 1 blocks and one chunk. */
  concurrency: number;
  signal?: AbortSignal;
}

/** One read is one request, and this much memory. */
export const readRangeMaxBytes = 8 * 1024 * 1024;

/** Throws US6026 unless the range is one that `readRange` may be asked for. */
export function checkReadRange(offsetBytes: number, lengthBytes: number): void {
  const isRange = Number.isSafeInteger(offsetBytes) && Number.isSafeInteger(lengthBytes) && offsetBytes >= 0;
  if (isRange && lengthBytes > 0 && lengthBytes <= readRangeMaxBytes) return;
  throw new UnderstudyError({
    code: 'US6026',
    message: `US6026 reading ${lengthBytes} bytes at ${offsetBytes} of a blob: one read takes 1 to ${readRangeMaxBytes} bytes`,
    recommendedAction: 'Report this as a defect: longer reads are cut before they reach the store.',
    details: { offsetBytes, lengthBytes },
  });
}
