import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlobTransfer } from '../../../core/ports/blob-transfer.js';
import type { AppClient } from '../../../relay/app-client.js';
import { overFaultyLine, slowLineBytesPerSecond, type LineFaults } from '../../../relay/line-faults.js';

const place = 'https://store/logs/one?sig=secret';

/** A line over which VM `sick` is cut or slow, or everything; with what came through. */
function lineOf() {
  const state: { all: 'none' | 'cut' | 'slow'; sick: 'none' | 'cut' | 'slow' } = { all: 'none', sick: 'none' };
  const faults: LineFaults = {
    current: (vmId) => Promise.resolve(vmId === 'sick' && state.sick !== 'none' ? state.sick : state.all),
  };
  const sent: string[] = [];
  let releasePoll: (() => void) | undefined;
  const client = {
    assignments: (version: string | undefined, _: number, signal?: AbortSignal) =>
      new Promise((resolve, reject) => {
        const assignments = [
          { itemId: 'item-sick', vmId: 'sick' },
          { itemId: 'item-well', vmId: 'well' },
        ];
        releasePoll = () => {
          resolve({ version: '1', assignments, commands: [] });
        };
        signal?.addEventListener('abort', () => {
          reject(signal.reason as Error);
        });
        if (version === undefined) releasePoll();
      }),
    requestUpload: (itemId: string) => {
      sent.push(`upload ${itemId}`);
      return Promise.resolve({ uploadId: 'u', url: `https://store/logs/${itemId}?sig=secret`, expiresAt: '' });
    },
    announceCycle: (itemId: string) => {
      sent.push(`cycle ${itemId}`);
      return Promise.resolve({ receivedCycle: 1, appliedCycle: 0 });
    },
  } as unknown as AppClient;
  const blobs: BlobTransfer = {
    upload: async ({ chunks }) => {
      let lengthBytes = 0;
      for await (const chunk of chunks) lengthBytes += chunk.length;
      sent.push(`${lengthBytes} bytes`);
      return { etag: 'e', lengthBytes };
    },
    readRange: (_url, _offset, lengthBytes) => Promise.resolve(Buffer.alloc(lengthBytes)),
  };
  return { state, sent, line: overFaultyLine({ client, blobs, endpoint: 'http://app' }, faults) };
}

async function* bytes(...lengths: number[]) {
  for (const length of lengths) yield Buffer.alloc(length);
}
const uploadOf = (url: string, ...lengths: number[]) => ({
  url,
  renew: () => Promise.resolve(url),
  chunks: bytes(...lengths),
  blockBytes: 1024,
  concurrency: 1,
});

test('over a line that is cut nothing is sent, and it looks like a network that is down', async () => {
  const { state, sent, line } = lineOf();
  state.all = 'cut';
  await assert.rejects(line.client.announceCycle('item-well', {} as never), { code: 'US5110', retry: 'later' });
  await assert.rejects(line.blobs.upload(uploadOf(place, 10)), (error: Error) => {
    assert.ok(!error.message.includes('secret'));
    return (error as Error & { code: string }).code === 'US6020';
  });
  await assert.rejects(line.blobs.readRange(place, 0, 10), { code: 'US6020' });
  assert.deepEqual(sent, []);
  state.all = 'none';
  await line.client.announceCycle('item-well', {} as never);
  await line.blobs.upload(uploadOf(place, 10, 20));
  assert.deepEqual(sent, ['cycle item-well', '30 bytes']);
});

test('a poll that hangs ends when the line is cut', async () => {
  const { state, line } = lineOf();
  const poll = line.client.assignments('1', 25);
  await sleep(20);
  state.all = 'cut';
  await assert.rejects(poll, { code: 'US5110' });
});

test('a VM that is cut alone stops no other, in calls and in bytes', async () => {
  const { state, sent, line } = lineOf();
  await line.client.assignments(undefined, 0);
  const sick = await line.client.requestUpload('item-sick', {} as never);
  const well = await line.client.requestUpload('item-well', {} as never);
  state.sick = 'cut';
  await assert.rejects(line.client.announceCycle('item-sick', {} as never), { code: 'US5110' });
  await assert.rejects(line.blobs.upload(uploadOf(sick.url, 10)), { code: 'US6020' });
  await line.blobs.upload(uploadOf(well.url, 10));
  await line.client.announceCycle('item-well', {} as never);
  assert.deepEqual(sent.slice(2), ['10 bytes', 'cycle item-well']);
});

test('a slow line carries its rate, shared by all', async () => {
  const { state, line } = lineOf();
  state.all = 'slow';
  const startedAt = performance.now();
  const each = slowLineBytesPerSecond / 8;
  await Promise.all([line.blobs.upload(uploadOf(place, each)), line.blobs.readRange(place, 0, each)]);
  const seconds = (performance.now() - startedAt) / 1000;
  assert.ok(seconds > 0.24, `${seconds} s`);
});

test('waiting on a slow line ends when it is no longer wanted', async () => {
  const { state, line } = lineOf();
  state.all = 'slow';
  const stop = new AbortController();
  const read = line.blobs.readRange(place, 0, slowLineBytesPerSecond * 60, stop.signal);
  await sleep(20);
  stop.abort(new Error('paused'));
  await assert.rejects(read, /paused/);
});
