import assert from 'node:assert/strict';
import { test } from 'node:test';
import { replicationHealth } from '../../../core/domain/health/health.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import { transferBlobName } from '../../../core/domain/replication/blob-names.js';
import { resumedEvent, workflowNames } from '../../../core/domain/workflows/workflows.js';
import { list, replace } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { sampleHealthContext, sampleStorageAccountId } from '../../support/sample-item.js';
import { sampleVm } from '../../support/sample-site.js';
import { inWorld } from '../../support/replication/in-world.js';
import type { WorkflowWorld } from '../../support/replication/workflow-world.js';

const failedTask = (job: { tasks: { name: string; state: string }[] }): string | undefined =>
  job.tasks.find(({ state }) => state === 'Failed')?.name;

async function assertNothingLeft(world: WorkflowWorld): Promise<void> {
  for (const disk of (await world.currentItem()).disks) {
    assert.equal(await world.replicas.properties(disk.replica), undefined, 'no blob stays behind');
  }
  assert.deepEqual(await list(world.table, rows.commands(world.item.relayId)), [], 'no order stays behind');
}

test('a VM that cannot be protected fails the job with every reason, and nothing was made', async () => {
  const vm = sampleVm({ powerState: 'off', hasFibreChannelAdapter: true });
  await inWorld({ vm }, async (world) => {
    const job = await world.endedJob(await world.enable());
    assert.equal(job.state, 'Failed');
    assert.equal(failedTask(job), 'EnableProtectionPrerequisitesCheck');
    assert.deepEqual(
      job.errors.map(({ code }) => code),
      ['US3101', 'US3110'],
    );
    for (const error of job.errors) assert(error.possibleCauses !== '' && error.recommendedAction !== '');
    const item = await world.untilState('EnablingFailed');
    assert.equal(item.replication.phase, 'stopped');
    assert.deepEqual(item.disks, []);
    assert.deepEqual(world.replicas.faults.calls, []);
  });
});

test('a host that refuses the relationship fails the job with its own words, and the blobs go', async () => {
  await inWorld({}, async (world) => {
    const jobName = await world.enable();
    await world.until(async () => (await world.answerCommands('failed')).length > 0, 'the order', true);
    const job = await world.endedJob(jobName);
    assert.equal(job.state, 'Failed');
    assert.equal(failedTask(job), 'EnableProtection');
    assert.equal(job.errors[0]?.code, 'US5199');
    await world.untilState('EnablingFailed');
    await assertNothingLeft(world);
  });
});

test('a relay that never answers fails the job after its time, not before', async () => {
  await inWorld({}, async (world) => {
    const jobName = await world.enable();
    const startedAt = world.time.now();
    const job = await world.until(
      async () => {
        const found = await world.job(jobName);
        return found.state === 'Failed' ? found : undefined;
      },
      'the job to fail',
      true,
    );
    assert.equal(job.errors[0]?.code, 'US3022');
    const minutes = (world.time.now() - startedAt) / 60_000;
    assert(minutes >= 10 && minutes < 13, `${minutes} minutes`);
    await world.untilState('EnablingFailed');
    await assertNothingLeft(world);
    const late = await world.source.startInitialReplication();
    assert.equal(late.kind === 'conflict' && late.conflict.kind, 'notReplicating');
  });
});

/** Announces a cycle, then damages one of its logs before anyone reads it. */
async function sendDamagedCycle(world: WorkflowWorld, damage: (log: Buffer) => Buffer): Promise<void> {
  world.source.write(0, 50, 'what is lost');
  const manifest = await world.source.closeCycle();
  const log = manifest.disks[0]?.log;
  const diskId = manifest.disks[0]?.diskId ?? '';
  assert(log);
  const name = transferBlobName(
    world.item.protectionId,
    1,
    { kind: 'cycle', cycle: manifest.cycle, diskId },
    log.uploadId,
  );
  const reader = world.transfers.openReader(sampleStorageAccountId, name, log);
  const content = damage(await reader.read(0, log.lengthBytes));
  const { etag } = world.transfers.put(sampleStorageAccountId, name, content);
  // Storage that lies: the ETag is the announced one, the bytes are not.
  await world.source.announce({
    ...manifest,
    disks: manifest.disks.map((disk) => (disk.log === log ? { ...disk, log: { ...log, etag } } : disk)),
  });
  await world.wake();
}

