import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { DiskChunk } from '../../../core/dataplane/disk-chunk.js';
import { readFrames, readTransferLogIndex } from '../../../core/dataplane/transfer-log/reader.js';
import { writeTransferLog } from '../../../core/dataplane/transfer-log/writer.js';
import { MemoryFile } from '../../support/memory-file.js';

const frameBytes = 1024 * 1024;

async function roundTrip(data: Buffer) {
  const header = {
    kind: 'delta',
    protectionId: '6a1f6a3e-0000-4000-8000-000000000001',
    diskId: 'd15c0000-0000-4000-8000-000000000001',
    epoch: 1,
    cycle: 1,
    diskSizeBytes: frameBytes,
    fromBytes: 0,
    toBytes: frameBytes,
  } as const;
  async function* chunks(): AsyncGenerator<DiskChunk> {
    yield { kind: 'data', offsetBytes: 0, data };
  }
  const pieces: Buffer[] = [];
  for await (const piece of writeTransferLog(header, chunks()).bytes) pieces.push(piece);
  const log = new MemoryFile(Buffer.concat(pieces));
  const index = await readTransferLogIndex(log);
  for await (const chunk of readFrames(log, index)) {
    assert.ok(chunk.kind === 'data' && chunk.data.equals(data));
  }
  return index.frame(0).codec;
}

test('a large frame that does not compress is stored, one that does is compressed', async () => {
  assert.equal(await roundTrip(randomBytes(frameBytes)), 'stored');
  assert.equal(await roundTrip(Buffer.alloc(frameBytes, 'compressible ')), 'brotli');
});

test('a frame that the probe misjudges either way keeps its content', async () => {
  const looksRandom = Buffer.alloc(frameBytes, 'compressible ');
  const looksPlain = randomBytes(frameBytes);
  for (const at of [0, frameBytes / 2, frameBytes - 4096]) {
    randomBytes(4096).copy(looksRandom, at);
    looksPlain.fill('compressible ', at, at + 4096);
  }
  assert.equal(await roundTrip(looksRandom), 'stored');
  assert.equal(await roundTrip(looksPlain), 'stored');
});
