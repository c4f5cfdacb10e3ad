import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  fixedVhdFooter,
  openFixedVhdReader,
  parseVhdFooter,
  replicaBlobLengthBytes,
  replicaSizeBytes,
} from '../../../core/dataplane/vhd/fixed-vhd.js';
import { MemoryFile } from '../../support/memory-file.js';

const mib = 1024 * 1024;
const uniqueId = '01020304-0506-0708-090a-0b0c0d0e0f10';
const timeMs = Date.UTC(2026, 0, 1);

test('a footer gives back what it was made of, up to 64 TiB', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 64 * 1024 * 1024 }), (sizeMib) => {
      const footer = parseVhdFooter(fixedVhdFooter({ sizeBytes: sizeMib * mib, uniqueId, timeMs }));
      assert.deepEqual(footer, { kind: 'fixed', sizeBytes: sizeMib * mib, uniqueId, createdAtMs: timeMs });
    }),
  );
});

test('any changed byte of a footer is detected', () => {
  const good = fixedVhdFooter({ sizeBytes: 64 * mib, uniqueId, timeMs });
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good);
    bad.writeUInt8(bad.readUInt8(at) ^ 1, at);
    assert.throws(() => parseVhdFooter(bad), { code: 'US2020' }, `byte ${at}`);
  }
});

test('a replica has whole MiB and a footer', () => {
  assert.equal(replicaSizeBytes(64 * mib), 64 * mib);
  assert.equal(replicaSizeBytes(64 * mib + 512), 65 * mib);
  assert.equal(replicaBlobLengthBytes(1), mib + 512);
});

test('a fixed VHD is read without its footer, and one of another length is refused', async () => {
  const content = Buffer.alloc(mib, 5);
  const footer = fixedVhdFooter({ sizeBytes: mib, uniqueId, timeMs });
  const disk = await openFixedVhdReader(new MemoryFile(Buffer.concat([content, footer])));
  assert.ok(content.equals(await disk.read(0, disk.sizeBytes)));
  await assert.rejects(disk.read(mib - 1, 2), RangeError);
  await assert.rejects(openFixedVhdReader(new MemoryFile(Buffer.concat([content.subarray(512), footer]))), {
    code: 'US2020',
  });
  await assert.rejects(openFixedVhdReader(new MemoryFile(Buffer.alloc(10))), { code: 'US2020' });
});
