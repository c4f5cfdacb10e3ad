import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeBeginPlanItem } from '../../../activities/recovery-plan.js';
import { list, read, replace } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { inWorld } from '../../support/replication/in-world.js';
import { manual, PlanScene, runbook, script } from '../../support/replication/plan-scene.js';
import type { WorkflowWorld, WorldOptions } from '../../support/replication/workflow-world.js';
import { sampleVaultId } from '../../support/sample-item.js';

const inPlan = (scene: (plan: PlanScene, world: WorkflowWorld) => Promise<void>, options: WorldOptions = {}) =>
  inWorld(options, (world) => scene(new PlanScene(world), world));

const statesOf = (count: number, state: string): string[] => Array.from({ length: count }, () => state);

/** Which groups' VMs were started when: each group after the one before. */
function assertGroupsInOrder(started: readonly string[], groupSizes: readonly number[]): void {
  let from = 0;
  let number = 1;
  for (const size of groupSizes) {
    const expected = Array.from({ length: size }, () => `vm-${number++}`);
    assert.deepEqual([...started.slice(from, from + size)].sort(), expected.sort());
    from += size;
  }
  assert.equal(started.length, from);
}

for (const diesAtEveryActivity of [false, true]) {
  test(`a planned run goes group by group, with its runbook, script and manual action, and back again (host dies at every activity: ${diesAtEveryActivity})`, async () => {
    await inPlan(async (plan, world) => {
      await plan.seed([2, 2, 1], {
        0: { endActions: [script('mount shares', 'mount-shares.sh')] },
        1: { startActions: [runbook('open firewall')] },
        2: { startActions: [manual('load balancer')] },
      });
      assert.deepEqual(await plan.allowed(), ['TestFailover', 'PlannedFailover', 'UnplannedFailover']);
      world.diesAtEveryActivity = diesAtEveryActivity;
      const jobName = await plan.begin('PlannedFailover');
      const waiting = await plan.suspended(jobName);
      assert.equal(waiting.suspendedFor, 'manualAction');
      assertGroupsInOrder([...new Set(plan.started)], [2, 2]);
      assert.deepEqual([...new Set(plan.scripts)], ['mount-shares.sh']);
      const [post] = world.posted;
      assert.equal(post?.url, 'https://example.net/hook?token=secret');
      const history = JSON.stringify([await world.harness.history(jobName), await world.job(jobName)]);
      assert.ok(!history.includes('secret'), 'no history holds what lets a caller in');
      assert.equal(new Set(world.posted.map(({ idempotencyKey }) => idempotencyKey)).size, 1);
      const context = post?.body as {
        VmMap: Record<string, { RoleName: string }>;
        GroupId: string;
        FailoverType: string;
      };
      assert.deepEqual([context.GroupId, context.FailoverType], ['Group 2', 'Planned']);
      assert.deepEqual(
        Object.values(context.VmMap)
          .map(({ RoleName }) => RoleName)
          .sort(),
        ['vm-1', 'vm-2', 'vm-3', 'vm-4', 'vm-5'],
      );
      await plan.say(jobName, 'resume', 'switched');
      const job = await plan.ended(jobName);
      assert.deepEqual([job.state, job.errors, job.comments], ['Succeeded', [], 'switched']);
      assert.ok(job.tasks.every(({ state }) => state === 'Succeeded'));
      assertGroupsInOrder([...new Set(plan.started)], [2, 2, 1]);
      assert.deepEqual(await plan.states(), statesOf(5, 'FailoverCommitPending'));
      assert.deepEqual(await plan.allowed(), ['Commit']);
      assert.ok((await plan.plan()).lastPlannedFailoverAt);

      assert.equal((await plan.run('Commit')).state, 'Succeeded');
      assert.deepEqual(await plan.allowed(), ['Failback']);
      const back = await plan.begin('Failback', { synchronizeFirst: true });
      const synchronized = await plan.suspended(back);
      assert.equal(synchronized.suspendedFor, 'failbackCompletion');
      assert.ok([...world.compute.vms.values()].every(({ powerState }) => powerState === 'running'));
      await plan.say(back, 'resume');
      await plan.until(
        async () => (await world.job(back)).suspendedFor === 'manualAction',
        'the manual action on the way back',
      );
      await plan.say(back, 'resume');
      assert.equal((await plan.ended(back)).state, 'Succeeded');
      assert.deepEqual(await plan.states(), statesOf(5, 'FailbackCommitPending'));
      assert.equal((await plan.run('Commit')).state, 'Succeeded');
      assert.equal((await plan.run('ReverseReplicate')).state, 'Succeeded');
      assert.deepEqual(await plan.states(), statesOf(5, 'Protected'));
      assert.equal(world.compute.vms.size, 0);
    });
  });
}

