import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { DiskReader } from '../../../core/dataplane/random-access.js';
import { fixedVhdFooter } from '../../../core/dataplane/vhd/fixed-vhd.js';
import { createVhdx } from '../../../core/dataplane/vhdx/create.js';
import { openVhdxReader, type VhdxReader } from '../../../core/dataplane/vhdx/reader.js';
import { openVhdxWriter } from '../../../core/dataplane/vhdx/writer.js';
import { openFileReader, openFileWriter } from '../../../providers/local-files/random-access-file.js';
import { compareImages, judge } from '../../support/judges.js';
import { leaveDirtyLog } from '../../support/vhdx-dirty-log.js';

const run = promisify(execFile);
const mib = 1024 * 1024;
/** Where our own writer puts the block table. */
const batAt = 3 * mib;

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-'));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function withVhdx<T>(path: string, body: (disk: VhdxReader) => Promise<T>): Promise<T> {
  const file = await openFileReader(path);
  try {
    return await body(await openVhdxReader(file));
  } finally {
    await file.close();
  }
}

async function digestOf(disk: DiskReader): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < disk.sizeBytes; at += 8 * mib)
    hash.update(await disk.read(at, Math.min(8 * mib, disk.sizeBytes - at)));
  return hash.digest('hex');
}

/** Writes that cross blocks, leave blocks empty, and touch the disk's end. */
async function makeDisk(path: string, kind: 'dynamic' | 'fixed', sizeBytes: number): Promise<Buffer> {
  const model = Buffer.alloc(sizeBytes);
  const file = await openFileWriter(path, { mode: 'create' });
  await createVhdx(file, { sizeBytes, kind, blockSizeBytes: 2 * mib });
  const writer = await openVhdxWriter(file);
  const writes = [
    { at: 0, lengthBytes: 512 },
    { at: 2 * mib - 512, lengthBytes: 4096 },
    { at: 9 * mib, lengthBytes: 5 * mib },
    { at: sizeBytes - 512, lengthBytes: 512 },
  ];
  for (const [index, { at, lengthBytes }] of writes.entries()) {
    const data = Buffer.alloc(lengthBytes, 0x10 + index);
    data.writeUInt32LE(index, 8);
    await writer.write(at, data);
    data.copy(model, at);
  }
  await writer.close();
  await file.close();
  return model;
}

for (const kind of ['dynamic', 'fixed'] as const) {
  test(`qemu-img finds our ${kind} VHDX free of errors and equal to what was written`, (t) =>
    judge(t, 'qemu-img', (qemuImg) =>
      withFolder(async (folder) => {
        const path = join(folder, 'ours.vhdx');
        const model = await makeDisk(path, kind, 33 * mib + 512);
        await writeFile(join(folder, 'model.raw'), model);
        await run(qemuImg, ['check', '-f', 'vhdx', path]);
        await compareImages({ path, format: 'vhdx' }, { path: join(folder, 'model.raw'), format: 'raw' });
      }),
    ));

  test(`we read a ${kind} VHDX that QEMU made and wrote as QEMU does, and write into it`, (t) =>
    judge(t, 'qemu-img', (qemuImg) =>
      withFolder(async (folder) => {
        const path = join(folder, 'theirs.vhdx');
        await run(qemuImg, ['create', '-q', '-f', 'vhdx', '-o', `subformat=${kind},block_size=${mib}`, path, '20M']);
        await run('qemu-io', ['-f', 'vhdx', '-c', 'write -P 0x21 0 64k', '-c', 'write -P 0x22 5M 3M', path]);
        await run('qemu-io', ['-f', 'vhdx', '-c', 'write -P 0x23 20479k 1k', path]);
        await run(qemuImg, ['convert', '-f', 'vhdx', '-O', 'raw', path, join(folder, 'their.raw')]);
        const raw = await openFileReader(join(folder, 'their.raw'));
        const expected = await raw.read(0, 20 * mib);
        await raw.close();
        await withVhdx(path, async (disk) => {
          assert.equal(disk.kind, kind);
          assert.ok(expected.equals(await disk.read(0, disk.sizeBytes)));
        });

        const file = await openFileWriter(path);
        const writer = await openVhdxWriter(file);
        const data = Buffer.alloc(2 * mib, 0x77);
        await writer.write(12 * mib - 512, data);
        await writer.close();
        await file.close();
        data.copy(expected, 12 * mib - 512);
        await writeFile(join(folder, 'expected.raw'), expected);
        await run(qemuImg, ['check', '-f', 'vhdx', path]);
        await compareImages({ path, format: 'vhdx' }, { path: join(folder, 'expected.raw'), format: 'raw' });
      }),
    ));
}

