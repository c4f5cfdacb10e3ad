import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jobKinds, type Job } from '../../../core/domain/jobs/job.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { inWorld } from '../../support/replication/in-world.js';
import type { WorkflowWorld } from '../../support/replication/workflow-world.js';

async function changeTo(world: WorkflowWorld, recoveryPointId: string): Promise<Job> {
  const job = await world.operate(
    jobKinds.changeRecoveryPoint,
    workflowNames.changeRecoveryPoint,
    'pointChangeStarted',
    { recoveryPoint: { kind: 'point', recoveryPointId } },
  );
  return world.endedJob(job);
}

/** Protected, with three points, and failed over to the last. */
async function failedOver(world: WorkflowWorld): Promise<{ cycle: number; recoveryPointId: string }[]> {
  await world.protect();
  for (let round = 0; round < 2; round++) {
    world.source.write(round, 10 + round, `round ${round}`);
    await world.source.sendCycle();
    await world.untilApplied(world.source.cycle);
  }
  await world.untilQuiet();
  const points = await world.points();
  assert.equal(points.length, 3);
  assert.equal((await world.failOver()).state, 'Succeeded');
  await world.untilState('FailoverCommitPending');
  return points;
}

/** One VM, of this cycle's disks; nothing of another point's is left, and no point is held but this one. */
async function assertRuns(world: WorkflowWorld, cycle: number, gone: readonly { blobName: string }[]): Promise<void> {
  const item = await world.untilState('FailoverCommitPending');
  await world.assertFailoverEqualsSource(cycle);
  assert.deepEqual([item.failover?.change, item.failover?.replaced], [undefined, undefined]);
  const [vm, ...others] = [...world.compute.vms.values()];
  assert.deepEqual([vm?.powerState, others.length], ['running', 0]);
  assert.deepEqual(
    vm?.disks.map(({ blob }) => blob),
    item.failover?.disks.map(({ blob }) => blob),
  );
  for (const blob of gone) assert.equal(await world.replicas.properties(blob as never), undefined);
  for (const point of await world.points()) assert.equal(point.pinnedBy.length, point.cycle === cycle ? 1 : 0);
}

for (const activitiesTwice of [false, true]) {
  test(`the VM runs from the other point, and then from the first again (activities twice: ${activitiesTwice})`, async () => {
    await inWorld({ modes: { activitiesTwice } }, async (world) => {
      const [first, , last] = await failedOver(world);
      assert.ok(first && last);
      const { failover } = await world.currentItem();
      const before = failover?.disks.map(({ blob }) => blob) ?? [];
      assert.equal((await changeTo(world, first.recoveryPointId)).state, 'Succeeded');
      await assertRuns(world, first.cycle, before);
      const changed = (await world.currentItem()).failover;
      assert.deepEqual(
        [changed?.source, changed?.networkId],
        [failover?.source, failover?.networkId],
        'what a failback and the next VM are made by is kept',
      );
      assert.ok(changed?.source);
      const between = (await world.currentItem()).failover?.disks.map(({ blob }) => blob) ?? [];
      assert.equal((await changeTo(world, last.recoveryPointId)).state, 'Succeeded');
      await assertRuns(world, last.cycle, between);
      const commit = await world.operate(jobKinds.commitFailover, workflowNames.commitFailover, 'commitStarted');
      assert.equal((await world.endedJob(commit)).state, 'Succeeded');
      assert.deepEqual(await world.points(), []);
    });
  });
}

test('a change that fails while it copies leaves the VM as it was; one that fails later is run again', async () => {
  await inWorld({}, async (world) => {
    const [first, , last] = await failedOver(world);
    assert.ok(first && last);
    const { calls } = world.replicas.faults;
    world.replicas.faults.fail('createDisk', 'beforeEffect', { times: 100, error: () => new Error('storage is full') });
    const failed = await changeTo(world, first.recoveryPointId);
    assert.equal(failed.state, 'Failed');
    assert.ok(calls.includes('createDisk'));
    world.replicas.faults.clear();
    await assertRuns(world, last.cycle, []);

    world.compute.faults.fail('createVm', 'beforeEffect', { times: 100, error: () => new Error('no capacity') });
    assert.equal((await changeTo(world, first.recoveryPointId)).state, 'Failed');
    world.compute.faults.clear();
    await world.untilState('FailoverCommitPending');
    const commit = await world.operate(jobKinds.commitFailover, workflowNames.commitFailover, 'commitStarted');
    assert.equal((await world.endedJob(commit)).errors[0]?.code, 'US4009', 'without its VM it is not committed');
    await world.untilState('FailoverCommitPending');
    assert.equal((await world.points()).length, 3, 'and no point is given up');
    assert.equal((await changeTo(world, last.recoveryPointId)).state, 'Succeeded');
    await assertRuns(world, last.cycle, []);
  });
});