test('a planned run stops at its first failure, gives back what has not started, and can be run again', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([1, 2], { 1: { startActions: [script('check', 'check.sh')] } });
    plan.script = () => ({
      kind: 'failed',
      code: 'US5129',
      message: 'the disk was not there',
      possibleCauses: 'a test',
      recommendedAction: 'none',
    });
    const failed = await plan.run('PlannedFailover');
    assert.deepEqual([failed.state, failed.errors.map(({ code }) => code)], ['Failed', ['US5129']]);
    assert.match(failed.errors[0]?.message ?? '', /^action 'check' failed: the disk was not there/);
    assert.deepEqual(await plan.states(), ['FailoverCommitPending', 'Protected', 'Protected']);
    assert.equal(world.compute.vms.size, 1);
    const items = await Promise.all([1, 2].map((index) => plan.item(index)));
    assert.ok(items.every(({ replication }) => replication.phase === 'delta' && replication.sourceLock === undefined));
    plan.script = () => ({ kind: 'succeeded' });
    const again = await plan.run('PlannedFailover');
    assert.deepEqual([again.state, again.errors], ['Succeeded', []]);
    assert.deepEqual(await plan.states(), statesOf(3, 'FailoverCommitPending'));
    assert.equal(world.compute.vms.size, 3);
  });
});

test('a planned run whose item cannot be failed over touches none', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([2]);
    const before = await plan.item(1);
    const resyncRequired = { reason: 'hostCrash', message: 'the host crashed', at: '2026-01-05T10:00:00Z' };
    const stored = (await list(world.table, rows.items(sampleVaultId))).find(
      ({ value }) => value.itemId === before.itemId,
    );
    assert(stored);
    await world.table.transact(stored.ref.partition, [
      {
        kind: 'replace',
        rowKey: stored.ref.rowKey,
        etag: stored.etag,
        value: { ...stored.value, replication: { ...before.replication, resyncRequired } },
      },
    ]);
    const failed = await plan.run('PlannedFailover');
    assert.deepEqual(
      failed.errors.map(({ code }) => code),
      ['US4031'],
    );
    assert.deepEqual(await plan.states(), ['Protected', 'Protected']);
    assert.equal((await plan.item(0)).activeJob, undefined);
  });
});

test('an unplanned run goes to its end whatever fails, and reports', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([2, 1], { 0: { endActions: [runbook('tell')] } });
    world.runbookStatus = 500;
    const create = world.compute.createVm.bind(world.compute);
    world.compute.createVm = async (specification) => {
      if (specification.name === 'vm-2')
        throw Object.assign(new Error('quota exceeded'), { code: 'US6999', retry: 'never' });
      return create(specification);
    };
    const job = await plan.run('UnplannedFailover', { recoveryPoint: { kind: 'latestProcessed' } });
    assert.equal(job.state, 'Failed');
    assert.deepEqual(
      job.errors.map(({ code }) => code),
      ['US4032', 'US4034'],
    );
    assert.match(job.errors[0]?.message ?? '', /^vm-2 failed: .*quota exceeded/);
    assert.deepEqual(await plan.states(), [
      'FailoverCommitPending',
      'UnplannedFailoverFailed',
      'FailoverCommitPending',
    ]);
    world.compute.createVm = create;
    world.runbookStatus = 202;
    const again = await plan.run('UnplannedFailover');
    assert.deepEqual([again.state, again.errors], ['Succeeded', []]);
    assert.deepEqual(await plan.states(), statesOf(3, 'FailoverCommitPending'));
    assert.equal((await plan.run('Commit')).state, 'Succeeded');
  });
});

