import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeDigestRegion, makeReadDigestWork } from '../../../activities/digest.js';
import { makeBeginFailover, makeUndoFailover } from '../../../activities/failover.js';
import { makeConcludeJob } from '../../../activities/jobs.js';
import {
  makeAbandonResynchronization,
  makeDropSuperseded,
  makeReadResynchronization,
} from '../../../activities/resynchronize.js';
import { asJobName } from '../../../core/domain/ids.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { FencedError } from '../../../core/ports/replica-store.js';
import { transferPrefixOfProtection } from '../../../core/domain/replication/blob-names.js';
import { digestGroupBytes } from '../../../core/domain/replication/resync-geometry.js';
import { list, replace } from '../../../core/records/access.js';
import { receiveCycle } from '../../../core/records/receive-cycle.js';
import { rows } from '../../../core/records/rows.js';
import { sampleStorageAccountId, sampleVaultId } from '../../support/sample-item.js';
import { sampleVm } from '../../support/sample-site.js';
import { inWorld } from '../../support/replication/in-world.js';
import { requireResync, submitResync, untilDigested, watchReads } from '../../support/replication/resync-scene.js';
import type { WorkflowWorld, WorldOptions } from '../../support/replication/workflow-world.js';

const mebibyte = 1024 * 1024;
/** Two disks of 16 chunks. */
const vm = sampleVm({}, 2, mebibyte);
const pagesOfChunk = 128;

/** Changes that no cycle carries: what the broken logs would have told. */
function writeUntold(world: WorkflowWorld, chunks: number[]): void {
  for (const chunk of chunks) world.source.disks[0]?.fill(`untold ${chunk};`, chunk * 65536, chunk * 65536 + 1000);
}

async function transferred(world: WorkflowWorld): Promise<string[]> {
  const names: string[] = [];
  const prefix = transferPrefixOfProtection(world.item.protectionId);
  for await (const name of world.transfers.listBelow(sampleStorageAccountId, prefix)) names.push(name);
  return names;
}

const modes: [string, WorldOptions][] = [
  ['as usual', { vm }],
  ['with every activity run twice', { vm, modes: { activitiesTwice: true } }],
];
for (const [name, options] of modes) {
  test(`a resynchronization sends the chunks that differ, under a new epoch, while the guest writes, ${name}`, async () => {
    await inWorld(options, async (world) => {
      await world.protect();
      world.source.write(0, 10, 'a cycle before');
      await world.source.sendCycle();
      await world.untilApplied(world.source.cycle);
      const before = await world.points();
      writeUntold(world, [3, 4, 9]);
      await requireResync(world);
      const refused = await world.source.sendCycle();
      assert.equal(refused.kind === 'conflict' && refused.conflict.kind, 'resyncRequired');

      const job = await submitResync(world);
      await untilDigested(world);
      const torn = await world.currentItem();
      assert.equal(torn.state, 'Resynchronizing');
      assert.equal(torn.replication.torn, true);
      assert.equal(torn.replication.epoch, 2);
      assert.equal(torn.replication.resync?.cause, 'logTooLarge');
      // The guest goes on: a chunk that is compared already, one that is not, and the other disk.
      world.source.write(0, 3 * pagesOfChunk, 'while it is compared');
      const first = await world.source.sendDifferences(0);
      assert.deepEqual([first.kind, first.differingChunks], ['accepted', 3]);
      world.source.write(1, 5, 'while it is compared');
      assert.equal((await world.source.sendCycle()).kind, 'accepted');
      const second = await world.source.sendDifferences(1);
      assert.deepEqual([second.kind, second.differingChunks], ['accepted', 0]);
      assert.deepEqual(await world.points(), before, 'no point before all of it is applied');
      world.source.write(1, 6, 'the last before the base is closed');
      assert.equal((await world.source.sendCycle({ closesBase: true })).kind, 'accepted');
      await world.wake();
      assert.equal((await world.endedJob(job)).state, 'Succeeded');
      const healed = await world.untilState('Protected');
      assert.equal(healed.replication.torn, false);
      assert.equal(healed.replication.resync, undefined);
      assert.equal(healed.replication.resyncRequired, undefined);
      assert.equal(healed.replication.phase, 'delta');

      world.source.write(0, 77, 'a cycle after');
      await world.source.sendCycle();
      await world.untilApplied(world.source.cycle);
      const points = await world.points();
      assert.deepEqual(
        points.slice(0, before.length).map(({ recoveryPointId }) => recoveryPointId),
        before.map(({ recoveryPointId }) => recoveryPointId),
        'earlier points survive',
      );
      assert.deepEqual(
        points.slice(before.length).map(({ epoch }) => epoch),
        [2, 2],
      );
      for (const point of points) await world.assertPointEqualsSource(point);
      await world.untilQuiet();
      assert.deepEqual(await transferred(world), [], 'nothing is left of what travelled');
      assert.deepEqual(await list(world.table, rows.segments(sampleVaultId, world.item.itemId)), []);
      assert.deepEqual(await list(world.table, rows.resyncScopes(sampleVaultId, world.item.itemId)), []);
    });
  });
}

