import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { TransferLogStream } from '../../../core/dataplane/transfer-log/writer.js';
import type { Assignment } from '../../../core/domain/relay-protocol/wire.js';
import type { BlobTransfer } from '../../../core/ports/blob-transfer.js';
import type { AppClient } from '../../../relay/app-client.js';
import { uploadStallMilliseconds } from '../../../relay/limits.js';
import { Turnstile } from '../../../relay/turnstile.js';
import { uploadTransferLog } from '../../../relay/upload-transfer-log.js';

const never = new AbortController().signal;
const target = { kind: 'cycle', cycle: 1, diskId: 'disk' } as const;
const settle = async () => {
  for (let turns = 0; turns < 10; turns++) await turn();
};

async function* pieces(...data: Buffer[]) {
  yield* data;
}
async function* hanging() {
  yield Buffer.alloc(1);
  await new Promise(() => undefined);
}
const logOf = (bytes: AsyncIterable<Buffer>): TransferLogStream => ({
  bytes,
  summary: () => ({ lengthBytes: 1, digest: 'd', frameCount: 1, payloadBytes: 1, changedBytes: 512 }),
});

/** One place for all uploads. A store that hangs takes everything and never commits. */
function bench() {
  const store = { hangs: false };
  const blobs = {
    upload: async ({ chunks, signal }: { chunks: AsyncIterable<Buffer>; signal: AbortSignal }) => {
      for await (const _ of chunks) signal.throwIfAborted();
      if (store.hangs) {
        await new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            reject(signal.reason as Error);
          });
        });
      }
      return { etag: '"1"', lengthBytes: 1 };
    },
  } as unknown as BlobTransfer;
  const client = {
    requestUpload: () => Promise.resolve({ uploadId: 'u', url: 'https://store/log', expiresAt: '' }),
  } as unknown as AppClient;
  const uploadGate = new Turnstile(1);
  const upload = (vmName: string, bytes: AsyncIterable<Buffer>) => {
    const assignment = { itemId: vmName, vmName, protectionId: 'p', epoch: 1 } as Assignment;
    return uploadTransferLog({ client, blobs, uploadGate }, assignment, target, logOf(bytes), never);
  };
  return { store, upload };
}

test('an upload whose store or source hangs is broken off, and the next one gets its place', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  for (const sick of ['store', 'source']) {
    const { store, upload } = bench();
    store.hangs = sick === 'store';
    const stuck = upload('sick', sick === 'source' ? hanging() : pieces(Buffer.alloc(1)));
    stuck.catch(() => undefined);
    await settle();
    store.hangs = false;
    let isThrough = false;
    const next = upload('well', pieces(Buffer.alloc(1))).then(() => (isThrough = true));
    t.mock.timers.tick(uploadStallMilliseconds - 1);
    await settle();
    assert.equal(isThrough, false);
    t.mock.timers.tick(1);
    await assert.rejects(stuck, { code: 'US5125', retry: 'later' });
    await next;
  }
});
