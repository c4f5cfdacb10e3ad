import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JobName } from '../../../core/domain/ids.js';
import { jobKinds, type Job } from '../../../core/domain/jobs/job.js';
import { requestCancel } from '../../../core/domain/jobs/transitions.js';
import { allowedOperations } from '../../../core/domain/protected-item/state-table.js';
import type { RelayCommand } from '../../../core/domain/relay-protocol/wire.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { list, read, replace } from '../../../core/records/access.js';
import { markResyncRequired } from '../../../core/records/receive-cycle.js';
import { rows } from '../../../core/records/rows.js';
import { inWorld } from '../../support/replication/in-world.js';
import type { WorkflowWorld } from '../../support/replication/workflow-world.js';
import { sampleVaultId } from '../../support/sample-item.js';

const begin = (world: WorkflowWorld): Promise<JobName> =>
  world.operate(jobKinds.plannedFailover, workflowNames.plannedFailover, 'plannedFailoverStarted');

/** The relay was heard of at this time; the far future stands for a relay that never falls silent. */
async function heardOf(world: WorkflowWorld, lastHeartbeatAt = '2100-01-01T00:00:00Z'): Promise<void> {
  const stored = await world.storedItem();
  const item = { ...stored.value, replication: { ...stored.value.replication, lastHeartbeatAt } };
  await world.table.transact(stored.ref.partition, [replace(stored, item)]);
}

async function order(world: WorkflowWorld): Promise<RelayCommand> {
  return world.until(
    async () => {
      const [found] = await list(world.table, rows.commands(world.item.relayId));
      return found?.value.command.kind === 'prepareFailover' && found.value.command;
    },
    'the order to shut down',
    true,
  );
}

/** Up to the point where the source is off and locked. */
async function shutDown(world: WorkflowWorld): Promise<JobName> {
  const jobName = await begin(world);
  const command = await order(world);
  assert.ok(command.kind === 'prepareFailover');
  assert.equal(command.lockId, jobName, 'the row names the lock before the relay is told');
  assert.equal((await world.currentItem()).replication.sourceLock, jobName);
  await world.answerCommands();
  return jobName;
}

const inProtectedWorld = (scene: (world: WorkflowWorld) => Promise<void>) =>
  inWorld({}, async (world) => {
    await world.protect();
    await heardOf(world);
    await scene(world);
  });

/** The source is free, the failover left nothing, and cycles go on to whole points. */
async function assertGivenBack(
  world: WorkflowWorld,
  job: Job,
  code: string,
  state: Job['state'] = 'Failed',
): Promise<void> {
  assert.equal(job.state, state);
  assert.deepEqual(
    job.errors.map((error) => error.code),
    [code],
  );
  const item = await world.untilState('Protected');
  assert.deepEqual(
    [item.replication.sourceLock, item.replication.finalCycle, item.failover, item.replication.phase],
    [undefined, undefined, undefined, 'delta'],
  );
  assert.equal(world.compute.vms.size, 0);
  assert.ok((await world.points()).every(({ pinnedBy }) => pinnedBy.length === 0));
  if (item.replication.resyncRequired !== undefined) return;
  world.source.write(1, 60, 'the source goes on');
  assert.equal((await world.source.sendCycle()).kind, 'accepted');
  await world.untilApplied(world.source.cycle);
  await world.untilQuiet();
  const newest = (await world.points()).at(-1);
  assert.equal(newest?.cycle, world.source.cycle);
  for (const point of await world.points()) await world.assertPointEqualsSource(point);
}

test('a planned failover goes to exactly what the source wrote last, and nothing follows it', async () => {
  await inProtectedWorld(async (world) => {
    world.source.write(0, 40, 'closed before the shutdown');
    const earlier = await world.source.closeCycle();
    const jobName = await shutDown(world);
    await world.source.announce(earlier);
    await world.untilApplied(world.source.cycle);
    assert.equal((await world.currentItem()).state, 'PlannedFailoverInProgress', 'an earlier cycle is not the last');

    world.source.write(1, 41, 'the last write');
    await world.source.sendCycle({ finalOf: jobName });
    const finalCycle = world.source.cycle;
    const late = await world.source.sendCycle();
    assert.ok(late.kind === 'conflict' && late.conflict.kind === 'afterFinal', JSON.stringify(late));
    await world.wake();
    const job = await world.endedJob(jobName);
    assert.deepEqual([job.state, job.errors], ['Succeeded', []]);
    const item = await world.untilState('FailoverCommitPending');
    assert.equal(item.failover?.kind, 'planned');
    await world.assertFailoverEqualsSource(finalCycle);
    assert.equal(world.compute.vms.size, 1);
    assert.equal((await world.endedJob(await commit(world))).state, 'Succeeded');
  });
});

const commit = (world: WorkflowWorld): Promise<JobName> =>
  world.operate(jobKinds.commitFailover, workflowNames.commitFailover, 'commitStarted');