test('what was received before is made a recovery point before the resynchronization begins', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    world.source.write(0, 10, 'received, not applied');
    await world.source.sendCycle();
    const received = world.source.cycle;
    await requireResync(world);
    await submitResync(world);
    await untilDigested(world);
    const points = await world.points();
    assert.equal(points.at(-1)?.cycle, received);
    const { baseCycle, resync } = (await world.currentItem()).replication;
    assert.equal(baseCycle, received);
    assert.deepEqual(resync?.changedSince, { epoch: 1, cycle: received });
  });
});

test('an operator’s request on a healthy item compares every chunk', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    await submitResync(world, true);
    await untilDigested(world);
    assert.equal((await world.currentItem()).replication.resync?.changedSince, undefined);
  });
});

test('where the site knows what changed, only that is checksummed', async () => {
  const large = sampleVm({}, 1, 12 * mebibyte);
  await inWorld({ vm: large }, async (world) => {
    await world.protect();
    writeUntold(world, [70]);
    await requireResync(world);
    await submitResync(world);
    const reads = watchReads(world);
    const diskId = (await world.currentItem()).disks[0]?.diskId ?? '';
    // Groups of 4 MiB: the second one of three.
    const scope = { diskId, groupBytes: digestGroupBytes, bitmap: Buffer.from([0b010]).toString('base64') };
    await untilDigested(world, [scope]);
    assert.deepEqual(reads(), [], 'what the first copy brought is known without a look at the disk');
    const [region] = (await world.source.sendDifferences(0)).differingChunks === 1 ? ['sent'] : [];
    assert.equal(region, 'sent');
  });
});

test('a failover ends a resynchronization, goes to the newest whole point, and its job is cancelled', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    const whole = world.source.cycle;
    writeUntold(world, [2]);
    await requireResync(world, 'hostCrash');
    const resync = await submitResync(world);
    await untilDigested(world);
    await world.source.sendDifferences(0);
    await world.source.sendCycle();
    const failover = await world.failOver();
    assert.equal(failover.state, 'Succeeded');
    assert.deepEqual(
      failover.errors.map(({ code }) => code),
      ['US3004'],
      'the operator is told that received changes are left out',
    );
    await world.assertFailoverEqualsSource(whole);
    const job = await world.endedJob(resync);
    assert.equal(job.state, 'Cancelled');
    assert.deepEqual(
      job.errors.map(({ code }) => code),
      ['US3072'],
    );
  });
});