const damages: [string, (log: Buffer) => Buffer][] = [
  ['a flipped bit in a frame', (log) => (log.writeUInt8(log.readUInt8(260) ^ 1, 260), log)],
  ['a flipped bit in the index', (log) => (log.writeUInt8(log.readUInt8(log.length - 130) ^ 1, log.length - 130), log)],
  ['a log cut short', (log) => log.subarray(0, log.length - 10)],
];
for (const [what, damage] of damages) {
  test(`${what} stops the item for resync, makes no point, and a failover goes to the newest whole one`, async () => {
    await inWorld({}, async (world) => {
      await world.protect();
      const whole = world.source.cycle;
      await sendDamagedCycle(world, damage);
      const item = await world.until(async () => {
        const found = await world.currentItem();
        return found.replication.resyncRequired ? found : undefined;
      }, 'the resync mark');
      assert.equal(item.replication.resyncRequired?.reason, 'applyFailed');
      assert.match(item.replication.resyncRequired.message, /^US(204[1-3]|3011) (?!US)/, 'the code of what was found');
      assert.equal(item.replication.appliedCycle, whole);
      const refused = await world.source.sendCycle();
      assert.equal(refused.kind === 'conflict' && refused.conflict.kind, 'resyncRequired');
      await world.untilQuiet();
      assert.deepEqual(
        (await world.points()).filter(({ state }) => state === 'ready').map(({ cycle }) => cycle),
        [whole],
      );
      const job = await world.failOver({ kind: 'latest' });
      assert.equal(job.state, 'Succeeded', JSON.stringify(job.errors));
      assert.deepEqual(
        job.errors.map(({ code }) => code),
        ['US3004'],
        'the job says that something is left out',
      );
      await world.assertFailoverEqualsSource(whole);
    });
  });
}

test('apply is tried again at minutes 0, 1, 3, 7, 15, 25, 55 and 85, to the second', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    await world.untilQuiet();
    const attempts: number[] = [];
    const cycle = world.source.cycle + 1;
    world.source.write(0, 50, 'cannot be written for a while');
    const startedAt = world.time.now();
    world.replicas.faults.fail('writePages', 'beforeEffect', {
      times: 8,
      error: () => {
        attempts.push((world.time.now() - startedAt) / 60_000);
        return new Error('503 server busy');
      },
    });
    await world.source.sendCycle();
    await world.untilApplied(cycle);
    assert.deepEqual(attempts, [0, 1, 3, 7, 15, 25, 55, 85]);
    assert.equal((world.time.now() - startedAt) / 60_000, 115);
    const item = await world.currentItem();
    assert.equal(item.replication.lastError, undefined, 'success clears what it overcame');
    const point = (await world.points()).at(-1);
    assert(point);
    await world.assertPointEqualsSource(point);
  });
});

test('a resume ends a wait of the retry schedule at once, and the schedule goes on from there', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    await world.untilQuiet();
    const startedAt = world.time.now();
    const minutes = (): number => (world.time.now() - startedAt) / 60_000;
    const attempts: number[] = [];
    world.replicas.faults.fail('writePages', 'beforeEffect', {
      times: 7,
      error: () => {
        attempts.push(minutes());
        return new Error('503 server busy');
      },
    });
    world.source.write(0, 50, 'cannot be written for a while');
    await world.source.sendCycle();
    await world.wake();
    await world.until(async () => attempts.length === 6, 'the attempt of minute 25');
    await world.untilQuiet();
    await world.harness.raise(`loop-${world.item.protectionId}-1`, resumedEvent, {});
    await world.untilApplied(world.source.cycle);
    assert.deepEqual(attempts, [0, 1, 3, 7, 15, 25, 25]);
    assert.equal(minutes(), 55);
  });
});

