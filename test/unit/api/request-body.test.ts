import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadableStream } from 'node:stream/web';
import { readBody } from '../../../functions/http/request-body.js';

const mebibyte = 1024 * 1024;
const tooLarge = { code: 'US1012', httpStatus: 413 };

/** A body without end, a mebibyte at a time. */
function endless() {
  const seen = { pulledCount: 0, isCancelled: false };
  const body = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        seen.pulledCount++;
        controller.enqueue(new Uint8Array(mebibyte));
      },
      cancel: () => {
        seen.isCancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { body, seen };
}

test('a body that says that it is too large is refused unread', async () => {
  const { body, seen } = endless();
  await assert.rejects(readBody(body, String(4 * mebibyte + 1)), tooLarge);
  assert.equal(seen.pulledCount, 0);
});

test('a body that says nothing, or lies, is read up to the limit and no further', async () => {
  for (const contentLength of [null, '17', 'much']) {
    const { body, seen } = endless();
    await assert.rejects(readBody(body, contentLength), tooLarge);
    assert.deepEqual(seen, { pulledCount: 5, isCancelled: true });
  }
});

test('a body of the limit is taken whole, and none is an empty one', async () => {
  const parts = [Buffer.alloc(4 * mebibyte - 3, 1), Buffer.from('end')];
  const body = ReadableStream.from(parts) as ReadableStream<Uint8Array>;
  assert(Buffer.concat(parts).equals(await readBody(body, String(4 * mebibyte))));
  assert.equal((await readBody(null, null)).length, 0);
});
