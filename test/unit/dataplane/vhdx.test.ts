import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UnderstudyError } from '../../../core/domain/errors.js';
import type { DiskReader } from '../../../core/dataplane/random-access.js';
import { createVhdx, type CreateVhdxOptions } from '../../../core/dataplane/vhdx/create.js';
import { openVhdxReader } from '../../../core/dataplane/vhdx/reader.js';
import { openVhdxWriter } from '../../../core/dataplane/vhdx/writer.js';
import { MemoryFile } from '../../support/memory-file.js';
import { leaveDirtyLog } from '../../support/vhdx-dirty-log.js';

const mib = 1024 * 1024;
const batAt = 3 * mib;

async function newDisk(options: Partial<CreateVhdxOptions> = {}): Promise<MemoryFile> {
  const file = new MemoryFile();
  await createVhdx(file, { sizeBytes: 4 * mib, blockSizeBytes: mib, kind: 'dynamic', ...options });
  return file;
}

async function ranges(disk: DiskReader): Promise<{ offsetBytes: number; lengthBytes: number }[]> {
  const found = [];
  for await (const range of disk.allocatedRanges()) found.push(range);
  return found;
}

for (const kind of ['dynamic', 'fixed'] as const) {
  test(`a ${kind} disk reads as what was written, and everywhere else as zeros`, async () => {
    const sizeBytes = 3 * mib + 64 * 512;
    const action = fc.record({
      sector: fc.nat(sizeBytes / 512 - 1),
      count: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 2000, max: 2600 })),
      fill: fc.integer({ min: 1, max: 255 }),
      atOnce: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 12 }), async (actions) => {
        const file = await newDisk({ sizeBytes, kind });
        const model = Buffer.alloc(sizeBytes);
        const writer = await openVhdxWriter(file);
        for (const { sector, count, fill, atOnce } of actions) {
          const offsetBytes = sector * 512;
          const data = Buffer.alloc(Math.min(count * 512, sizeBytes - offsetBytes), fill);
          const half = Math.ceil(data.length / 1024) * 512;
          if (atOnce && half < data.length) {
            await Promise.all([
              writer.write(offsetBytes, data.subarray(0, half)),
              writer.write(offsetBytes + half, data.subarray(half)),
            ]);
          } else {
            await writer.write(offsetBytes, data);
          }
          data.copy(model, offsetBytes);
        }
        assert.ok(model.equals(await writer.read(0, sizeBytes)));
        await writer.close();
        const reader = await openVhdxReader(file);
        assert.ok(model.equals(await reader.read(0, sizeBytes)));
        assert.ok(model.subarray(mib - 512, mib + 1024).equals(await reader.read(mib - 512, 1536)));
        const kept = Buffer.alloc(sizeBytes);
        let lastEnd = -1;
        for (const { offsetBytes, lengthBytes } of await ranges(reader)) {
          assert.ok(offsetBytes > lastEnd, 'ranges ascend and do not touch');
          lastEnd = offsetBytes + lengthBytes;
          (await reader.read(offsetBytes, lengthBytes)).copy(kept, offsetBytes);
        }
        assert.ok(model.equals(kept), 'nothing but zeros outside the allocated ranges');
      }),
      { numRuns: 15 },
    );
  });
}

test('a disk knows its sizes, kind and id', async () => {
  const virtualDiskId = 'aabbccdd-1122-3344-5566-77889900aabb';
  const file = await newDisk({ virtualDiskId, logicalSectorBytes: 4096, kind: 'fixed', blockSizeBytes: 2 * mib });
  const reader = await openVhdxReader(file);
  assert.equal(reader.sizeBytes, 4 * mib);
  assert.equal(reader.kind, 'fixed');
  assert.equal(reader.virtualDiskId, virtualDiskId);
  assert.equal(reader.logicalSectorBytes, 4096);
  assert.equal(reader.physicalSectorBytes, 4096);
  assert.equal(reader.blockSizeBytes, 2 * mib);
  assert.deepEqual(await ranges(reader), [{ offsetBytes: 0, lengthBytes: 4 * mib }]);
});

test('the data write GUID changes with the first write of each opening, and not before', async () => {
  const file = await newDisk();
  const before = Buffer.from(file.bytes);
  const writer = await openVhdxWriter(file);
  const old = writer.dataWriteGuid;
  await writer.flush();
  assert.ok(before.equals(file.bytes), 'opening and flushing changes nothing');
  await writer.write(0, Buffer.alloc(512, 1));
  const fresh = writer.dataWriteGuid;
  assert.notEqual(fresh, old);
  await writer.write(512, Buffer.alloc(512, 1));
  assert.equal(writer.dataWriteGuid, fresh);
  assert.equal((await openVhdxReader(file)).dataWriteGuid, fresh);
  const again = await openVhdxWriter(file);
  await again.prepareToWrite();
  assert.notEqual(again.dataWriteGuid, fresh);
});

