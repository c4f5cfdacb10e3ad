import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeApplyCycleSlices } from '../../../activities/apply.js';
import { carryNotes, dropNotesBefore, keptChecksums } from '../../../activities/kept-checksums.js';
import { makeRaiseFence } from '../../../activities/replication-work.js';
import { asDiskId } from '../../../core/domain/ids.js';
import { checksumTableBlob } from '../../../core/domain/replication/blob-names.js';
import { emptyGroupMap } from '../../../core/domain/replication/resync-geometry.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { list, replace } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { inWorld } from '../../support/replication/in-world.js';
import { requireResync, submitResync, untilDigested, watchReads } from '../../support/replication/resync-scene.js';
import type { WorkflowWorld, WorldOptions } from '../../support/replication/workflow-world.js';
import { sampleStorageAccountId, sampleVaultId } from '../../support/sample-item.js';
import { sampleVm } from '../../support/sample-site.js';

const mebibyte = 1024 * 1024;
/** Two disks of 16 chunks, the first eight of each with content from the start. */
const vm = sampleVm({}, 2, mebibyte);
const pagesOfChunk = 128;
/** The cycles of initial replication wrote there. */
const whileBaseWasSent = ['0:0', '1:0'];
const allWithContent = [0, 1].flatMap((disk) => Array.from({ length: 8 }, (_, chunk) => `${disk}:${chunk}`));

/** A resynchronization from mark to recovery point; gives the chunks of the replica that were read for it. */
async function resynchronize(
  world: WorkflowWorld,
  options: { reason?: string; all?: boolean } = {},
): Promise<string[]> {
  if (options.all !== true) await requireResync(world, options.reason);
  const reads = watchReads(world);
  const job = await submitResync(world, options.all);
  await untilDigested(world);
  const read = reads();
  for (const disk of [0, 1]) assert.equal((await world.source.sendDifferences(disk)).kind, 'accepted');
  await complete(world, job);
  return read;
}

async function complete(world: WorkflowWorld, job: Awaited<ReturnType<typeof submitResync>>): Promise<void> {
  assert.equal((await world.source.sendCycle({ closesBase: true })).kind, 'accepted');
  await world.wake();
  assert.equal((await world.endedJob(job)).state, 'Succeeded');
  await world.untilState('Protected');
  const points = await world.points();
  for (const point of points) await world.assertPointEqualsSource(point);
}

async function cycle(world: WorkflowWorld, ...writes: [disk: number, chunk: number, text: string][]): Promise<void> {
  for (const [disk, chunk, text] of writes) world.source.write(disk, chunk * pagesOfChunk + 3, text);
  await world.source.sendCycle();
  await world.untilApplied(world.source.cycle);
}

/** The guest’s disk as it was, without a cycle that tells so. */
function revertUntold(world: WorkflowWorld, disk: number, to: Buffer | undefined): void {
  to?.copy(world.source.disks[disk] ?? Buffer.alloc(0));
}

const modes: [string, WorldOptions][] = [
  ['as usual', { vm }],
  ['with every activity run twice', { vm, modes: { activitiesTwice: true } }],
];
for (const [name, options] of modes) {
  test(`of the replica only what changed since its base is read, ${name}`, async () => {
    await inWorld(options, async (world) => {
      await world.protect();
      assert.deepEqual(await resynchronize(world), whileBaseWasSent);
      await cycle(world, [0, 5, 'changed'], [1, 12, 'changed']);
      assert.deepEqual(await resynchronize(world), ['0:5', '1:12']);
      assert.deepEqual(await resynchronize(world), [], 'a resynchronization is a base of its own');
      await cycle(world, [0, 5, 'changed again']);
      const notes = await list(world.table, rows.writtenGroupsOf(sampleVaultId, world.item));
      assert.deepEqual([...new Set(notes.map(({ value }) => value.epoch))], [4], 'notes of earlier bases are gone');
    });
  });

  test(`what a cycle changed and the guest turned back untold is found, ${name}`, async () => {
    await inWorld(options, async (world) => {
      await world.protect();
      const first = Buffer.from(world.source.disks[0] ?? []);
      await cycle(world, [0, 5, 'changed'], [0, 11, 'changed']);
      revertUntold(world, 0, first);
      const read = new Set(await resynchronize(world));
      assert(read.has('0:5') && read.has('0:11'), [...read].join());
    });
  });

  test(`what was sent by a resynchronization is known to the next, ${name}`, async () => {
    await inWorld(options, async (world) => {
      await world.protect();
      const first = Buffer.from(world.source.disks[0] ?? []);
      world.source.disks[0]?.fill('untold', 6 * 65536, 7 * 65536 + 512);
      world.source.disks[0]?.fill(0, 0, 65536);
      assert.deepEqual(await resynchronize(world), whileBaseWasSent);
      revertUntold(world, 0, first);
      // A chunk of zeros that was cleared or written: it is read if the store holds it.
      assert.deepEqual(
        (await resynchronize(world)).filter((chunk) => chunk !== '0:0'),
        [],
      );
    });
  });
}

test('where every chunk is to be compared, nothing is taken on trust', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    assert.deepEqual(await resynchronize(world, { all: true }), allWithContent);
  });
});

test('after a resynchronization that broke off, everything is read', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    world.source.disks[0]?.fill('untold', 6 * 65536, 7 * 65536 + 512);
    await requireResync(world);
    const broken = await submitResync(world);
    await untilDigested(world);
    await world.source.sendDifferences(0);
    await requireResync(world, 'hostCrash');
    assert.equal((await world.endedJob(broken)).state, 'Failed');
    await world.untilState('Protected');
    const reads = watchReads(world);
    const job = await submitResync(world);
    await untilDigested(world);
    assert.deepEqual(reads(), allWithContent);
    for (const disk of [0, 1]) await world.source.sendDifferences(disk);
    await complete(world, job);
  });
});