test('a replica disk that was deleted makes the item Critical at once, and is not tried again before an operator resumes', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    await world.untilQuiet();
    const [disk] = (await world.currentItem()).disks;
    assert(disk);
    await world.replicas.deleteDisk(disk.replica);
    world.source.write(0, 50, 'nowhere to go');
    await world.source.sendCycle();
    await world.wake();
    const failing = await world.until(async () => {
      const item = await world.currentItem();
      return item.replication.lastError && item;
    }, 'the error');
    assert.equal(failing.replication.lastError?.blocking, true);
    assert.equal(replicationHealth(failing, sampleHealthContext, await world.clock.now()).level, 'Critical');
    const attempts = (): number => world.replicas.faults.calls.filter((call) => call === 'raiseFence').length;
    await world.untilQuiet();
    const before = attempts();
    const twoHoursLater = world.time.now() + 2 * 3_600_000;
    await world.until(async () => world.time.now() >= twoHoursLater, 'two hours', true);
    assert.equal(attempts(), before);
    await resume(world);
    await world.until(async () => attempts() > before, 'the next attempt');
  });
});

/** What the door of resumeReplication does to the item's row. */
async function resume(world: WorkflowWorld): Promise<void> {
  const stored = await world.storedItem();
  const { lastError: _, ...replication } = stored.value.replication;
  const resumed = { ...replication, resumedCount: replication.resumedCount + 1 };
  await world.table.transact(stored.ref.partition, [replace(stored, { ...stored.value, replication: resumed })]);
  await world.wake();
}

test('a failover to a point that is not there is refused, and replication goes on', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    const job = await world.failOver({ kind: 'point', recoveryPointId: 'nowhere' });
    assert.equal(job.state, 'Failed');
    assert.equal(job.errors[0]?.code, 'US4003');
    await world.untilState('Protected');
    world.source.write(0, 50, 'after the refusal');
    await world.source.sendCycle();
    await world.untilApplied(world.source.cycle);
    for (const point of await world.points()) await world.assertPointEqualsSource(point);
  });
});

test('a failover goes to the chosen point, not to the newest, and leaves later cycles unapplied', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    world.source.write(0, 50, 'too new');
    await world.source.sendCycle();
    await world.untilApplied(world.source.cycle);
    const [oldest] = await world.points();
    assert(oldest);
    const job = await world.failOver({ kind: 'point', recoveryPointId: oldest.recoveryPointId });
    assert.equal(job.state, 'Succeeded');
    await world.assertFailoverEqualsSource(oldest.cycle);
    assert.deepEqual((await world.points())[0]?.pinnedBy, [job.jobName]);
  });
});

test('LatestProcessed does not wait for what is received and not applied', async () => {
  await inWorld({ copiesFromSnapshotsAreIndependent: true }, async (world) => {
    await world.protect();
    const applied = world.source.cycle;
    world.replicas.faults.fail('writePages', 'beforeEffect', {
      times: 1000,
      error: () => new Error('503 server busy'),
    });
    world.source.write(0, 50, 'received only');
    await world.source.sendCycle();
    const job = await world.failOver({ kind: 'latestProcessed' });
    assert.equal(job.state, 'Succeeded', JSON.stringify(job.errors));
    await world.assertFailoverEqualsSource(applied);
  });
});

