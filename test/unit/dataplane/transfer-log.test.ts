import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DiskChunk } from '../../../core/dataplane/disk-chunk.js';
import type { TransferLogHeader } from '../../../core/dataplane/transfer-log/layout.js';
import {
  planPageOperations,
  readPageOperations,
  sliceFrames,
} from '../../../core/dataplane/transfer-log/page-operations.js';
import { readFrames, readTransferLogIndex } from '../../../core/dataplane/transfer-log/reader.js';
import { writeTransferLog, type TransferLogSummary } from '../../../core/dataplane/transfer-log/writer.js';
import { MemoryFile } from '../../support/memory-file.js';

const mib = 1024 * 1024;
const header: TransferLogHeader = {
  kind: 'delta',
  protectionId: '11111111-2222-3333-4444-555555555555',
  diskId: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
  epoch: 3,
  cycle: 4711,
  diskSizeBytes: 16 * mib,
  fromBytes: 0,
  toBytes: 16 * mib,
};

async function encode(chunks: DiskChunk[], head = header): Promise<{ file: MemoryFile; summary: TransferLogSummary }> {
  const stream = writeTransferLog(
    head,
    (async function* () {
      yield* chunks;
    })(),
  );
  const parts: Buffer[] = [];
  for await (const part of stream.bytes) parts.push(part);
  return { file: new MemoryFile(Buffer.concat(parts)), summary: stream.summary() };
}

/** Ascending chunks: gaps, zeros, compressible and incompressible data, all in whole pages. */
const chunks = fc
  .array(
    fc.record({
      gapPages: fc.nat(8),
      pages: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 100, max: 3000 })),
      content: fc.constantFrom('zeros', 'zeroData', 'text', 'random', 'mixed'),
    }),
    { maxLength: 8 },
  )
  .map((items) => {
    let at = 0;
    return items.map(({ gapPages, pages, content }): DiskChunk => {
      const offsetBytes = at + gapPages * 512;
      const lengthBytes = pages * 512;
      at = offsetBytes + lengthBytes;
      if (content === 'zeros') return { kind: 'zeros', offsetBytes, lengthBytes };
      const data = Buffer.alloc(lengthBytes);
      if (content === 'text') data.fill('understudy ');
      if (content === 'random') randomFillSync(data);
      if (content === 'mixed') data.fill('x', Math.floor(lengthBytes / 2));
      return { kind: 'data', offsetBytes, data };
    });
  });

function apply(disk: Buffer, chunk: DiskChunk): void {
  if (chunk.kind === 'data') chunk.data.copy(disk, chunk.offsetBytes);
  else disk.fill(0, chunk.offsetBytes, chunk.offsetBytes + chunk.lengthBytes);
}

test('what went into a log comes out of it, whole, in slices, and as page operations within the limits', async () => {
  await fc.assert(
    fc.asyncProperty(chunks, fc.integer({ min: 1, max: 5 }), async (input, sliceCount) => {
      const expected = Buffer.alloc(header.diskSizeBytes, 0xee);
      for (const chunk of input) apply(expected, chunk);
      const { file, summary } = await encode(input);
      assert.equal(summary.lengthBytes, file.lengthBytes);
      const index = await readTransferLogIndex(file, summary);
      assert.deepEqual(index.header, header);
      const { frameCount, payloadBytes, changedBytes } = index;
      assert.deepEqual({ ...summary, frameCount, payloadBytes, changedBytes }, summary);
      assert.equal(
        changedBytes,
        input.reduce((sum, chunk) => sum + (chunk.kind === 'data' ? chunk.data.length : chunk.lengthBytes), 0),
      );

      const whole = Buffer.alloc(header.diskSizeBytes, 0xee);
      for await (const chunk of readFrames(file, index)) apply(whole, chunk);
      assert.ok(expected.equals(whole));

      const sliced = Buffer.alloc(header.diskSizeBytes, 0xee);
      let next = 0;
      for (const { from, to } of sliceFrames(index, sliceCount)) {
        assert.equal(from, next);
        next = to;
        const planned = [...planPageOperations(index, from, to)];
        let at = 0;
        for await (const operation of readPageOperations(file, index, from, to)) {
          const plan = planned[at++];
          const lengthBytes = operation.kind === 'write' ? operation.data.length : operation.lengthBytes;
          assert.deepEqual(
            { kind: plan?.kind, offsetBytes: plan?.offsetBytes, lengthBytes: plan?.lengthBytes },
            { kind: operation.kind, offsetBytes: operation.offsetBytes, lengthBytes },
          );
          assert.ok(operation.kind === 'clear' || lengthBytes <= 4 * mib);
          assert.equal(lengthBytes % 512, 0);
          if (operation.kind === 'write') operation.data.copy(sliced, operation.offsetBytes);
          else sliced.fill(0, operation.offsetBytes, operation.offsetBytes + lengthBytes);
        }
        assert.equal(at, planned.length);
      }
      assert.equal(next, frameCount);
      assert.ok(expected.equals(sliced));
    }),
    { numRuns: 15 },
  );
});