test('a cycle is noted before its first page is written', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    await world.untilQuiet();
    await world.harness.engine.stop();
    world.source.write(0, 5 * pagesOfChunk, 'changed');
    await world.source.sendCycle();
    const { itemId, protectionId } = world.item;
    const key = { vaultId: sampleVaultId, itemId, protectionId, epoch: 1, cycle: world.source.cycle };
    await makeRaiseFence(world.dependencies)(key);
    world.replicas.faults.fail('writePages', 'beforeEffect');
    const slices = [{ diskIndex: 0, sliceIndex: 0, sliceCount: 1 }];
    await assert.rejects(makeApplyCycleSlices(world.dependencies)({ ...key, slices }));
    const notes = await list(world.table, rows.writtenGroupsOf(sampleVaultId, world.item));
    const [note] = notes.filter(({ ref }) => ref.rowKey === rows.writtenGroups(sampleVaultId, world.item, 0, 1).rowKey);
    assert.equal(Buffer.from(note?.value.bitmap ?? '', 'base64')[0], 0b10_0001);
  });
});

const knownOf = (entries: Buffer | undefined) =>
  Array.from({ length: 8 }, (_, chunk) => entries?.subarray(chunk * 16, (chunk + 1) * 16).some((byte) => byte > 0));

test('of regions that the site’s record spared, the earlier notes count on', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    await cycle(world, [0, 5, 'changed']);
    const item = await world.currentItem();
    const source = { vaultId: sampleVaultId, item, diskIndex: 0 };
    const whole = { fromBytes: 0, toBytes: mebibyte };
    const { groupBytes, bitmap } = emptyGroupMap(mebibyte);
    const first = Buffer.from(bitmap);
    first[0] = 1;
    // Any chunk of a region in scope: the region was digested, and its entries are new.
    await carryNotes(world.table, source, { from: 1, to: 2 }, { groupBytes, bitmap: first });
    assert.deepEqual(knownOf(await keptChecksums(world, source, whole, 2)), Array(8).fill(true));
    await carryNotes(world.table, source, { from: 1, to: 3 }, { groupBytes, bitmap });
    const known = [false, true, true, true, true, false, true, true];
    assert.deepEqual(knownOf(await keptChecksums(world, source, whole, 3)), known);
    await dropNotesBefore(world.table, source, 3);
    const notes = await list(world.table, rows.writtenGroupsOf(sampleVaultId, item));
    assert.deepEqual([...new Set(notes.map(({ value }) => value.epoch))], [3]);
    assert.equal(await keptChecksums(world, source, whole, 1), undefined, 'without notes nothing is believed');
  });
});

test('what a cycle changed is found after a resynchronization that passed over its disk, and turned back untold', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    const first = Buffer.from(world.source.disks[0] ?? []);
    await cycle(world, [0, 5, 'changed']);
    await requireResync(world);
    const partial = await submitResync(world);
    const { groupBytes, bitmap } = emptyGroupMap(mebibyte);
    const scopes = (await world.currentItem()).disks.map(({ diskId, lun }) => {
      const marked = Buffer.from(bitmap);
      if (lun === 1) marked[0] = 1;
      return { diskId, groupBytes, bitmap: marked.toString('base64') };
    });
    await untilDigested(world, scopes);
    assert.equal((await world.source.passOver(0)).kind, 'accepted');
    assert.equal((await world.source.sendDifferences(1)).kind, 'accepted');
    await complete(world, partial);
    revertUntold(world, 0, first);
    assert((await resynchronize(world)).includes('0:5'));
  });
});

test('a cycle applied without noting what it wrote takes the trust away', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    await cycle(world, [0, 5, 'changed']);
    await world.untilQuiet();
    const stored = await world.storedItem();
    const { checksums, ...replication } = stored.value.replication;
    assert.deepEqual(checksums, { epoch: 1, throughCycle: replication.appliedCycle });
    // As a version would leave it that knows nothing of kept checksums.
    const stale = { ...replication, checksums: { epoch: 1, throughCycle: replication.appliedCycle - 1 } };
    await world.table.transact(stored.ref.partition, [replace(stored, { ...stored.value, replication: stale })]);
    await cycle(world, [0, 6, 'noted again']);
    assert.equal((await world.currentItem()).replication.checksums, undefined);
    assert.deepEqual(await resynchronize(world), allWithContent);
  });
});

test('where checksums cannot be kept, replication goes on, and the part is read', async () => {
  await inWorld({ vm }, async (world) => {
    const { replicas } = world;
    const createDisk = replicas.createDisk.bind(replicas);
    replicas.createDisk = (blob, lengthBytes) =>
      blob.blobName.endsWith('.checksums')
        ? Promise.reject(new Error('this account takes no page blobs'))
        : createDisk(blob, lengthBytes);
    await world.protect();
    assert.deepEqual(await resynchronize(world), allWithContent);
  });
});

test('a commit deletes what is kept', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    const { item, replicas } = world;
    const table = () =>
      replicas.properties(
        checksumTableBlob(sampleStorageAccountId, item.protectionId, item.disks[0]?.diskId ?? asDiskId('')),
      );
    assert.notEqual(await table(), undefined);
    assert.equal((await world.failOver()).state, 'Succeeded');
    const commit = await world.operate(jobKinds.commitFailover, workflowNames.commitFailover, 'commitStarted');
    assert.equal((await world.endedJob(commit)).state, 'Succeeded');
    assert.equal(await table(), undefined);
    assert.deepEqual(await list(world.table, rows.writtenGroupsOf(sampleVaultId, item)), []);
  });
});
