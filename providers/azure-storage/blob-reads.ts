import type { BlobClient, BlobRequestConditions } from '@azure/storage-blob';

/** One request carries at most this much: a broken line costs no more than this to read again. */
const readMaxBytes = 8 * 1024 * 1024;

/** Exactly `lengthBytes` bytes, or an error. */
export async function readBlobRange(
  client: BlobClient,
  offsetBytes: number,
  lengthBytes: number,
  conditions: BlobRequestConditions = {},
  signal?: AbortSignal,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(lengthBytes);
  for (let from = 0; from < lengthBytes; from += readMaxBytes) {
    await readInto(client, offsetBytes + from, buffer.subarray(from, from + readMaxBytes), conditions, signal);
  }
  return buffer;
}

async function readInto(
  client: BlobClient,
  offsetBytes: number,
  target: Buffer,
  conditions: BlobRequestConditions,
  signal: AbortSignal | undefined,
): Promise<void> {
  const response = await client.download(offsetBytes, target.length, {
    conditions,
    // Goes on where the body broke off, on condition that the blob is still the same.
    maxRetryRequests: 3,
    ...(signal && { abortSignal: signal }),
  });
  let filled = 0;
  for await (const chunk of response.readableStreamBody ?? []) {
    const bytes = chunk as Buffer;
    if (filled + bytes.length > target.length) throw lengthError(offsetBytes, target.length, filled + bytes.length);
    bytes.copy(target, filled);
    filled += bytes.length;
  }
  if (filled !== target.length) throw lengthError(offsetBytes, target.length, filled);
}

const lengthError = (offsetBytes: number, wantedBytes: number, foundBytes: number): Error =>
  Object.assign(new Error(`asked for ${wantedBytes} bytes at ${offsetBytes}, got ${foundBytes}`), {
    code: 'ERR_STREAM_PREMATURE_CLOSE',
  });