test('a relay that cannot shut the source down fails the job, and replication goes on', async () => {
  await inProtectedWorld(async (world) => {
    const jobName = await begin(world);
    await order(world);
    await world.answerCommands('failed');
    await assertGivenBack(world, await world.endedJob(jobName), 'US5199');
  });
});

test('a final cycle of a lock that was lifted is none for the next: the source ran in between', async () => {
  await inProtectedWorld(async (world) => {
    const first = await begin(world);
    await order(world);
    world.source.write(0, 40, 'under the first lock');
    const stale = await world.source.closeCycle({ finalOf: first });
    await world.answerCommands('failed');
    assert.equal((await world.endedJob(first)).state, 'Failed');
    await world.untilState('Protected');

    const second = await shutDown(world);
    assert.equal((await world.source.announce(stale)).kind, 'accepted');
    await world.untilApplied(stale.cycle);
    assert.equal((await world.currentItem()).replication.finalCycle, undefined);
    world.source.write(0, 41, 'written since');
    await world.source.sendCycle({ finalOf: second });
    await world.wake();
    assert.equal((await world.endedJob(second)).state, 'Succeeded');
    await world.assertFailoverEqualsSource(world.source.cycle);
  });
});

test('a relay that falls silent before the last changes are here fails the job; before the start it is not begun', async () => {
  await inProtectedWorld(async (world) => {
    const jobName = await shutDown(world);
    await heardOf(world, (await world.clock.now()).toString());
    world.time.advance(6 * 60_000);
    await assertGivenBack(world, await world.endedJob(jobName), 'US4015');
  });
  await inWorld({}, async (world) => {
    await world.protect();
    world.time.advance(6 * 60_000);
    const jobName = await begin(world);
    await assertGivenBack(world, await world.endedJob(jobName), 'US4015');
    assert.deepEqual(await list(world.table, rows.commands(world.item.relayId)), []);
  });
});

test('a source that must be resynchronized is given back', async () => {
  await inProtectedWorld(async (world) => {
    const jobName = await shutDown(world);
    const { protectionId, replication } = await world.currentItem();
    await markResyncRequired(world.table, sampleVaultId, world.item.itemId, {
      protectionId,
      epoch: replication.epoch,
      reason: 'hostCrash',
      message: 'the host crashed',
      at: (await world.clock.now()).toString(),
    });
    await world.wake();
    await assertGivenBack(world, await world.endedJob(jobName), 'US4012');
    const item = await world.currentItem();
    assert.deepEqual(allowedOperations(item), [
      'TestFailover',
      'UnplannedFailover',
      'RepairReplication',
      'DisableProtection',
    ]);
  });
});

test('a failure after the disks were taken over gives them back, and the failover can be run again', async () => {
  await inProtectedWorld(async (world) => {
    const epoch = (await world.currentItem()).replication.epoch;
    world.compute.faults.fail('createVm', 'beforeEffect', {
      times: 100,
      error: () => new Error('no capacity in the region'),
    });
    const jobName = await shutDown(world);
    world.source.write(1, 41, 'the last write');
    await world.source.sendCycle({ finalOf: jobName });
    await world.wake();
    const job = await world.endedJob(jobName);
    world.compute.faults.clear();
    await assertGivenBack(world, job, job.errors[0]?.code ?? '');
    assert.match(job.errors[0]?.message ?? '', /no capacity/);
    assert.equal((await world.currentItem()).replication.epoch, epoch + 1);

    const again = await shutDown(world);
    world.source.write(0, 42, 'the very last write');
    await world.source.sendCycle({ finalOf: again });
    await world.wake();
    assert.equal((await world.endedJob(again)).state, 'Succeeded');
    await world.assertFailoverEqualsSource(world.source.cycle);
    assert.equal(world.compute.vms.size, 1);
  });
});

test('a paused item is told so before its source is touched', async () => {
  await inProtectedWorld(async (world) => {
    const stored = await world.storedItem();
    const item = { ...stored.value, replication: { ...stored.value.replication, paused: true } };
    await world.table.transact(stored.ref.partition, [replace(stored, item)]);
    const jobName = await begin(world);
    const job = await world.endedJob(jobName);
    assert.deepEqual(
      job.errors.map(({ code }) => code),
      ['US4013'],
    );
    assert.equal((await world.untilState('Protected')).replication.sourceLock, undefined);
  });
});

test('a planned failover that waits for the last changes can be cancelled: the source runs again', async () => {
  await inProtectedWorld(async (world) => {
    const jobName = await shutDown(world);
    const stored = await read(world.table, rows.job(sampleVaultId, jobName));
    assert(stored);
    const now = (await world.clock.now()).toString();
    await world.table.transact(stored.ref.partition, [replace(stored, requestCancel(stored.value, now))]);
    await world.wake();
    await assertGivenBack(world, await world.endedJob(jobName), 'US4026', 'Cancelled');
  });
});