test('a log that a crash left behind is replayed by us as QEMU replays it', (t) =>
  judge(t, 'qemu-img', (qemuImg) =>
    withFolder(async (folder) => {
      const path = join(folder, 'crashed.vhdx');
      const model = await makeDisk(path, 'dynamic', 16 * mib);
      await writeFile(join(folder, 'model.raw'), model);
      const file = await openFileWriter(path);
      const blockTable = await file.read(batAt, 4096);
      await file.write(batAt, Buffer.alloc(4096, 0xee));
      // Two entries, of which the second crosses the end of the ring.
      await leaveDirtyLog(file, mib - 4 * 4096, [
        [
          { fileOffsetBytes: batAt, content: Buffer.alloc(4096, 0xdd) },
          { fileOffsetBytes: batAt + 4096, content: 8192 },
        ],
        [
          { fileOffsetBytes: batAt + 4096, content: Buffer.alloc(4096) },
          { fileOffsetBytes: batAt, content: blockTable },
        ],
      ]);
      await file.close();
      await copyFile(path, join(folder, 'for-qemu.vhdx'));
      await copyFile(path, join(folder, 'for-us.vhdx'));

      await withVhdx(path, async (disk) => {
        assert.ok(model.equals(await disk.read(0, disk.sizeBytes)), 'read through the log');
      });
      const repaired = await openFileWriter(join(folder, 'for-us.vhdx'));
      await (await openVhdxWriter(repaired)).close();
      await repaired.close();
      await run(qemuImg, ['check', '-f', 'vhdx', '-r', 'all', join(folder, 'for-qemu.vhdx')]);
      for (const name of ['for-us.vhdx', 'for-qemu.vhdx']) {
        await compareImages(
          { path: join(folder, name), format: 'vhdx' },
          { path: join(folder, 'model.raw'), format: 'raw' },
        );
      }
    }),
  ));

test('qemu-img takes the size of our fixed VHD from its footer, and its content from what precedes it', (t) =>
  judge(t, 'qemu-img', (qemuImg) =>
    withFolder(async (folder) => {
      for (const sizeMib of [1, 100, 2048]) {
        const sizeBytes = sizeMib * mib;
        const path = join(folder, `${sizeMib}.vhd`);
        const file = await openFileWriter(path, { mode: 'create' });
        await file.write(mib - 4096, Buffer.alloc(4096, 9));
        const uniqueId = '01020304-0506-0708-090a-0b0c0d0e0f10';
        await file.write(sizeBytes, fixedVhdFooter({ sizeBytes, uniqueId, timeMs: Date.UTC(2026, 0, 1) }));
        await file.close();
        const { stdout } = await run(qemuImg, ['info', '-f', 'vpc', '--output', 'json', path]);
        const info: unknown = JSON.parse(stdout);
        assert.ok(typeof info === 'object' && info !== null && 'virtual-size' in info);
        assert.equal(info['virtual-size'], sizeBytes);
        const raw = await openFileWriter(join(folder, `${sizeMib}.raw`), { mode: 'create' });
        await raw.write(mib - 4096, Buffer.alloc(4096, 9));
        await raw.resize(sizeBytes);
        await raw.close();
        await compareImages({ path, format: 'vpc' }, { path: join(folder, `${sizeMib}.raw`), format: 'raw' });
      }
    }),
  ));

test("a disk that Hyper-V made reads as Hyper-V's own content", (t) =>
  judge(t, 'sample-disks', (disks) =>
    withFolder(async (folder) => {
      const path = join(folder, 'sample.vhdx');
      await run('sh', ['-c', 'bzip2 -dc "$1" > "$2"', 'sh', join(disks, 'iotest-dynamic-1G.vhdx.bz2'), path]);
      await withVhdx(path, async (disk) => {
        assert.equal(disk.kind, 'dynamic');
        assert.equal(disk.blockSizeBytes, 32 * mib);
        assert.equal(disk.sizeBytes, 1_073_741_824);
        assert.equal(await digestOf(disk), 'd3d112d8dab7fd360609f7d5a7b769904b7a2a7d7b6b8c535f65a23293c05478');
      });
    }),
  ));