test('a resynchronization that the site’s logs break again fails, stays torn, and is begun anew with every chunk compared', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    writeUntold(world, [1, 12]);
    await requireResync(world);
    const first = await submitResync(world);
    await untilDigested(world);
    await world.source.sendDifferences(0);
    await requireResync(world, 'hostCrash');
    assert.equal((await world.endedJob(first)).state, 'Failed');
    const broken = await world.untilState('Protected');
    assert.equal(broken.replication.torn, true);
    assert.equal(broken.replication.resyncRequired?.reason, 'hostCrash');
    assert.equal(broken.replication.resyncRequired.failedAttempts, 1);
    const refused = await world.source.sendCycle();
    assert.equal(refused.kind === 'conflict' && refused.conflict.kind, 'resyncRequired');

    writeUntold(world, [5]);
    const second = await submitResync(world);
    await untilDigested(world);
    const { epoch, resync } = (await world.currentItem()).replication;
    assert.equal(epoch, 3);
    assert.equal(resync?.changedSince, undefined, 'torn disks hold no state that a record could count from');
    for (const disk of [0, 1]) await world.source.sendDifferences(disk);
    await world.source.sendCycle({ closesBase: true });
    await world.wake();
    assert.equal((await world.endedJob(second)).state, 'Succeeded');
    await world.untilState('Protected');
    for (const point of await world.points()) await world.assertPointEqualsSource(point);
  });
});

test('a resynchronization that finished is told so although the next took an epoch, and cannot give that one up', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    const first = await submitResync(world, true);
    await untilDigested(world);
    for (const disk of [0, 1]) await world.source.sendDifferences(disk);
    await world.source.sendCycle({ closesBase: true });
    await world.wake();
    await world.endedJob(first);
    const second = await submitResync(world, true);
    await untilDigested(world);
    const { itemId, protectionId } = world.item;
    const of = (jobName: typeof first, epoch: number) => ({
      vaultId: sampleVaultId,
      itemId,
      protectionId,
      jobName,
      epoch,
    });
    const look = makeReadResynchronization(world.dependencies);
    assert.deepEqual(await look(of(first, 2)), { kind: 'finished' });
    assert.deepEqual(await look(of(second, 3)), { kind: 'comparing' });
    assert.deepEqual(await look(of(second, 2)), { kind: 'superseded' });
    const before = await world.currentItem();
    const failure = {
      code: 'US3071',
      message: 'm',
      possibleCauses: '',
      recommendedAction: '',
      retry: 'later',
    } as const;
    const { epoch: _, ...late } = of(first, 2);
    await makeAbandonResynchronization(world.dependencies)({ ...late, failure });
    assert.deepEqual(await world.currentItem(), before);
    await world.failOver();
    for (const [job, epoch] of [
      [first, 2],
      [second, 3],
    ] as const) {
      assert.deepEqual(await look(of(job, epoch)), { kind: 'superseded' }, 'a failover took the item over');
    }
  });
});

test('what an earlier epoch sends late changes nothing', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    world.source.write(0, 30, 'closed before, announced after');
    const late = await world.source.closeCycle();
    await submitResync(world, true);
    await untilDigested(world);
    const { clock, table } = world;
    const received = await receiveCycle(table, clock, sampleVaultId, world.item.itemId, late);
    assert.equal(received.kind === 'conflict' && received.conflict.kind, 'superseded');
  });
});

test('nothing that a failover still applies is dropped by a clean-up that comes after it took over', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    await world.untilQuiet();
    await world.harness.engine.stop();
    world.source.write(0, 40, 'acknowledged');
    await world.source.sendCycle();
    const { itemId, protectionId } = world.item;
    const jobName = asJobName('failover');
    const stored = await world.storedItem();
    const activeJob = { jobName, scenarioName: 'UnplannedFailover', startedAt: stored.value.createdAt };
    await world.table.transact(stored.ref.partition, [replace(stored, { ...stored.value, activeJob })]);
    const job = { vaultId: sampleVaultId, itemId, protectionId, jobName };
    assert.equal((await makeBeginFailover(world.dependencies)(job)).kind, 'begun');
    const before = await transferred(world);
    assert.deepEqual(await makeDropSuperseded(world.dependencies)(job), { kind: 'superseded' });
    assert.deepEqual(await transferred(world), before);
    assert.equal((await list(world.table, rows.cycles(sampleVaultId, itemId))).length, 2, 'applied and received');
  });
});

