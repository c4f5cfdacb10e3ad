import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JobName } from '../../../core/domain/ids.js';
import { testVmId, withTest } from '../../../core/domain/failover/test-failover.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import { allowedOperations } from '../../../core/domain/protected-item/state-table.js';
import { workflowNames, type RecoveryPointChoice } from '../../../core/domain/workflows/workflows.js';
import { replace } from '../../../core/records/access.js';
import { inWorld } from '../../support/replication/in-world.js';
import { sampleNetworkId, type WorkflowWorld } from '../../support/replication/workflow-world.js';

/** What the door does: the item's row names the test, and no state moves. */
async function begin(world: WorkflowWorld, recoveryPoint: RecoveryPointChoice = { kind: 'latest' }): Promise<JobName> {
  const stored = await world.storedItem();
  return world.submit(jobKinds.testFailover, workflowNames.testFailover, { recoveryPoint }, (job) => [
    replace(stored, {
      ...stored.value,
      testFailover: {
        jobName: job.jobName,
        state: 'inProgress',
        startedAt: job.createdAt,
        networkId: sampleNetworkId,
        disks: [],
      },
    }),
  ]);
}

async function cleanUp(world: WorkflowWorld, comments = 'the application came up'): Promise<JobName> {
  const stored = await world.storedItem();
  return world.submit(jobKinds.testFailoverCleanUp, workflowNames.testFailoverCleanUp, { comments }, (job) => [
    replace(stored, withTest(stored.value, { state: 'cleaningUp', cleanUpJobName: job.jobName })),
  ]);
}

const up = (world: WorkflowWorld, jobName: JobName) =>
  world.until(async () => (await world.job(jobName)).state === 'Suspended', 'the test VM to be up');

async function sendCycle(world: WorkflowWorld, text: string): Promise<void> {
  world.source.write(0, 20, text);
  assert.equal((await world.source.sendCycle()).kind, 'accepted');
  await world.untilApplied(world.source.cycle);
}

async function assertNothingLeft(world: WorkflowWorld): Promise<void> {
  const item = await world.currentItem();
  assert.equal(item.testFailover, undefined);
  assert.equal(world.compute.vms.size, 0);
  assert.ok((await world.points()).every(({ pinnedBy }) => pinnedBy.length === 0));
}

for (const activitiesTwice of [false, true]) {
  test(`a test VM runs a copy of the point beside replication until it is cleaned up (activities twice: ${activitiesTwice})`, async () => {
    await inWorld({ modes: { activitiesTwice } }, async (world) => {
      await world.protect();
      world.source.write(1, 30, 'received when the test begins');
      await world.source.sendCycle();
      const tested = world.source.cycle;
      const jobName = await begin(world);
      await up(world, jobName);
      const { tasks } = await world.job(jobName);
      assert.ok(
        tasks.every(({ state }) => state === 'Succeeded'),
        'all that it does is done; it waits for the operator',
      );
      const item = await world.currentItem();
      assert.deepEqual([item.state, item.replication.phase, item.replication.epoch], ['Protected', 'delta', 1]);
      assert.equal(item.testFailover?.point?.cycle, tested);
      for (const [index, { blob }] of item.testFailover.disks.entries()) {
        await world.assertDiskEquals(blob, world.source.images.get(tested)?.[index], `test disk ${index}`);
      }
      const vm = world.compute.vms.get(testVmId(item));
      assert.deepEqual([vm?.powerState, vm?.name, vm?.networkId], ['running', 'sql-01-test', sampleNetworkId]);
      assert.deepEqual(allowedOperations(item), ['TestFailoverCleanup', 'UnplannedFailover', 'RepairReplication']);

      await sendCycle(world, 'while the test VM runs');
      await sendCycle(world, 'and again');
      assert.equal((await world.points()).at(-1)?.cycle, world.source.cycle, 'replication never paused');
      assert.equal((await world.currentItem()).lastSuccessfulTestFailoverAt, undefined, 'not before the clean-up');

      const cleaning = await cleanUp(world);
      assert.equal((await world.endedJob(cleaning)).state, 'Succeeded');
      const drill = await world.job(jobName);
      assert.deepEqual([drill.state, drill.comments], ['Succeeded', 'the application came up']);
      assert.ok((await world.currentItem()).lastSuccessfulTestFailoverAt);
      await assertNothingLeft(world);
      for (const { blob } of item.testFailover.disks) assert.equal(await world.replicas.properties(blob), undefined);
      await world.untilQuiet();
      for (const point of await world.points()) await world.assertPointEqualsSource(point);
    });
  });
}

test('a test that fails takes back what it made, and the next one succeeds', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    world.compute.faults.fail('startVm', 'afterEffect', { times: 100, error: () => new Error('quota exceeded') });
    const failed = await world.endedJob(await begin(world));
    world.compute.faults.clear();
    assert.equal(failed.state, 'Failed');
    assert.match(failed.errors[0]?.message ?? '', /quota exceeded/);
    await assertNothingLeft(world);
    await sendCycle(world, 'replication goes on');
    const again = await begin(world, { kind: 'latestProcessed' });
    await up(world, again);
    assert.equal((await world.endedJob(await cleanUp(world))).state, 'Succeeded');
    await assertNothingLeft(world);
  });
});

test('a clean-up that fails leaves the test to be cleaned up again', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    const jobName = await begin(world);
    await up(world, jobName);
    world.compute.faults.fail('deleteVm', 'beforeEffect', { times: 100, error: () => new Error('locked') });
    assert.equal((await world.endedJob(await cleanUp(world))).state, 'Failed');
    world.compute.faults.clear();
    const item = await world.currentItem();
    assert.equal(item.testFailover?.state, 'waiting');
    assert.ok(allowedOperations(item).includes('TestFailoverCleanup'));
    assert.equal((await world.endedJob(await cleanUp(world))).state, 'Succeeded');
    assert.equal((await world.job(jobName)).state, 'Succeeded');
    await assertNothingLeft(world);
  });
});

test('a disaster during the drill: the failover goes its way beside the test VM', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    const jobName = await begin(world);
    await up(world, jobName);
    await sendCycle(world, 'after the test began');
    assert.equal((await world.failOver()).state, 'Succeeded');
    await world.assertFailoverEqualsSource(world.source.cycle);
    assert.equal(world.compute.vms.size, 2, 'the sweep takes the test VM away');
  });
});