test('a disk of 64 TiB is made and read in bounded memory', async () => {
  const file = await newDisk({ sizeBytes: 64 * 1024 * 1024 * mib, blockSizeBytes: 32 * mib });
  const writer = await openVhdxWriter(file);
  const last = writer.sizeBytes - 512;
  file.resize = () => Promise.reject(new Error('no space left'));
  await assert.rejects(writer.write(last, Buffer.alloc(512, 9)), /no space left/);
  assert.deepEqual(await writer.read(last, 512), Buffer.alloc(512));
  assert.equal(file.lengthBytes, batAt + 17 * mib);
});

test('a write outside the disk or not in whole sectors is refused and changes nothing', async () => {
  const file = await newDisk();
  const before = Buffer.from(file.bytes);
  const writer = await openVhdxWriter(file);
  await assert.rejects(writer.write(4 * mib, Buffer.alloc(512)), RangeError);
  await assert.rejects(writer.write(100, Buffer.alloc(512)), RangeError);
  await assert.rejects(writer.write(0, Buffer.alloc(100)), RangeError);
  await assert.rejects(writer.read(4 * mib - 1, 2), RangeError);
  assert.ok(before.equals(file.bytes));
});

test('after a crash between any two steps of a write the disk is valid and holds the old or the new data', async () => {
  const base = await newDisk();
  const setup = await openVhdxWriter(base);
  await setup.write(0, Buffer.alloc(1024, 1));
  await setup.close();
  const payload = Buffer.alloc(2 * mib, 2);
  for (let stepsLeft = 0; ; stepsLeft++) {
    const file = new CrashingFile(base.bytes, stepsLeft);
    let finished = false;
    try {
      const writer = await openVhdxWriter(file);
      await writer.write(mib, payload);
      await writer.write(0, Buffer.alloc(512, 3));
      await writer.close();
      finished = true;
    } catch (error) {
      assert.match(String(error), /crash/);
    }
    const reader = await openVhdxReader(new MemoryFile(file.bytes));
    const content = await reader.read(0, 4 * mib);
    const first = content.readUInt8(0);
    assert.ok(first === 1 || first === 3);
    assert.equal(content.readUInt8(512), 1);
    for (const block of [1, 2]) {
      const bytes = content.subarray(block * mib, (block + 1) * mib);
      const fill = bytes.readUInt8(0);
      assert.ok(fill === 0 || fill === 2);
      assert.ok(bytes.equals(Buffer.alloc(mib, fill)), `block ${block} is whole`);
    }
    if (finished) {
      assert.ok(stepsLeft > 8, 'the loop saw the steps');
      break;
    }
  }
});

class CrashingFile extends MemoryFile {
  constructor(
    content: Buffer,
    private stepsLeft: number,
  ) {
    super(content);
  }
  #step(): void {
    if (this.stepsLeft-- <= 0) throw new Error('crash');
  }
  override write(offsetBytes: number, data: Buffer): Promise<void> {
    return Promise.resolve().then(() => {
      this.#step();
      return super.write(offsetBytes, data);
    });
  }
  override resize(lengthBytes: number): Promise<void> {
    return Promise.resolve().then(() => {
      this.#step();
      return super.resize(lengthBytes);
    });
  }
}

/** What each damage must be called. */
const damages: { name: string; code: string; damage: (bytes: Buffer) => Buffer }[] = [
  { name: 'another file', code: 'US2010', damage: () => Buffer.from('conectix and so on') },
  { name: 'an empty file', code: 'US2010', damage: () => Buffer.alloc(0) },
  { name: 'a file cut in its header', code: 'US2012', damage: (bytes) => bytes.subarray(0, 1000) },
  { name: 'a file cut in its BAT', code: 'US2012', damage: (bytes) => bytes.subarray(0, batAt + 10) },
  { name: 'a file cut in a block', code: 'US2012', damage: (bytes) => bytes.subarray(0, bytes.length - mib) },
  { name: 'both headers damaged', code: 'US2011', damage: flip(64 * 1024 + 20, 128 * 1024 + 20) },
  { name: 'both region tables damaged', code: 'US2011', damage: flip(192 * 1024 + 20, 256 * 1024 + 20) },
  { name: 'the metadata signature damaged', code: 'US2011', damage: flip(2 * mib) },
  { name: 'an impossible block size', code: 'US2011', damage: flip(2 * mib + 64 * 1024) },
  { name: 'a reserved block state', code: 'US2011', damage: put(batAt, 5) },
  { name: 'a partially present block', code: 'US2011', damage: put(batAt, 7) },
  { name: 'two blocks in one place', code: 'US2011', damage: (bytes) => copyEntry(bytes, 0, 1) },
  { name: 'a block upon the metadata', code: 'US2011', damage: put(batAt + 2, 0x20) },
  { name: 'a disk with a parent', code: 'US2013', damage: put(2 * mib + 64 * 1024 + 4, 2) },
];