test('zeros travel without payload, and neighbouring frames become writes of 4 MiB', async () => {
  const data = randomFillSync(Buffer.alloc(9 * mib));
  const { file, summary } = await encode([
    { kind: 'data', offsetBytes: 0, data: Buffer.alloc(2 * mib) },
    { kind: 'zeros', offsetBytes: 2 * mib, lengthBytes: 4 * mib },
    { kind: 'data', offsetBytes: 6 * mib, data },
  ]);
  assert.equal(summary.payloadBytes, 9 * mib);
  const index = await readTransferLogIndex(file);
  assert.deepEqual(
    [...planPageOperations(index)].map(({ kind, offsetBytes, lengthBytes }) => [
      kind,
      offsetBytes / mib,
      lengthBytes / mib,
    ]),
    [
      ['clear', 0, 6],
      ['write', 6, 4],
      ['write', 10, 4],
      ['write', 14, 1],
    ],
  );
});

test('an index of many frames is written in blocks and read as one', async () => {
  const pages = Array.from({ length: 5000 }, (_, at): DiskChunk => ({
    kind: 'data',
    offsetBytes: at * 1024,
    data: Buffer.alloc(512, 1 + (at % 255)),
  }));
  const { file, summary } = await encode(pages);
  const index = await readTransferLogIndex(file, summary);
  assert.equal(index.frameCount, 5000);
  const found: DiskChunk[] = [];
  for await (const chunk of readFrames(file, index, 4000, 4200)) found.push(chunk);
  assert.deepEqual(found, pages.slice(4000, 4200));
});

test('a log without changes is a log', async () => {
  const { file, summary } = await encode([]);
  assert.equal(summary.lengthBytes, 256 + 96);
  const index = await readTransferLogIndex(file, summary);
  assert.equal(index.frameCount, 0);
  assert.deepEqual(sliceFrames(index, 4), []);
  for await (const chunk of readFrames(file, index)) assert.fail(`frame at ${chunk.offsetBytes}`);
});

test('a log cut into n slices gives n runs of about equal cost', async () => {
  const { file } = await encode([{ kind: 'data', offsetBytes: 0, data: randomFillSync(Buffer.alloc(16 * mib)) }]);
  const slices = sliceFrames(await readTransferLogIndex(file), 4);
  assert.deepEqual(slices, [
    { from: 0, to: 4 },
    { from: 4, to: 8 },
    { from: 8, to: 12 },
    { from: 12, to: 16 },
  ]);
});

test('any changed byte of a log is detected', async () => {
  const text = Buffer.alloc(2048, 'understudy ');
  const { file } = await encode([
    { kind: 'data', offsetBytes: 0, data: text },
    { kind: 'data', offsetBytes: 4096, data: randomFillSync(Buffer.alloc(512)) },
    { kind: 'zeros', offsetBytes: 8192, lengthBytes: 512 },
  ]);
  for (let at = 0; at < file.lengthBytes; at++) {
    const bytes = Buffer.from(file.bytes);
    bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
    const bad = new MemoryFile(bytes);
    const found = await outcome(bad, text);
    assert.match(found, /^(US204[0-3]|same)$/, `byte ${at}`);
    // A changed bit that a decoder does not look at cannot change the content, and only that may pass.
    if (at < 256 || at >= file.lengthBytes - 96 - 3 * 48) assert.match(found, /^US204/, `byte ${at}`);
  }
});