test('a drill of a plan is recorded by its clean-up only; a disaster may strike meanwhile', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([1, 2]);
    const drill = await plan.run('TestFailover');
    assert.equal(drill.state, 'Suspended');
    assertGroupsInOrder(
      plan.started.map((name) => name.replace(/-test$/, '')),
      [1, 2],
    );
    assert.equal(world.compute.vms.size, 3);
    assert.deepEqual(await plan.allowed(), ['TestFailoverCleanup', 'UnplannedFailover']);
    assert.equal((await plan.plan()).lastTestFailoverAt, undefined);
    const cleaned = await plan.run('TestFailoverCleanup', { comments: 'all came up' });
    assert.deepEqual([cleaned.state, cleaned.errors], ['Succeeded', []]);
    assert.deepEqual(
      [(await world.job(drill.jobName)).state, (await world.job(drill.jobName)).comments],
      ['Succeeded', 'all came up'],
    );
    assert.ok((await plan.plan()).lastTestFailoverAt);
    assert.equal(world.compute.vms.size, 0);
    assert.deepEqual(await plan.allowed(), ['TestFailover', 'PlannedFailover', 'UnplannedFailover']);
  });
});

test('a run that waits for an operator can be cancelled, and gives back what has not started', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([1, 1], { 1: { startActions: [manual('check')] } });
    const jobName = await plan.begin('PlannedFailover');
    const waiting = await plan.suspended(jobName);
    assert.equal(waiting.suspendedFor, 'manualAction');
    await plan.say(jobName, 'cancel');
    const job = await plan.ended(jobName);
    assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Cancelled', ['US4026']]);
    assert.deepEqual(await plan.states(), ['FailoverCommitPending', 'Protected']);
    assert.deepEqual(await plan.itemJobStates(jobName), ['Succeeded', 'Cancelled']);
    assert.equal(world.compute.vms.size, 1);
    assert.equal((await plan.plan()).activeJob, undefined);
  });
});

test('a cancel reaches the items that wait: a failback that synchronizes for days is given up', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([2]);
    assert.equal((await plan.run('UnplannedFailover')).state, 'Succeeded');
    assert.equal((await plan.run('Commit')).state, 'Succeeded');
    plan.copies = false;
    const jobName = await plan.begin('Failback', { synchronizeFirst: true });
    await plan.until(async () => (await plan.item(1)).failback?.round !== undefined, 'the round of the last item');
    await plan.say(jobName, 'cancel');
    const job = await plan.ended(jobName);
    assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Cancelled', ['US4032', 'US4032']]);
    assert.deepEqual(await plan.states(), statesOf(2, 'FailoverCommitted'));
    assert.deepEqual(await plan.itemJobStates(jobName), statesOf(2, 'Cancelled'));
    assert.ok([...world.compute.vms.values()].every(({ powerState }) => powerState === 'running'));
  });
});

test('an item that was deleted after the plan was made is told, and the rest is failed over', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([2]);
    const gone = plan.items.pop()!;
    const stored = (await list(world.table, rows.items(sampleVaultId))).find(({ value }) => value.itemId === gone);
    assert(stored);
    await world.table.transact(stored.ref.partition, [{ kind: 'delete', rowKey: stored.ref.rowKey }]);
    const job = await plan.run('UnplannedFailover');
    assert.deepEqual(
      job.errors.map(({ code }) => code),
      ['US4030'],
    );
    assert.deepEqual(await plan.states(), ['FailoverCommitPending']);
  });
});

test('an unplanned run whose first action fails fails its items over all the same', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([1, 1], {
      shutdown: { startActions: [runbook('before all – now')] },
      0: { startActions: [runbook('tell the boss – now')] },
    });
    world.runbookStatus = 500;
    const job = await plan.run('UnplannedFailover', { recoveryPoint: { kind: 'latestProcessed' } });
    assert.deepEqual([job.state, new Set(job.errors.map(({ code }) => code))], ['Failed', new Set(['US4034'])]);
    assert.deepEqual(await plan.states(), statesOf(2, 'FailoverCommitPending'));
    assert.ok(world.posted.every(({ idempotencyKey }) => /^[\x20-\x7e]+$/.test(idempotencyKey)));
  });
});

test('a plan that was saved with a longer timeout of a webhook runs, and waits as long as one may now', async () => {
  await inPlan(async (plan, world) => {
    const stored = runbook('tell');
    assert(stored.details.kind === 'runbook');
    await plan.seed([1], {
      0: { startActions: [{ ...stored, details: { ...stored.details, timeoutSeconds: 86_400 } }] },
    });
    assert.equal((await plan.run('UnplannedFailover')).state, 'Succeeded');
    assert.deepEqual(
      world.posted.map(({ timeoutSeconds }) => timeoutSeconds),
      [240],
    );
  });
});