function copyEntry(bytes: Buffer, from: number, to: number): Buffer {
  bytes.copy(bytes, batAt + 8 * to, batAt + 8 * from, batAt + 8 * (from + 1));
  return bytes;
}

function flip(...offsets: number[]): (bytes: Buffer) => Buffer {
  return (bytes) => {
    for (const at of offsets) bytes.writeUInt8(bytes.readUInt8(at) ^ 0xff, at);
    return bytes;
  };
}

function put(at: number, value: number): (bytes: Buffer) => Buffer {
  return (bytes) => {
    bytes.writeUInt8(value, at);
    return bytes;
  };
}

for (const { name, code, damage } of damages) {
  test(`${name} is refused with ${code} and what to do`, async () => {
    const file = await newDisk();
    const writer = await openVhdxWriter(file);
    await writer.write(0, Buffer.alloc(4 * mib, 1));
    await writer.close();
    const bad = new MemoryFile(damage(Buffer.from(file.bytes)));
    await assert.rejects(
      openVhdxReader(bad).then((disk) => disk.read(0, disk.sizeBytes)),
      (error: unknown) =>
        error instanceof Error &&
        'code' in error &&
        error.code === code &&
        'recommendedAction' in error &&
        error.recommendedAction !== '',
    );
  });
}

test('one damaged header or region table is no harm: the other one is used', async () => {
  const file = await newDisk();
  for (const at of [64 * 1024 + 30, 192 * 1024 + 30]) {
    const bytes = flip(at)(Buffer.from(file.bytes));
    assert.equal((await openVhdxReader(new MemoryFile(bytes))).sizeBytes, 4 * mib);
  }
});

test('a log with any damaged byte is not replayed, and the disk is refused with what to do', async () => {
  const file = await newDisk();
  const update = [{ fileOffsetBytes: batAt, content: Buffer.alloc(4096, 0) }];
  await leaveDirtyLog(file, 8192, [update]);
  await openVhdxReader(file);
  for (const at of [0, 5, 8, 17, 24, 40, 50, 64, 72, 90, 4096, 4100, 5000, 8191]) {
    const bytes = flip(mib + 8192 + at)(Buffer.from(file.bytes));
    await assert.rejects(openVhdxReader(new MemoryFile(bytes)), { code: 'US2014' }, `byte ${at} of the entry`);
  }
});

test('a file shorter than its log knows it is refused', async () => {
  const file = await newDisk({ kind: 'fixed' });
  await leaveDirtyLog(file, 0, [[]]);
  await file.resize(file.lengthBytes - mib);
  await assert.rejects(openVhdxReader(file), { code: 'US2012' });
});

test('whatever bytes stand in the structures without checksum, a disk is read or refused, never more', async () => {
  const file = await newDisk();
  const writer = await openVhdxWriter(file);
  await writer.write(0, Buffer.alloc(2 * mib, 1));
  const tables = [
    { at: 2 * mib, lengthBytes: 32 + 5 * 32 },
    { at: 2 * mib + 64 * 1024, lengthBytes: 40 },
    { at: batAt, lengthBytes: 4 * 8 },
  ];
  const place = fc
    .constantFrom(...tables)
    .chain(({ at, lengthBytes }) => fc.nat(lengthBytes - 1).map((byte) => at + byte));
  const changes = fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(changes, async (bytes) => {
      const original = await Promise.all(bytes.map(([at]) => file.read(at, 1)));
      for (const [at, value] of bytes) await file.write(at, Buffer.from([value]));
      try {
        const disk = await openVhdxReader(file);
        for (let at = 0; at < Math.min(disk.sizeBytes, 4 * mib); at += mib) {
          await disk.read(at, Math.min(512, disk.sizeBytes - at));
        }
      } catch (error) {
        assert.ok(error instanceof UnderstudyError, String(error));
        assert.match(error.code, /^US201[0-4]$/);
      } finally {
        for (const [index, [at]] of [...bytes.entries()].reverse())
          await file.write(at, original[index] ?? Buffer.alloc(0));
      }
    }),
    { numRuns: 500 },
  );
});

test('ranges can be asked for from a place on', async () => {
  const file = await newDisk();
  const writer = await openVhdxWriter(file);
  await writer.write(0, Buffer.alloc(512, 1));
  await writer.write(3 * mib, Buffer.alloc(512, 1));
  const found = [];
  for await (const range of writer.allocatedRanges(2 * mib)) found.push(range);
  assert.deepEqual(found, [{ offsetBytes: 3 * mib, lengthBytes: mib }]);
});
