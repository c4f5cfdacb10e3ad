import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testVmId, withTest } from '../../../core/domain/failover/test-failover.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { read, replace } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import {
  resumedAfterSynchronizing,
  beginFailback,
  commitAndReprotect,
  complete,
  failedOver,
  heardOf,
  say,
  untilRound,
} from '../../support/replication/failback-scene.js';
import { inWorld } from '../../support/replication/in-world.js';
import type { WorkflowWorld } from '../../support/replication/workflow-world.js';
import { sampleVaultId } from '../../support/sample-item.js';

/**
 * In each scene the host dies once after each activity that the workflows run, when its effect is there and nobody knows of it:
 * every boundary between two activities is one that a host did not survive.
 */
const whileHostsDie = (scene: (world: WorkflowWorld) => Promise<void>) =>
  inWorld({}, async (world) => {
    await scene(world);
    assert.ok(world.deaths >= 5, `the host died ${world.deaths} times`);
  });

/** One VM, or none, and its disks: nothing else lies where disks of VMs lie. */
async function assertNoOrphan(world: WorkflowWorld): Promise<void> {
  await world.untilQuiet();
  const item = await world.currentItem();
  const kept = [...(item.failover?.disks ?? []), ...(item.testFailover?.disks ?? [])].map(({ blob }) => blob.blobName);
  const replicas = item.disks.map(({ replica }) => replica.blobName);
  const found = world.replicas.blobNames().filter((name) => name.endsWith('.vhd'));
  assert.deepEqual(found.sort(), [...kept, ...replicas].sort());
  const vms = (item.failover?.vmArmId === undefined ? 0 : 1) + (item.testFailover?.state === 'waiting' ? 1 : 0);
  assert.equal(world.compute.vms.size, vms);
}

test('a planned failover, a change of its point and its commit survive a host that dies after every activity', async () => {
  await whileHostsDie(async (world) => {
    await world.protect();
    await heardOf(world);
    world.source.write(1, 30, 'an earlier point');
    await world.source.sendCycle();
    await world.untilApplied(world.source.cycle);
    world.diesAtEveryActivity = true;
    const planned = await world.operate(
      jobKinds.plannedFailover,
      workflowNames.plannedFailover,
      'plannedFailoverStarted',
    );
    await world.until(async () => (await world.currentItem()).replication.sourceLock === planned, 'the lock');
    world.source.write(0, 40, 'the last write');
    await world.source.sendCycle({ finalOf: planned });
    assert.equal((await world.endedJob(planned)).state, 'Succeeded');
    await world.untilState('FailoverCommitPending');
    await world.assertFailoverEqualsSource(world.source.cycle);
    await assertNoOrphan(world);
    const [point] = await world.points();
    assert(point);
    const change = await world.operate(
      jobKinds.changeRecoveryPoint,
      workflowNames.changeRecoveryPoint,
      'pointChangeStarted',
      { recoveryPoint: { kind: 'point', recoveryPointId: point.recoveryPointId } },
    );
    assert.equal((await world.endedJob(change)).state, 'Succeeded');
    await world.untilState('FailoverCommitPending');
    await world.assertFailoverEqualsSource(point.cycle);
    const commit = await world.operate(jobKinds.commitFailover, workflowNames.commitFailover, 'commitStarted');
    assert.equal((await world.endedJob(commit)).state, 'Succeeded');
    await world.untilState('FailoverCommitted');
    assert.deepEqual(await world.points(), []);
    await assertNoOrphan(world);
  });
});

test('a failover to what was received last, beside a drill that it ends, survives a host that dies after every activity', async () => {
  await whileHostsDie(async (world) => {
    await world.protect();
    world.diesAtEveryActivity = true;
    const stored = await world.storedItem();
    const drill = await world.submit(
      jobKinds.testFailover,
      workflowNames.testFailover,
      { recoveryPoint: { kind: 'latest' } },
      ({ jobName, createdAt }) => [
        replace(stored, {
          ...stored.value,
          testFailover: { jobName, state: 'inProgress', startedAt: createdAt, disks: [] },
        }),
      ],
    );
    await world.until(async () => (await world.job(drill)).state === 'Suspended', 'the test VM');
    const item = await world.currentItem();
    assert.equal(world.compute.vms.get(testVmId(item))?.powerState, 'running');
    await assertNoOrphan(world);
    const tested = await world.storedItem();
    const cleaning = await world.submit(
      jobKinds.testFailoverCleanUp,
      workflowNames.testFailoverCleanUp,
      { comments: '' },
      ({ jobName }) => [replace(tested, withTest(tested.value, { state: 'cleaningUp', cleanUpJobName: jobName }))],
    );
    assert.equal((await world.endedJob(cleaning)).state, 'Succeeded');
    await assertNoOrphan(world);
    world.source.write(1, 31, 'received and not applied');
    await world.source.sendCycle();
    assert.equal((await world.failOver({ kind: 'latest' })).state, 'Succeeded');
    await world.untilState('FailoverCommitPending');
    await world.assertFailoverEqualsSource(world.source.cycle);
    await assertNoOrphan(world);
  });
});

test('a failback, its commit and reverse replication survive a host that dies after every activity', async () => {
  await whileHostsDie(async (world) => {
    await failedOver(world);
    world.diesAtEveryActivity = true;
    const jobName = await resumedAfterSynchronizing(world);
    await complete(world, jobName);
    await commitAndReprotect(world);
    await assertNoOrphan(world);
    assert.equal((await world.source.sendCycle()).kind, 'accepted');
    await world.untilApplied(world.source.cycle);
  });
});

test('what fails, and is taken back while the host dies after every activity, leaves nothing', async () => {
  await whileHostsDie(async (world) => {
    await world.protect();
    world.diesAtEveryActivity = true;
    world.compute.faults.fail('startVm', 'afterEffect', { times: 1000, error: () => new Error('quota exceeded') });
    assert.equal((await world.failOver()).state, 'Failed');
    await world.untilState('UnplannedFailoverFailed');
    await assertNoOrphan(world);
    world.compute.faults.clear();
    assert.equal((await world.failOver()).state, 'Succeeded');
    await world.untilState('FailoverCommitPending');
    await assertNoOrphan(world);
  });
  await whileHostsDie(async (world) => {
    await failedOver(world);
    world.diesAtEveryActivity = true;
    const jobName = await beginFailback(world, false);
    await untilRound(world, true);
    await say(world, jobName, 'cancel');
    assert.equal((await world.endedJob(jobName)).state, 'Cancelled');
    await world.untilState('FailoverCommitted');
    assert.equal([...world.compute.vms.values()][0]?.powerState, 'running');
    await assertNoOrphan(world);
  });
});

test('enabling and disabling replication survive a host that dies after every activity', async () => {
  await whileHostsDie(async (world) => {
    world.diesAtEveryActivity = true;
    await world.protect();
    await world.operate(jobKinds.disableProtection, workflowNames.disableProtection, 'disablingStarted', {
      leaveSite: false,
    });
    const item = rows.item(sampleVaultId, world.item.itemId);
    for (let look = 0; (await read(world.table, item)) !== undefined; look++) {
      assert.ok(look < 2000, 'the item is not removed');
      await world.answerCommands();
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (look % 20 === 19) world.time.advance(1000);
    }
    assert.deepEqual(world.replicas.blobNames(), []);
  });
});
