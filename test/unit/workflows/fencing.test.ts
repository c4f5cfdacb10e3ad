import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeApplyCycleSlices } from '../../../activities/apply.js';
import { makeBeginFailover } from '../../../activities/failover.js';
import { makeApplyRetention, makeSealRecoveryPoint } from '../../../activities/recovery-points.js';
import {
  makeCommitAppliedCycle,
  makeRaiseFence,
  makeReadReplicationWork,
} from '../../../activities/replication-work.js';
import { planSlices } from '../../../core/domain/replication/next-step.js';
import type { EpochWorkflowInput } from '../../../core/domain/workflows/workflows.js';
import { asJobName } from '../../../core/domain/ids.js';
import { list, read, replace } from '../../../core/records/access.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import { sampleVaultId } from '../../support/sample-item.js';
import { inWorld } from '../../support/replication/in-world.js';
import type { WorkflowWorld } from '../../support/replication/workflow-world.js';

const guid = (n: number): string => `90000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

/** A protected item with one more cycle announced that no workflow applies: the engine is stopped. */
async function withWaitingCycle(
  scene: (world: WorkflowWorld, key: EpochWorkflowInput, cycle: number) => Promise<void>,
) {
  await inWorld({}, async (world) => {
    await world.protect();
    await world.harness.engine.stop();
    world.source.write(0, 50, 'first waiting cycle');
    world.source.write(1, 51, 'first waiting cycle');
    await world.source.sendCycle();
    const { itemId, protectionId } = world.item;
    await scene(world, { vaultId: sampleVaultId, itemId, protectionId, epoch: 1 }, world.source.cycle);
  });
}

async function slicesOf(world: WorkflowWorld, cycle: number) {
  const received = await read(world.table, rows.cycle(sampleVaultId, world.item.itemId, cycle));
  assert(received);
  return planSlices(await world.currentItem(), received.value.manifest).flat();
}

async function takeOver(world: WorkflowWorld, key: EpochWorkflowInput) {
  const jobName = asJobName('failover-job');
  const stored = await world.storedItem();
  const activeJob = { jobName, scenarioName: 'UnplannedFailover', startedAt: '2026-01-05T12:00:00Z' };
  await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, { ...stored.value, activeJob })]);
  const { vaultId, itemId, protectionId } = key;
  return makeBeginFailover(world.dependencies)({ vaultId, itemId, protectionId, jobName });
}

test('a slice of the old epoch that comes late writes nothing after a failover took over', async () => {
  await withWaitingCycle(async (world, key, cycle) => {
    const slices = await slicesOf(world, cycle);
    await makeRaiseFence(world.dependencies)({ ...key, cycle });
    // It had read the item before the failover: only the fence of the blobs stands in its way.
    const before = await world.storedItem();
    const staleRow = await world.table.get(before.ref.partition, before.ref.rowKey);
    assert.deepEqual(await takeOver(world, key), { kind: 'begun', epoch: 2 });
    assert.deepEqual(await takeOver(world, key), { kind: 'begun', epoch: 2 }, 'a second run takes no further epoch');
    const staleTable = {
      get: async (partition: string, rowKey: string) =>
        rowKey === before.ref.rowKey ? staleRow : world.table.get(partition, rowKey),
      getMany: world.table.getMany.bind(world.table),
      query: world.table.query.bind(world.table),
      transact: world.table.transact.bind(world.table),
    };
    const late = { ...world.dependencies, table: staleTable };
    assert.deepEqual(await makeApplyCycleSlices(late)({ ...key, cycle, slices }), { kind: 'superseded' });
    assert.deepEqual(await makeRaiseFence(late)({ ...key, cycle }), { kind: 'superseded' });
    const image = world.source.images.get(cycle - 1);
    for (const [index, disk] of before.value.disks.entries()) {
      await world.assertDiskEquals(disk.replica, image?.[index], `disk ${index} after the late slice`);
    }
    assert.deepEqual(
      await makeSealRecoveryPoint(late)({ ...key, cycle, recoveryPointId: guid(1) }),
      { kind: 'superseded' },
      'nor does it make a point',
    );
    assert.equal((await world.points()).filter(({ state }) => state === 'ready').length, 1);
    assert.deepEqual(await makeReadReplicationWork(world.dependencies)(key), { kind: 'superseded' });
  });
});

test('the new epoch applies and seals the cycle that the old one had begun', async () => {
  await withWaitingCycle(async (world, key, cycle) => {
    await makeRaiseFence(world.dependencies)({ ...key, cycle });
    const [half] = await slicesOf(world, cycle);
    assert(half);
    await makeApplyCycleSlices(world.dependencies)({ ...key, cycle, slices: [half] });
    const intent = world.replicas.faults;
    intent.fail('createSnapshot', 'beforeEffect');
    await assert.rejects(makeSealRecoveryPoint(world.dependencies)({ ...key, cycle, recoveryPointId: guid(1) }));
    await takeOver(world, key);
    const mine = { ...key, epoch: 2 };
    const step = await makeReadReplicationWork(world.dependencies)({ ...mine, failover: true });
    assert(step.kind === 'applyCycle' && step.seal && step.cycle === cycle);
    await makeRaiseFence(world.dependencies)({ ...mine, cycle });
    await makeApplyCycleSlices(world.dependencies)({ ...mine, cycle, slices: step.batches.flat() });
    await makeSealRecoveryPoint(world.dependencies)({ ...mine, cycle, recoveryPointId: guid(2) });
    const point = (await world.points()).at(-1);
    assert.equal(point?.recoveryPointId, guid(2));
    assert.equal(point.epoch, 2);
    await world.assertPointEqualsSource(point);
    assert.equal((await makeReadReplicationWork(world.dependencies)({ ...mine, failover: true })).kind, 'idle');
  });
});

test('a late slice of a cycle finds the fence of the next', async () => {
  await withWaitingCycle(async (world, key, cycle) => {
    const slices = await slicesOf(world, cycle);
    await makeRaiseFence(world.dependencies)({ ...key, cycle });
    await makeApplyCycleSlices(world.dependencies)({ ...key, cycle, slices });
    const before = await world.storedItem();
    const staleRow = await world.table.get(before.ref.partition, before.ref.rowKey);
    await makeSealRecoveryPoint(world.dependencies)({ ...key, cycle, recoveryPointId: guid(1) });
    for (const [index, text] of ['a', 'b'].entries()) world.source.write(index, 50 + index, `next ${text}`);
    await world.source.sendCycle();
    await makeRaiseFence(world.dependencies)({ ...key, cycle: cycle + 1 });
    await makeApplyCycleSlices(world.dependencies)({ ...key, cycle: cycle + 1, slices });
    const staleTable = {
      ...world.table,
      get: async (partition: string, rowKey: string) =>
        rowKey === before.ref.rowKey ? staleRow : world.table.get(partition, rowKey),
      getMany: world.table.getMany.bind(world.table),
      query: world.table.query.bind(world.table),
      transact: world.table.transact.bind(world.table),
    };
    // The row of the sealed cycle stands as the last one; its log is still there.
    const outcome = await makeApplyCycleSlices({ ...world.dependencies, table: staleTable })({ ...key, cycle, slices });
    assert.deepEqual(outcome, { kind: 'superseded' });
    await makeSealRecoveryPoint(world.dependencies)({ ...key, cycle: cycle + 1, recoveryPointId: guid(2) });
    for (const point of await world.points()) await world.assertPointEqualsSource(point);
  });
});

/** Runs until no armed fault is left, each time dying one store call later; then once more, as a duplicate would. */
async function dyingAtEachCall(
  world: WorkflowWorld,
  run: () => Promise<unknown>,
  reset: () => Promise<void>,
): Promise<number> {
  const stores = [world.table.faults, world.replicas.faults, world.transfers.faults];
  let deaths = 0;
  for (const when of ['beforeEffect', 'afterEffect'] as const) {
    for (const store of stores) {
      for (let skip = 0; ; skip++) {
        await reset();
        store.fail('*', when, { skip });
        let died = false;
        try {
          await run();
        } catch {
          died = true;
          deaths++;
        }
        store.clear();
        if (!died) break;
        await run();
      }
    }
  }
  await run();
  return deaths;
}

test('sealing may die at any store call and run again: one point, the right bytes, no snapshot too many', async () => {
  await withWaitingCycle(async (world, key) => {
    let number = 100;
    const deaths = await dyingAtEachCall(
      world,
      async () => {
        const cycle = world.source.cycle;
        await makeSealRecoveryPoint(world.dependencies)({ ...key, cycle, recoveryPointId: guid(number) });
      },
      async () => {
        // Each round seals a cycle of its own.
        const applied = (await world.currentItem()).replication.appliedCycle;
        if (applied === world.source.cycle) {
          world.source.write(number % 2, 52, `round ${number}`);
          await world.source.sendCycle();
        }
        number++;
        const cycle = world.source.cycle;
        await makeRaiseFence(world.dependencies)({ ...key, cycle });
        await makeApplyCycleSlices(world.dependencies)({ ...key, cycle, slices: await slicesOf(world, cycle) });
      },
    );
    assert(deaths > 10, `${deaths} deaths`);
    const points = await world.points();
    for (const point of points) await world.assertPointEqualsSource(point);
    assert.deepEqual(
      points.map(({ cycle }) => cycle),
      Array.from({ length: world.source.cycle - 1 }, (_, index) => index + 2),
    );
    const item = await world.currentItem();
    for (const disk of item.disks) {
      const referred = new Set(
        points
          .flatMap(({ disks }) => disks.filter(({ diskId }) => diskId === disk.diskId))
          .map(({ snapshotId }) => snapshotId),
      );
      const found = (await world.replicas.listSnapshots(disk.replica)).map(({ snapshotId }) => snapshotId);
      assert.deepEqual(found.sort(), [...referred].sort(), 'every snapshot belongs to a point');
    }
    const cycles = await list(world.table, rows.cycles(sampleVaultId, world.item.itemId));
    assert.deepEqual(
      cycles.map(({ value }) => value.manifest.cycle),
      [world.source.cycle],
    );
  });
});

test('retention may die at any store call and run again: what stays is whole, and nothing stays behind', async () => {
  await withWaitingCycle(async (world, key) => {
    const deaths = await dyingAtEachCall(
      world,
      () => makeApplyRetention(world.dependencies)(key),
      async () => {
        for (let round = 0; round < 2; round++) {
          world.time.advance(3 * 3600 * 1000);
          world.source.write(0, 60, `at ${world.time.now()}`);
          await world.source.sendCycle();
          for (
            let cycle = (await world.currentItem()).replication.appliedCycle + 1;
            cycle <= world.source.cycle;
            cycle++
          ) {
            await makeRaiseFence(world.dependencies)({ ...key, cycle });
            await makeApplyCycleSlices(world.dependencies)({ ...key, cycle, slices: await slicesOf(world, cycle) });
            await makeSealRecoveryPoint(world.dependencies)({ ...key, cycle, recoveryPointId: guid(cycle) });
          }
        }
      },
    );
    assert(deaths > 6, `${deaths} deaths`);
    const points = await world.points();
    assert.deepEqual(
      points.map(({ cycle, state }) => [cycle, state]),
      [[world.source.cycle, 'ready']],
    );
    for (const point of points) await world.assertPointEqualsSource(point);
    for (const disk of (await world.currentItem()).disks) {
      assert.equal((await world.replicas.listSnapshots(disk.replica)).length, 1);
    }
  });
});

test('a pinned point is never dropped, also when it is pinned in the very moment', async () => {
  await withWaitingCycle(async (world, key, cycle) => {
    await makeRaiseFence(world.dependencies)({ ...key, cycle });
    await makeApplyCycleSlices(world.dependencies)({ ...key, cycle, slices: await slicesOf(world, cycle) });
    await makeSealRecoveryPoint(world.dependencies)({ ...key, cycle, recoveryPointId: guid(1) });
    world.time.advance(5 * 3600 * 1000);
    const stale = world.table.query.bind(world.table);
    let pinned = false;
    const table = {
      get: world.table.get.bind(world.table),
      getMany: world.table.getMany.bind(world.table),
      transact: world.table.transact.bind(world.table),
      query: async (partition: string, range: { prefix: string }) => {
        const page = await stale(partition, range);
        if (!pinned && range.prefix.startsWith('point!')) {
          pinned = true;
          const [, oldest] = await list(world.table, rows.points(sampleVaultId, world.item.itemId));
          assert(oldest);
          await world.table.transact(partition, [replace(oldest, { ...oldest.value, pinnedBy: ['export'] })]);
        }
        return page;
      },
    };
    assert.deepEqual(await makeApplyRetention({ ...world.dependencies, table })(key), { droppedCount: 0 });
    assert.equal((await world.points()).length, 2);
    assert.deepEqual(await makeApplyRetention(world.dependencies)(key), { droppedCount: 0 });
    for (const point of await world.points()) await world.assertPointEqualsSource(point);
  });
});

test('a cycle without its predecessor is not committed', async () => {
  await withWaitingCycle(async (world, key, cycle) => {
    assert.deepEqual(await makeCommitAppliedCycle(world.dependencies)({ ...key, cycle: cycle + 1 }), {
      kind: 'superseded',
    });
    assert.deepEqual(
      await makeSealRecoveryPoint(world.dependencies)({ ...key, cycle: cycle + 1, recoveryPointId: guid(1) }),
      { kind: 'superseded' },
    );
  });
});