test('checksums are made only after no writer of an earlier epoch can reach the disk', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    const { itemId, protectionId } = world.item;
    const stored = await world.storedItem();
    await world.harness.engine.stop();
    const { replication } = stored.value;
    // The epoch is taken in the row, and the host died before it raised the fences.
    const begun = { ...replication, epoch: 2, baseCycle: replication.appliedCycle, torn: true } as const;
    await world.table.transact(stored.ref.partition, [
      replace(stored, { ...stored.value, replication: { ...begun, phase: 'resynchronization' } }),
    ]);
    const key = { vaultId: sampleVaultId, itemId, protectionId, epoch: 2 };
    await makeDigestRegion(world.dependencies)({ ...key, diskIndex: 0, fromBytes: 0 });
    const [disk] = stored.value.disks;
    assert(disk);
    const late = { epoch: 1, cycle: replication.appliedCycle };
    await assert.rejects(world.replicas.writePages(disk.replica, 0, Buffer.alloc(512, 1), late), FencedError);
  });
});

test('what only an operator can mend stops the checksums until replication is resumed', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    await submitResync(world, true);
    await untilDigested(world);
    await world.harness.engine.stop();
    const { itemId, protectionId } = world.item;
    const stored = await world.storedItem();
    const lastError = {
      code: 'US6021',
      message: 'm',
      recommendedAction: 'r',
      at: stored.value.createdAt,
      blocking: true,
    };
    const disks = stored.value.disks.map((disk) => ({ ...disk, digestedThroughBytes: 0 }));
    const replication = { ...stored.value.replication, lastError };
    await world.table.transact(stored.ref.partition, [replace(stored, { ...stored.value, disks, replication })]);
    const key = { vaultId: sampleVaultId, itemId, protectionId, epoch: 2 };
    assert.deepEqual(await makeReadDigestWork(world.dependencies)(key), { kind: 'idle' });
  });
});

test('a failover that is refused after the resynchronization ended leaves the item protected', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    await world.untilQuiet();
    await world.harness.engine.stop();
    const { itemId, protectionId } = world.item;
    const jobName = asJobName('failover');
    const conclude = async (changes: Partial<ProtectedItem['replication']>) => {
      const stored = await world.storedItem();
      const activeJob = { jobName, scenarioName: 'UnplannedFailover', startedAt: stored.value.createdAt };
      const { resync: _, ...rest } = stored.value.replication;
      const item = { ...stored.value, activeJob, state: 'UnplannedFailoverInProgress' as const };
      await world.table.transact(stored.ref.partition, [
        replace(stored, { ...item, replication: { ...rest, ...changes } }),
      ]);
      const job = { vaultId: sampleVaultId, itemId, protectionId, jobName };
      const { event } = await makeUndoFailover(world.dependencies)({ ...job, failures: [] });
      await makeConcludeJob(world.dependencies)({
        vaultId: sampleVaultId,
        jobName,
        outcome: { kind: 'failed', failures: [] },
        item: { itemId, protectionId, event },
      });
      return (await world.currentItem()).state;
    };
    const resync = { jobName: asJobName('resync'), startedAt: '2026-01-05T10:00:00Z', cause: 'requested' };
    assert.equal(await conclude({ resync, phase: 'resynchronization' }), 'Resynchronizing');
    assert.equal(await conclude({ phase: 'delta' }), 'Protected');
  });
});

test('an outage of the table while disks are compared ends nothing: the job looks again when it is over', async () => {
  await inWorld({ vm }, async (world) => {
    await world.protect();
    const job = await submitResync(world, true);
    await untilDigested(world);
    const outageEnds = world.time.now() + 5 * 60_000;
    let failed = 0;
    world.fault = () => {
      if (world.time.now() >= outageEnds) return undefined;
      failed++;
      return 'beforeEffect';
    };
    await world.until(async () => world.time.now() >= outageEnds, 'the outage to end', true);
    assert(failed > 3, `${failed} calls met the outage`);
    assert.equal((await world.currentItem()).replication.resync?.jobName, job);
    for (const disk of [0, 1]) await world.source.sendDifferences(disk);
    await world.source.sendCycle({ closesBase: true });
    await world.wake();
    assert.equal((await world.endedJob(job)).state, 'Succeeded');
  });
});
