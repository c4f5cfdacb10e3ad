import { Buffer } from 'node:buffer';
import { ApiError } from './api-error.js';

/** The largest honest body is a site's inventory. */
const bodyBytesMax = 4 * 1024 * 1024;

/**
 * Reads the body to its end, or refuses: by what Content-Length says before anything is read, else at the first byte too many.
 * What is still to come then is not read.
 */
export async function readBody(body: AsyncIterable<Uint8Array> | null, contentLength: string | null): Promise<Buffer> {
  if (Number(contentLength) > bodyBytesMax) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let lengthBytes = 0;
  for await (const chunk of body ?? []) {
    lengthBytes += chunk.byteLength;
    if (lengthBytes > bodyBytesMax) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, lengthBytes);
}

const tooLarge = (): ApiError =>
  new ApiError({
    code: 'US1012',
    armCode: 'RequestEntityTooLarge',
    httpStatus: 413,
    message: `the body is larger than the ${bodyBytesMax} bytes that are taken`,
    recommendedAction: 'Send a smaller body.',
  });
