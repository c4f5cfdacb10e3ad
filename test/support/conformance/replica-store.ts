import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { ReplicaBlob } from '../../../core/domain/protected-item/protected-item.js';
import type { Fence } from '../../../core/domain/replication/fence.js';
import { FencedError, type ReplicaStore } from '../../../core/ports/replica-store.js';
import { errorWithCode } from './error-code.js';

const kib = 1024;
const mib = 1024 * kib;
/** A fixed VHD: whole MiB and a footer of 512 bytes. */
const diskBytes = 16 * mib + 512;

/** What every ReplicaStore keeps. Each test works on a disk of its own. */
export function replicaStoreConformance(
  name: string,
  open: () => Promise<{ store: ReplicaStore; storageAccountId: string }>,
): void {
  const check = (behaviour: string, body: (store: ReplicaStore, disk: ReplicaBlob) => Promise<void>): void => {
    test(`${name}: ${behaviour}`, async () => {
      const { store, storageAccountId } = await open();
      const disk = { storageAccountId, container: 'understudy-replicas', blobName: `${randomUUID()}/disk 0.vhd` };
      await body(store, disk);
    });
  };
  const first: Fence = { epoch: 1, cycle: 0 };
  const fence = (epoch: number, cycle: number): Fence => ({ epoch, cycle });
  const withFence = async (store: ReplicaStore, disk: ReplicaBlob): Promise<void> => {
    await store.createDisk(disk, diskBytes);
    await store.raiseFence(disk, first);
  };
  const rangesOf = async (store: ReplicaStore, disk: ReplicaBlob, snapshotId?: string): Promise<number[][]> => {
    const ranges: number[][] = [];
    for await (const range of store.allocatedRanges(disk, snapshotId)) {
      ranges.push([range.offsetBytes, range.lengthBytes]);
    }
    return ranges;
  };
  const snapshotOf = async (store: ReplicaStore, disk: ReplicaBlob, under: Fence): Promise<string> => {
    const properties = await store.properties(disk);
    assert(properties);
    return (await store.createSnapshot(disk, { ifMatch: properties.etag, fence: under })).snapshotId;
  };
  const fenced =
    (found: Fence) =>
    (error: unknown): boolean => {
      assert(error instanceof FencedError, String(error));
      assert.deepEqual(error.found, found);
      return true;
    };

  check('ranges within bounds are cut to them', async (store, disk) => {
    await store.createDisk(disk, diskBytes);
    await store.raiseFence(disk, { epoch: 1, cycle: 0 });
    for (const offsetBytes of [0, 4096, 8192]) {
      await store.writePages(disk, offsetBytes, Buffer.alloc(2048, 1), { epoch: 1, cycle: 0 });
    }
    const found: number[][] = [];
    const within = { fromBytes: 1024, toBytes: 8704 };
    for await (const range of store.allocatedRanges(disk, undefined, within)) {
      found.push([range.offsetBytes, range.lengthBytes]);
    }
    assert.deepEqual(found, [
      [1024, 1024],
      [4096, 2048],
      [8192, 512],
    ]);
    const none: unknown[] = [];
    for await (const range of store.allocatedRanges(disk, undefined, { fromBytes: 2048, toBytes: 4096 })) {
      none.push(range);
    }
    assert.deepEqual(none, []);
  });

  check('a new disk reads as zeros, has no ranges and fence 0', async (store, disk) => {
    assert.equal(await store.properties(disk), undefined);
    await store.createDisk(disk, diskBytes);
    const properties = await store.properties(disk);
    assert.equal(properties?.lengthBytes, diskBytes);
    assert.deepEqual(properties.fence, { epoch: 0, cycle: 0 });
    assert((await store.readPages(disk, diskBytes - 1024, 1024)).equals(Buffer.alloc(1024)));
    assert.deepEqual(await rangesOf(store, disk), []);
  });

  check('creating a disk again keeps what it holds; another length is refused', async (store, disk) => {
    await withFence(store, disk);
    const data = randomBytes(4096);
    await store.writePages(disk, 8192, data, first);
    await store.createDisk(disk, diskBytes);
    assert((await store.readPages(disk, 8192, 4096)).equals(data));
    assert.deepEqual((await store.properties(disk))?.fence, first);
    await assert.rejects(store.createDisk(disk, diskBytes + 512), errorWithCode('US6024'));
    await assert.rejects(store.createDisk({ ...disk, blobName: `${disk.blobName}x` }, 1000), errorWithCode('US6001'));
  });

  check('what was written reads back, whole and in parts, and nothing around it changes', async (store, disk) => {
    await withFence(store, disk);
    const large = randomBytes(4 * mib);
    const small = randomBytes(512);
    await Promise.all([
      store.writePages(disk, mib, large, first),
      store.writePages(disk, diskBytes - 512, small, first),
    ]);
    const whole = await store.readPages(disk, 0, diskBytes);
    const expected = Buffer.alloc(diskBytes);
    large.copy(expected, mib);
    small.copy(expected, diskBytes - 512);
    assert(whole.equals(expected));
    assert((await store.readPages(disk, 2 * mib - 512, 1024)).equals(large.subarray(mib - 512, mib + 512)));
    assert.deepEqual(await rangesOf(store, disk), [
      [mib, 4 * mib],
      [diskBytes - 512, 512],
    ]);
  });

  check('cleared pages read as zeros and leave the ranges', async (store, disk) => {
    await withFence(store, disk);
    await store.writePages(disk, 0, Buffer.alloc(mib, 1), first);
    await store.clearPages(disk, 64 * kib, 512, first);
    await store.clearPages(disk, 512 * kib, diskBytes - 512 * kib, first);
    assert.deepEqual(await rangesOf(store, disk), [
      [0, 64 * kib],
      [64 * kib + 512, 448 * kib - 512],
    ]);
    const data = await store.readPages(disk, 0, mib);
    assert.equal(data.indexOf(0), 64 * kib);
    assert.equal(data.lastIndexOf(1), 512 * kib - 1);
  });

  check('neighbouring writes make one range, in ascending order whatever the order of writing', async (store, disk) => {
    await withFence(store, disk);
    const page = Buffer.alloc(4096, 7);
    for (const offset of [40_960, 8192, 12_288, 0, 36_864]) await store.writePages(disk, offset, page, first);
    assert.deepEqual(await rangesOf(store, disk), [
      [0, 4096],
      [8192, 8192],
      [36_864, 8192],
    ]);
  });

  check('writes outside Azure’s limits are refused before they do anything', async (store, disk) => {
    await withFence(store, disk);
    const refused = errorWithCode('US6001');
    const write = (offset: number, length: number) => store.writePages(disk, offset, Buffer.alloc(length, 1), first);
    await assert.rejects(write(1, 512), refused);
    await assert.rejects(write(0, 511), refused);
    await assert.rejects(write(0, 0), refused);
    await assert.rejects(write(-512, 512), refused);
    await assert.rejects(write(0, 4 * mib + 512), refused);
    await assert.rejects(write(diskBytes, 512), refused);
    await assert.rejects(write(diskBytes - 512, 1024), refused);
    await assert.rejects(store.clearPages(disk, 512, diskBytes, first), refused);
    await assert.rejects(store.clearPages(disk, 100, 512, first), refused);
    await assert.rejects(store.readPages(disk, diskBytes - 512, 1024), refused);
    assert.deepEqual(await rangesOf(store, disk), []);
    assert.equal((await store.properties(disk))?.lengthBytes, diskBytes);
  });

  check('the fence only rises, and a lower one is told which stands', async (store, disk) => {
    await store.createDisk(disk, diskBytes);
    for (const next of [
      fence(1, 0),
      fence(1, 1),
      fence(1, 1),
      fence(1, 4_294_967_295),
      fence(2, 7),
      fence(2_097_151, 9),
    ]) {
      await store.raiseFence(disk, next);
      assert.deepEqual((await store.properties(disk))?.fence, next);
    }
    await assert.rejects(store.raiseFence(disk, fence(2, 8)), fenced(fence(2_097_151, 9)));
    assert.deepEqual((await store.properties(disk))?.fence, fence(2_097_151, 9));
  });

  check('a writer under another fence, lower or higher, changes nothing', async (store, disk) => {
    await store.createDisk(disk, diskBytes);
    await store.raiseFence(disk, fence(3, 5));
    const data = Buffer.alloc(512, 1);
    await store.writePages(disk, 0, data, fence(3, 5));
    for (const other of [fence(3, 4), fence(2, 9), fence(3, 6), fence(0, 0)]) {
      await assert.rejects(store.writePages(disk, 512, data, other), fenced(fence(3, 5)));
      await assert.rejects(store.clearPages(disk, 0, 512, other), fenced(fence(3, 5)));
    }
    assert.deepEqual(await rangesOf(store, disk), [[0, 512]]);
  });

  check('of racing writers with rising fences none overwrites a later one', async (store, disk) => {
    await store.createDisk(disk, diskBytes);
    const writers = Array.from({ length: 8 }, (_, index) => index + 1);
    const results = await Promise.allSettled(
      writers.map(async (epoch) => {
        await store.raiseFence(disk, fence(epoch, 0));
        for (let page = 0; page < 4; page++) {
          await store.writePages(disk, page * 512, Buffer.alloc(512, epoch), fence(epoch, 0));
        }
      }),
    );
    assert.equal(results[7]?.status, 'fulfilled');
    for (const result of results) assert(result.status === 'fulfilled' || result.reason instanceof FencedError);
    assert((await store.readPages(disk, 0, 2048)).equals(Buffer.alloc(2048, 8)));
  });

  check('a snapshot stays as it was while the disk is written, cleared and fenced anew', async (store, disk) => {
    await withFence(store, disk);
    const before = randomBytes(64 * kib);
    await store.writePages(disk, mib, before, first);
    const snapshotId = await snapshotOf(store, disk, first);
    await store.raiseFence(disk, fence(1, 1));
    await store.writePages(disk, mib, Buffer.alloc(32 * kib, 9), fence(1, 1));
    await store.writePages(disk, 3 * mib, before, fence(1, 1));
    await store.clearPages(disk, mib + 48 * kib, 16 * kib, fence(1, 1));
    const later = await snapshotOf(store, disk, fence(1, 1));

    assert((await store.readPages(disk, mib, 64 * kib, snapshotId)).equals(before));
    assert((await store.readPages(disk, 3 * mib, 64 * kib, snapshotId)).equals(Buffer.alloc(64 * kib)));
    assert.deepEqual(await rangesOf(store, disk, snapshotId), [[mib, 64 * kib]]);
    assert.deepEqual(await rangesOf(store, disk), [
      [mib, 48 * kib],
      [3 * mib, 64 * kib],
    ]);
    assert.deepEqual(await store.listSnapshots(disk), [
      { snapshotId, fence: first },
      { snapshotId: later, fence: fence(1, 1) },
    ]);
  });

  check('a snapshot on an ETag that moved is refused, whatever moved it', async (store, disk) => {
    await withFence(store, disk);
    const moves = [
      () => store.writePages(disk, 0, Buffer.alloc(512, 1), first),
      () => store.clearPages(disk, 0, 512, first),
      () => store.raiseFence(disk, fence(1, 1)),
    ];
    for (const move of moves) {
      const stale = (await store.properties(disk))?.etag ?? '';
      await move();
      await assert.rejects(store.createSnapshot(disk, { ifMatch: stale, fence: first }), FencedError);
    }
    assert.deepEqual(await store.listSnapshots(disk), []);
  });

  check('snapshots and disks may be deleted twice; a disk goes with its snapshots', async (store, disk) => {
    await withFence(store, disk);
    const one = await snapshotOf(store, disk, first);
    const two = await snapshotOf(store, disk, first);
    await store.deleteSnapshot(disk, one);
    await store.deleteSnapshot(disk, one);
    assert.deepEqual(
      (await store.listSnapshots(disk)).map((snapshot) => snapshot.snapshotId),
      [two],
    );
    await assert.rejects(store.readPages(disk, 0, 512, one), errorWithCode('US6022'));
    await store.deleteDisk(disk);
    await store.deleteDisk(disk);
    assert.equal(await store.properties(disk), undefined);
    assert.deepEqual(await store.listSnapshots(disk), []);
    await assert.rejects(store.writePages(disk, 0, Buffer.alloc(512), first), errorWithCode('US6022'));
  });

  check('a disk whose name begins like another’s keeps its own snapshots', async (store, disk) => {
    const other = { ...disk, blobName: `${disk.blobName}.2` };
    await withFence(store, disk);
    await withFence(store, other);
    const snapshotId = await snapshotOf(store, disk, first);
    await snapshotOf(store, other, first);
    assert.deepEqual(await store.listSnapshots(disk), [{ snapshotId, fence: first }]);
    await store.deleteDisk(disk);
    assert.equal((await store.listSnapshots(other)).length, 1);
  });

  check('a copy of a snapshot, where offered, is whole and may be asked for twice', async (store, disk) => {
    const target = { ...disk, blobName: `${disk.blobName}.copy` };
    await withFence(store, disk);
    const data = randomBytes(64 * kib);
    await store.writePages(disk, mib, data, first);
    const snapshotId = await snapshotOf(store, disk, first);
    if (!store.capabilities.copiesFromSnapshotsAreIndependent) {
      await assert.rejects(store.copySnapshot(disk, snapshotId, target));
      return;
    }
    let rounds = 0;
    while (!(await store.copySnapshot(disk, snapshotId, target)).finished) assert(++rounds < 100);
    assert.deepEqual(await store.copySnapshot(disk, snapshotId, target), { finished: true });
    assert.equal((await store.properties(target))?.lengthBytes, diskBytes);
    assert((await store.readPages(target, mib, 64 * kib)).equals(data));
  });

  check('a copy of what a URL reads, where offered, is whole; the URL is asked for once', async (store, disk) => {
    const target = { ...disk, blobName: `${disk.blobName}.copy` };
    await withFence(store, disk);
    const data = randomBytes(64 * kib);
    await store.writePages(disk, mib, data, first);
    const { url } = await store.grantRead(disk, await snapshotOf(store, disk, first), 300);
    let asked = 0;
    const grantSource = async () => {
      asked++;
      return url;
    };
    if (!store.capabilities.copiesFromSnapshotsAreIndependent) {
      await assert.rejects(store.copyFromUrl(grantSource, target));
      return;
    }
    let rounds = 0;
    while (!(await store.copyFromUrl(grantSource, target)).finished) assert(++rounds < 100);
    assert.deepEqual(await store.copyFromUrl(grantSource, target), { finished: true });
    assert.equal(asked, 1);
    await store.writePages(disk, mib, Buffer.alloc(64 * kib, 1), first);
    assert((await store.readPages(target, mib, 64 * kib)).equals(data));
  });
}
