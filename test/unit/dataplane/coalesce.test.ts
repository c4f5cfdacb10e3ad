import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { coalesceLogs } from '../../../core/dataplane/blocks/coalesce.js';
import { zeroGuid } from '../../../core/dataplane/guid.js';
import { openHrlReader } from '../../../core/dataplane/hrl/reader.js';
import { HrlWriter } from '../../../core/dataplane/hrl/writer.js';
import { MemoryFile } from '../../support/memory-file.js';

const timeMs = Date.UTC(2026, 5, 1);
const diskSectors = 64;
const diskBytes = diskSectors * 512;

interface Write {
  offsetBytes: number;
  data: Buffer;
}

async function logOf(writes: Write[]): Promise<MemoryFile> {
  const file = new MemoryFile();
  const writer = await HrlWriter.create(file, {
    uniqueId: zeroGuid,
    previousUniqueId: zeroGuid,
    dataWriteGuid: zeroGuid,
    timeMs,
  });
  for (const write of writes) await writer.append({ ...write, timeMs });
  await writer.close();
  return file;
}

const write = fc
  .tuple(fc.nat(diskSectors - 1), fc.integer({ min: 1, max: 24 }), fc.nat(255))
  .map(([sector, count, fill]) => {
    const data = Buffer.alloc(Math.min(count, diskSectors - sector) * 512, fill);
    for (let at = 0; at < data.length; at += 512) data.writeUInt16LE(at / 512, at + 100);
    return { offsetBytes: sector * 512, data };
  });

test('the base with the coalesced logs on top equals the source, and nothing is sent twice', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(write, { maxLength: 30 }), { maxLength: 4 }), async (cycles) => {
      const source = Buffer.alloc(diskBytes, 0xaa);
      const replica = Buffer.from(source);
      const touched = Buffer.alloc(diskSectors);
      for (const { offsetBytes, data } of cycles.flat()) {
        data.copy(source, offsetBytes);
        touched.fill(1, offsetBytes / 512, (offsetBytes + data.length) / 512);
      }
      const logs = [];
      for (const writes of cycles) logs.push(await openHrlReader(await logOf(writes)));
      const coalesced = await coalesceLogs(logs, diskBytes);
      const sent = Buffer.alloc(diskSectors);
      let lastEnd = 0;
      for await (const chunk of coalesced.chunks()) {
        assert.ok(chunk.kind === 'data' && chunk.offsetBytes >= lastEnd);
        lastEnd = chunk.offsetBytes + chunk.data.length;
        chunk.data.copy(replica, chunk.offsetBytes);
        sent.fill(1, chunk.offsetBytes / 512, lastEnd / 512);
      }
      assert.ok(source.equals(replica));
      assert.ok(touched.equals(sent));
      const ranges = [...coalesced.ranges()];
      const ranged = Buffer.alloc(diskSectors);
      for (const range of ranges)
        ranged.fill(1, range.offsetBytes / 512, (range.offsetBytes + range.lengthBytes) / 512);
      assert.ok(touched.equals(ranged));
      for (const [at, range] of ranges.entries()) {
        const before = ranges[at - 1];
        assert.ok(before === undefined || before.offsetBytes + before.lengthBytes < range.offsetBytes, 'merged');
      }
    }),
    { numRuns: 150 },
  );
});

test('many neighbouring writes become chunks of at most 1 MiB', async () => {
  const mib = 1024 * 1024;
  const writes = Array.from({ length: 700 }, (_, index) => ({
    offsetBytes: index * 4096,
    data: Buffer.alloc(4096, index),
  }));
  const log = await openHrlReader(await logOf([{ offsetBytes: 0, data: Buffer.alloc(3 * mib, 255) }, ...writes]));
  const coalesced = await coalesceLogs([log], 4 * mib);
  const lengths: number[] = [];
  const content: Buffer[] = [];
  for await (const chunk of coalesced.chunks()) {
    assert.ok(chunk.kind === 'data');
    lengths.push(chunk.data.length);
    content.push(chunk.data);
  }
  assert.deepEqual(lengths, [mib, mib, mib]);
  const expected = Buffer.alloc(3 * mib, 255);
  for (const { offsetBytes, data } of writes) data.copy(expected, offsetBytes);
  assert.ok(expected.equals(Buffer.concat(content)));
  assert.equal(coalesced.writeCount, 703);
});

test('a damaged entry is found before its data is sent', async () => {
  const file = await logOf([{ offsetBytes: 0, data: Buffer.alloc(512, 1) }]);
  const bytes = Buffer.from(file.bytes);
  bytes.writeUInt8(2, 8192 + 17);
  const coalesced = await coalesceLogs([await openHrlReader(new MemoryFile(bytes))], diskBytes);
  await assert.rejects(
    async () => {
      for await (const chunk of coalesced.chunks()) assert.fail(`sent ${chunk.offsetBytes}`);
    },
    { code: 'US2032' },
  );
});

test('a write beyond the end of the disk is refused', async () => {
  const log = await openHrlReader(await logOf([{ offsetBytes: diskBytes - 512, data: Buffer.alloc(1024, 1) }]));
  await assert.rejects(coalesceLogs([log], diskBytes), { code: 'US2032' });
});