async function outcome(file: MemoryFile, text: Buffer): Promise<string> {
  try {
    const index = await readTransferLogIndex(file);
    for await (const chunk of readFrames(file, index)) {
      if (chunk.kind === 'data' && chunk.offsetBytes === 0) assert.ok(chunk.data.equals(text));
    }
    return 'same';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

test('a log that is cut short, has bytes behind its end, or is another than announced is refused', async () => {
  const { file, summary } = await encode([{ kind: 'data', offsetBytes: 0, data: Buffer.alloc(512, 1) }]);
  const cut = new MemoryFile(file.bytes.subarray(0, file.lengthBytes - 1));
  await assert.rejects(readTransferLogIndex(cut), { code: 'US2042' });
  await assert.rejects(readTransferLogIndex(cut, summary), { code: 'US2043' });
  await assert.rejects(readTransferLogIndex(new MemoryFile(file.bytes.subarray(0, 100))), { code: 'US2040' });
  const other = await encode([{ kind: 'data', offsetBytes: 0, data: Buffer.alloc(512, 2) }]);
  assert.equal(other.summary.lengthBytes, summary.lengthBytes);
  await assert.rejects(readTransferLogIndex(other.file, summary), { code: 'US2042', message: /was announced/ });
});

test('a later version is refused by name', async () => {
  const { file } = await encode([]);
  const bytes = Buffer.from(file.bytes);
  bytes.writeUInt16LE(2, 8);
  await assert.rejects(readTransferLogIndex(new MemoryFile(bytes)), { code: 'US2040', message: /version 2/ });
});

test('chunks that overlap, leave the disk or split a page are refused', async () => {
  const page = (offsetBytes: number, lengthBytes = 512): DiskChunk => ({
    kind: 'data',
    offsetBytes,
    data: Buffer.alloc(lengthBytes, 1),
  });
  await assert.rejects(encode([page(0, 1024), page(512)]), RangeError);
  await assert.rejects(encode([page(16 * mib)]), RangeError);
  await assert.rejects(encode([page(100)]), RangeError);
  await assert.rejects(encode([page(0, 100)]), RangeError);
});

test('an error of the source ends the log, and no summary is given', async () => {
  const source = async function* (): AsyncGenerator<DiskChunk> {
    yield { kind: 'data', offsetBytes: 0, data: Buffer.alloc(512, 1) };
    throw new Error('disk unplugged');
  };
  const stream = writeTransferLog(header, source());
  await assert.rejects(async () => {
    for await (const part of stream.bytes) assert.ok(part.length > 0);
  }, /disk unplugged/);
  assert.throws(() => stream.summary(), /not written to its end/);
});

/** The content of test/golden/transfer-log/v1.bin: a stored, a brotli and a zero frame. */
function goldenChunks(): DiskChunk[] {
  const noise = Buffer.alloc(1024);
  for (let at = 0, state = 1; at < noise.length; at++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    noise.writeUInt8((state >>> 16) & 0xff, at);
  }
  return [
    { kind: 'data', offsetBytes: 512, data: noise },
    { kind: 'data', offsetBytes: 65536, data: Buffer.alloc(8192, 'understudy ') },
    { kind: 'zeros', offsetBytes: mib, lengthBytes: 3 * mib },
  ];
}

test('a log of version 1 as first written is still read, and is still written with the same layout', async () => {
  const golden = new MemoryFile(await readFile('test/golden/transfer-log/v1.bin'));
  const index = await readTransferLogIndex(golden);
  assert.deepEqual(index.header, header);
  assert.equal(index.digest, 'b1e9a3c737d8bfe3694742b68d3468da9cf8c05190906d5633ba1843fe6e72e9');
  assert.deepEqual(
    [0, 1, 2].map((at) => index.frame(at).codec),
    ['stored', 'brotli', 'zeros'],
  );
  const found: DiskChunk[] = [];
  for await (const chunk of readFrames(golden, index)) found.push(chunk);
  assert.deepEqual(found, goldenChunks());
  const { file } = await encode(goldenChunks());
  // A newer brotli may compress to another length; header and stored frame do not depend on it.
  assert.ok(golden.bytes.subarray(0, 256 + 1024).equals(file.bytes.subarray(0, 256 + 1024)));
});