test('a failover with shutdown waits for the last changes; without an answer it goes on with a warning', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    const jobName = await world.operate(
      jobKinds.unplannedFailover,
      workflowNames.unplannedFailover,
      'unplannedFailoverStarted',
      { recoveryPoint: { kind: 'latest' }, shutDownSource: true },
    );
    world.source.write(0, 50, 'just before shutdown');
    await world.until(async () => (await world.answerCommands()).includes('shutDownVm'), 'the order', true);
    await world.until(
      async () => (await list(world.table, rows.commands(world.item.relayId))).length === 0,
      'the order to be dropped',
      true,
    );
    world.time.advance(1000);
    await world.source.sendCycle();
    const job = await world.endedJob(jobName);
    assert.deepEqual([job.state, job.errors], ['Succeeded', []]);
    await world.assertFailoverEqualsSource(world.source.cycle);
  });
  await inWorld({}, async (world) => {
    await world.protect();
    const jobName = await world.operate(
      jobKinds.unplannedFailover,
      workflowNames.unplannedFailover,
      'unplannedFailoverStarted',
      { recoveryPoint: { kind: 'latest' }, shutDownSource: true },
    );
    const job = await world.until(
      async () => {
        const found = await world.job(jobName);
        return found.state === 'Succeeded' || found.state === 'Failed' ? found : undefined;
      },
      'the failover to go on',
      true,
    );
    assert.equal(job.state, 'Succeeded');
    assert.deepEqual(
      job.errors.map(({ code }) => code),
      ['US3022'],
    );
  });
});

test('after the shutdown only a cycle behind the last closed one counts, whatever the site’s clock says', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    const jobName = await world.operate(
      jobKinds.unplannedFailover,
      workflowNames.unplannedFailover,
      'unplannedFailoverStarted',
      { recoveryPoint: { kind: 'latest' }, shutDownSource: true },
    );
    const [order] = await world.until(
      async () => {
        const orders = await list(world.table, rows.commands(world.item.relayId));
        return orders.length > 0 && orders;
      },
      'the order',
      true,
    );
    assert(order);
    const lastClosedCycle = world.source.cycle + 1;
    await world.table.transact(order.ref.partition, [
      replace(order, { ...order.value, result: { kind: 'succeeded', lastClosedCycle } }),
    ]);
    await world.wake();
    await world.untilQuiet();
    // Closed before the shutdown, by a clock that is ahead.
    await world.source.sendCycle({ takenAt: '2030-01-01T00:00:00Z' });
    await world.wake();
    await world.untilQuiet();
    assert.equal((await world.currentItem()).replication.phase, 'delta');
    world.source.write(0, 51, 'the last write before the shutdown');
    await world.source.sendCycle();
    const job = await world.endedJob(jobName);
    assert.deepEqual([job.state, job.errors], ['Succeeded', []]);
    await world.assertFailoverEqualsSource(lastClosedCycle + 1);
  });
});

test('a failover whose VM cannot be made takes everything back, and can be run again', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    world.compute.faults.fail('createVm', 'afterEffect', { times: 5, error: () => new Error('quota exceeded') });
    const failed = await world.failOver();
    assert.equal(failed.state, 'Failed');
    assert.equal(failedTask(failed), 'VmFailover');
    const item = await world.untilState('UnplannedFailoverFailed');
    assert.equal(item.failover, undefined);
    assert.equal(world.compute.vms.size, 0);
    assert.deepEqual(
      (await world.points()).flatMap(({ pinnedBy }) => pinnedBy),
      [],
    );
    const job = await world.failOver();
    assert.equal(job.state, 'Succeeded', JSON.stringify(job.errors));
    await world.assertFailoverEqualsSource(world.source.cycle);
    assert.equal((await world.currentItem()).replication.epoch, 3);
  });
});

test('a commit without its VM deletes nothing', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    await world.failOver();
    await world.untilState('FailoverCommitPending');
    world.compute.vms.clear();
    const commit = await world.operate(jobKinds.commitFailover, workflowNames.commitFailover, 'commitStarted');
    const job = await world.endedJob(commit);
    assert.deepEqual([job.state, job.errors[0]?.code], ['Failed', 'US4009']);
    await world.untilState('FailoverCommitPending');
    assert.equal((await world.points()).length, 1);
  });
});

test('the loop ends when the item fails over, and never applies under its old epoch', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    const loop = `loop-${world.item.protectionId}-1`;
    await world.until(async () => (await world.harness.request('GET', `instances/${loop}`)).status === 202, 'the loop');
    await world.failOver();
    await world.harness.raise(loop, 'doorbell', {});
    await world.until(async () => (await world.harness.status(loop)).runtimeStatus === 'Completed', 'the loop to end');
  });
});