test('a give-back that fails keeps no other item from being given back', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([1, 3], { 1: { startActions: [script('check', 'check.sh')] } });
    const find = world.compute.getVm.bind(world.compute);
    plan.script = () => {
      world.compute.getVm = async (vmArmId) => {
        if (vmArmId.endsWith('/vm-2')) throw Object.assign(new Error('no role'), { code: 'US6061', retry: 'never' });
        return find(vmArmId);
      };
      return { kind: 'failed', code: 'US5129', message: 'no', possibleCauses: '', recommendedAction: '' };
    };
    const job = await plan.run('PlannedFailover');
    assert.equal(job.state, 'Failed');
    assert.match(job.errors.map(({ message }) => message).join(), /vm-2 failed: .*no role/);
    assert.deepEqual((await plan.states()).slice(2), statesOf(2, 'Protected'));
    const others = await Promise.all([2, 3].map((index) => plan.item(index)));
    assert.ok(others.every(({ replication, activeJob }) => replication.sourceLock === undefined && !activeJob));
    assert.notEqual((await plan.item(1)).replication.sourceLock, undefined);

    world.compute.getVm = find;
    assert.equal((await plan.sweepLeft()).length, 1);
    await plan.until(async () => (await plan.item(1)).state === 'Protected', 'vm-2 to be given back');
    assert.deepEqual([(await plan.item(1)).replication.sourceLock, await plan.sweepLeft()], [undefined, []]);
  });
});

test('a VM that runs is not taken back because the end of its job cannot be written', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([1]);
    const transact = world.table.transact.bind(world.table);
    let refusing = true;
    world.table.transact = async (partition, operations) => {
      const ends = JSON.stringify(operations).includes('FailoverCommitPending');
      if (ends && refusing) throw Object.assign(new Error('the account is locked'), { code: 'US6021', retry: 'never' });
      return transact(partition, operations);
    };
    const job = await plan.run('PlannedFailover');
    assert.equal(job.state, 'Failed');
    assert.match(job.errors[0]?.message ?? '', /vm-1 failed: .*the account is locked/);
    assert.deepEqual(
      [...world.compute.vms.values()].map(({ powerState }) => powerState),
      ['running'],
    );
    refusing = false;
    assert.match((await plan.sweepLeft()).join(), /-boot$/);
    await plan.until(async () => (await plan.item(0)).state === 'FailoverCommitPending', 'its end');
    assert.equal(world.compute.vms.size, 1);
    assert.deepEqual(await plan.sweepLeft(), []);
  });
});

test('an item that was begun when its plan’s run was over already is given back', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([1]);
    const jobName = await plan.begin('PlannedFailover');
    await plan.ended(jobName);
    const { itemId, protectionId } = await plan.item(0);
    const stored = await read(world.table, rows.item(sampleVaultId, itemId));
    assert(stored);
    // The run that ended knew nothing of this one: as if the item's begin had come through, and its answer been lost.
    const { failover: _, ...before } = stored.value;
    await world.table.transact(stored.ref.partition, [replace(stored, { ...before, state: 'Protected' })]);
    const own = (await list(world.table, rows.jobs(sampleVaultId))).find(({ value }) => value.itemId === itemId);
    assert(own);
    await world.table.transact(own.ref.partition, [{ kind: 'delete', rowKey: own.ref.rowKey }]);
    const begun = await makeBeginPlanItem(world)({
      ...{ vaultId: sampleVaultId, planJobName: jobName, itemId, armId: '', operation: 'PlannedFailover' },
      ...{ synchronizeFirst: false, comments: '' },
    });
    assert.equal(begun.kind, 'begun');
    assert.equal((await plan.sweepLeft()).length, 1);
    await plan.until(async () => (await plan.item(0)).state === 'Protected', 'the give-back');
    assert.equal((await plan.item(0)).protectionId, protectionId);
  });
});

test('the clean-up of a drill passes over an item that is gone', async () => {
  await inPlan(async (plan, world) => {
    await plan.seed([2]);
    await plan.run('TestFailover');
    const gone = plan.items.pop()!;
    const stored = (await list(world.table, rows.items(sampleVaultId))).find(({ value }) => value.itemId === gone);
    assert(stored);
    await world.table.transact(stored.ref.partition, [{ kind: 'delete', rowKey: stored.ref.rowKey }]);
    const cleaned = await plan.run('TestFailoverCleanup');
    assert.deepEqual([cleaned.state, cleaned.errors], ['Succeeded', []]);
    assert.equal((await plan.plan()).test, undefined);
  });
});
