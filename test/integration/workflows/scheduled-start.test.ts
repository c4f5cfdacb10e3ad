import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import { allowedJobActions, hasEnded, requestCancel } from '../../../core/domain/jobs/transitions.js';
import type { JobName } from '../../../core/domain/ids.js';
import { allowedOperations } from '../../../core/domain/protected-item/state-table.js';
import { decideAndCommit, read, replace } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { inWorld } from '../../support/replication/in-world.js';
import type { WorkflowWorld } from '../../support/replication/workflow-world.js';
import { sampleVaultId } from '../../support/sample-item.js';

/** Twelve hours from now, as clocks at the site show it. */
async function setStart(world: WorkflowWorld, hours: number | undefined): Promise<string> {
  const stored = await read(world.table, rows.policy(sampleVaultId, world.item.policyName));
  assert(stored);
  const { onlineReplicationStartTime: _, ...policy } = stored.value;
  const at = (await world.clock.now()).add({ hours: hours ?? 0 }).toZonedDateTimeISO('Europe/Berlin');
  const timeOfDay = at.toPlainTime().toString({ smallestUnit: 'second' });
  const changed = hours === undefined ? policy : { ...policy, onlineReplicationStartTime: timeOfDay };
  await world.table.transact(stored.ref.partition, [replace(stored, changed)]);
  return at.toPlainDateTime().toString({ smallestUnit: 'second' });
}

/** The relationship stands, and the time of day is waited for. */
async function waiting(world: WorkflowWorld): Promise<JobName> {
  const jobName = await world.enable();
  await world.until(async () => (await world.answerCommands()).length > 0, 'the order', true);
  await world.until(async () => (await world.currentItem()).replication.startAt !== undefined, 'the schedule');
  return jobName;
}

test('initial replication starts at the policy’s time of day, and not before', async () => {
  await inWorld({}, async (world) => {
    const wanted = await setStart(world, 12);
    const jobName = await waiting(world);
    const { startAt } = (await world.currentItem()).replication;
    const shown = Temporal.Instant.from(startAt?.at ?? '')
      .toZonedDateTimeISO('Europe/Berlin')
      .toPlainDateTime();
    assert.equal(shown.toString({ smallestUnit: 'second' }), wanted);
    world.time.advance(11 * 3_600_000);
    await world.untilQuiet();
    assert.equal((await world.currentItem()).replication.phase, 'none');
    assert.equal(
      (await world.job(jobName)).tasks.find(({ state }) => state === 'InProgress')?.name,
      'VmStartInitialReplication',
    );
    world.time.advance(3_600_000 + 1000);
    await world.until(
      async () => (await world.currentItem()).replication.phase === 'initialReplication',
      'the start',
      true,
    );
  });
});

test('a policy that names no time any more lets it start; an operator may cancel while it waits', async () => {
  await inWorld({}, async (world) => {
    await setStart(world, 12);
    await waiting(world);
    await setStart(world, undefined);
    world.time.advance(11 * 60_000);
    await world.until(
      async () => (await world.currentItem()).replication.phase === 'initialReplication',
      'the start',
      true,
    );
  });
  await inWorld({}, async (world) => {
    await setStart(world, 12);
    const jobName = await waiting(world);
    const stored = await read(world.table, rows.job(sampleVaultId, jobName));
    assert(stored);
    const now = (await world.clock.now()).toString();
    await world.table.transact(stored.ref.partition, [replace(stored, requestCancel(stored.value, now))]);
    world.time.advance(11 * 60_000);
    await world.until(
      async () => {
        await world.answerCommands();
        return hasEnded(await world.job(jobName));
      },
      'the end',
      true,
    );
    const job = await world.job(jobName);
    assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Cancelled', ['US4026']]);
    const item = await world.untilState('EnablingFailed');
    for (const { replica } of item.disks) assert.equal(await world.replicas.properties(replica), undefined);
  });
});

async function cancel(world: WorkflowWorld, jobName: JobName): Promise<void> {
  const now = (await world.clock.now()).toString();
  const ref = rows.job(sampleVaultId, jobName);
  await decideAndCommit(world.table, ref.partition, async () => {
    const stored = await read(world.table, ref);
    assert(stored);
    assert.ok(allowedJobActions(stored.value).includes('Cancel'));
    return { operations: [replace(stored, requestCancel(stored.value, now))], result: undefined };
  });
}

for (const [moment, reach] of [
  ['before its relationship is made', async () => undefined],
  [
    'while the relay is asked for a checkpoint',
    async (world: WorkflowWorld) => {
      await world.until(async () => (await world.answerCommands()).length > 0, 'the order', true);
      await world.until(
        async () => (await world.currentItem()).replication.phase === 'initialReplication',
        'the start',
        true,
      );
    },
  ],
] as const) {
  test(`enabling protection is cancelled ${moment}: nothing is left, and it can be enabled again`, async () => {
    await inWorld({}, async (world) => {
      const jobName = await world.enable();
      await reach(world);
      await cancel(world, jobName);
      await world.until(
        async () => {
          await world.answerCommands();
          return hasEnded(await world.job(jobName));
        },
        'the end',
        true,
      );
      const job = await world.job(jobName);
      assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Cancelled', ['US4026']]);
      const item = await world.untilState('EnablingFailed');
      for (const { replica } of item.disks) assert.equal(await world.replicas.properties(replica), undefined);
      assert.ok(allowedOperations(item).includes('EnableProtection'));
    });
  });
}
