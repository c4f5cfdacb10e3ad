import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { zeroGuid } from '../../../core/dataplane/guid.js';
import { encodeHrlHeader, encodeMetadataBlock } from '../../../core/dataplane/hrl/layout.js';
import { openHrlReader, readHrlHeader } from '../../../core/dataplane/hrl/reader.js';
import { HrlWriter } from '../../../core/dataplane/hrl/writer.js';
import { MemoryFile } from '../../support/memory-file.js';

const timeMs = Date.UTC(2026, 5, 1);
const options = {
  uniqueId: '11111111-2222-3333-4444-555555555555',
  previousUniqueId: zeroGuid,
  dataWriteGuid: '99999999-8888-7777-6666-555555555555',
  timeMs,
};

interface Write {
  offsetBytes: number;
  data: Buffer;
}

async function readAll(file: MemoryFile): Promise<Write[]> {
  const log = await openHrlReader(file);
  const found: Write[] = [];
  for await (const entry of log.entries()) {
    found.push({ offsetBytes: entry.offsetBytes, data: await log.readData(entry) });
  }
  return found;
}

async function closedLog(writes: Write[]): Promise<MemoryFile> {
  const file = new MemoryFile();
  const writer = await HrlWriter.create(file, options);
  for (const write of writes) await writer.append({ ...write, timeMs });
  await writer.close();
  return file;
}

const write = fc
  .tuple(fc.nat(1000), fc.integer({ min: 1, max: 4 }), fc.nat(255))
  .map(([sector, count, fill]) => ({ offsetBytes: sector * 512, data: Buffer.alloc(count * 512, fill) }));

test("times and block checksums are those of the specification's example log", () => {
  const header = encodeHrlHeader({
    createdAtMs: Date.UTC(2017, 1, 8, 4, 13, 0),
    currentSizeBytes: 332288,
    endOfLogBytes: 332288,
    metadataBlockBytes: 4096,
    uniqueId: '572fc7ff-1f03-49ab-b3c5-30a665b8e20c',
    previousUniqueId: 'a8ae4b46-f7ad-4402-87aa-5b33e9f89c77',
    lastModifiedAtMs: Date.UTC(2017, 1, 8, 4, 13, 4),
    totalEntries: 58,
    dataWriteGuid: 'b9be5c57-f8be-5503-98bb-6c44faf9ac87',
  });
  assert.equal(header.readUInt32LE(12), 539842380);
  // The example's header checksum fits no reading of its printed fields (its GUIDs seem altered); its blocks' do fit.
  assert.equal(encodeMetadataBlock(0, []).readUInt32LE(12), 4294967295);
  const entry = { offsetBytes: 0, lengthBytes: 512, timeMs, dataChecksum: 0 };
  const second = encodeMetadataBlock(
    324096,
    Array.from({ length: 58 }, () => entry),
  );
  assert.equal(second.readUInt32LE(12), 4294966991);
});

test('a closed log gives back its writes in order, over many metadata blocks', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(write, { maxLength: 400, size: 'max' }), async (writes) => {
      assert.deepEqual(await readAll(await closedLog(writes)), writes);
    }),
    { numRuns: 40 },
  );
});

test('a closed log can be taken up again, and its chain of blocks goes on', async () => {
  const first = Array.from({ length: 130 }, (_, index) => ({
    offsetBytes: index * 512,
    data: Buffer.alloc(512, index),
  }));
  const second = Array.from({ length: 5 }, (_, index) => ({ offsetBytes: index * 512, data: Buffer.alloc(512, 200) }));
  const file = await closedLog(first);
  const writer = await HrlWriter.reopen(file);
  assert.equal((await readHrlHeader(file)).endOfLogBytes, 0);
  await Promise.all(second.map((entry) => writer.append({ ...entry, timeMs })));
  const header = await writer.close();
  assert.equal(header.totalEntries, 135);
  assert.equal(header.currentSizeBytes, file.lengthBytes);
  assert.deepEqual(await readAll(file), [...first, ...second]);
});

test('a long write becomes entries of at most 1 MiB, and the length is known before closing', async () => {
  const file = new MemoryFile();
  const writer = await HrlWriter.create(file, options);
  const data = Buffer.alloc(2 * 1024 * 1024 + 512, 7);
  await writer.append({ offsetBytes: 4096, data, timeMs });
  assert.equal(writer.entryCount, 3);
  const lengthBytes = writer.lengthBytes;
  await writer.close();
  assert.equal(file.lengthBytes, lengthBytes);
  assert.deepEqual(Buffer.concat((await readAll(file)).map((entry) => entry.data)), data);
});

test('an open log is told apart and not read', async () => {
  const file = new MemoryFile();
  const writer = await HrlWriter.create(file, options);
  await writer.append({ offsetBytes: 0, data: Buffer.alloc(512), timeMs });
  await writer.flush();
  await assert.rejects(openHrlReader(file), { code: 'US2031' });
});

test('any changed byte of header, metadata or data is detected', async () => {
  const writes = Array.from({ length: 3 }, (_, index) => ({
    offsetBytes: index * 512,
    data: Buffer.alloc(512, 1 + index),
  }));
  const good = await closedLog(writes);
  const lastBlock = good.lengthBytes - 4096;
  const checked = [
    { from: 0, to: 4096 },
    { from: 8192, to: 8192 + 3 * 512 },
    { from: lastBlock, to: lastBlock + 32 + 3 * 32 },
  ];
  for (const { from, to } of checked) {
    for (let at = from; at < to; at++) {
      const bad = Buffer.from(good.bytes);
      bad.writeUInt8(bad.readUInt8(at) ^ 0x41, at);
      await assert.rejects(readAll(new MemoryFile(bad)), { code: /^US203[0-3]$/ }, `byte ${at}`);
    }
  }
});

test('a log that is cut short is refused with where it should end', async () => {
  const good = await closedLog([{ offsetBytes: 0, data: Buffer.alloc(4096, 3) }]);
  const cut = new MemoryFile(good.bytes.subarray(0, good.lengthBytes - 1));
  await assert.rejects(openHrlReader(cut), {
    code: 'US2033',
    message: /ends at 16384 by its header, but the file has 16383/,
  });
  await assert.rejects(openHrlReader(new MemoryFile(Buffer.alloc(100))), { code: 'US2030' });
});
