import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import { workflowNames, type RunOperationInput } from '../../../core/domain/workflows/workflows.js';
import { asJobName } from '../../../core/domain/ids.js';
import { withTest } from '../../../core/domain/failover/test-failover.js';
import { list, read, replace } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { HistoryRecorder, replay, type RecordedTurn } from '../../support/durable/history-recorder.js';
import { sampleVaultId } from '../../support/sample-item.js';
import { requireResync, submitResync, untilDigested } from '../../support/replication/resync-scene.js';
import {
  resumedAfterSynchronizing,
  commitAndReprotect,
  complete,
  failedOver,
} from '../../support/replication/failback-scene.js';
import { manual, PlanScene, runbook, script } from '../../support/replication/plan-scene.js';
import { inWorld } from '../../support/replication/in-world.js';

/**
 * History is a file format: instances that are under way when the app is updated replay theirs through the new code. A
 * change that breaks this needs a new workflow name, and the old history stays here.
 *
 * `UNDERSTUDY_WRITE_GOLDEN=1` records histories of workflows that have none yet; it never touches an old one.
 */
const folder = 'test/golden/histories';

async function record(): Promise<ReadonlyMap<string, RecordedTurn>> {
  const recorder = new HistoryRecorder();
  await inWorld({ worker: recorder }, async (world) => {
    const operation: RunOperationInput = {
      vaultId: sampleVaultId,
      jobName: asJobName('01900000-0000-7000-8000-000000000001'),
      taskName: 'AddProtectionProfile',
    };
    await world.harness.start(workflowNames.runOperation, operation, operation.jobName);
    await world.harness.finished(operation.jobName);
    await world.protect();
    for (let round = 0; round < 3; round++) {
      world.source.write(round % 2, 10 + round, `round ${round}`);
      await world.source.sendCycle();
      await world.untilApplied(world.source.cycle);
    }
    await requireResync(world);
    const resync = await submitResync(world);
    await untilDigested(world);
    for (const disk of [0, 1]) await world.source.sendDifferences(disk);
    await world.source.sendCycle({ closesBase: true });
    await world.wake();
    await world.endedJob(resync);
    await world.untilState('Protected');
    world.source.write(0, 40, 'the last write');
    await world.source.sendCycle();
    const failover = await world.operate(
      jobKinds.unplannedFailover,
      workflowNames.unplannedFailover,
      'unplannedFailoverStarted',
      { recoveryPoint: { kind: 'latest' }, shutDownSource: true },
    );
    await world.until(async () => (await world.answerCommands()).includes('shutDownVm'), 'the order', true);
    const orders = rows.commands(world.item.relayId);
    await world.until(async () => (await list(world.table, orders)).length === 0, 'the order to be dropped', true);
    world.time.advance(1000);
    await world.source.sendCycle();
    assert.equal((await world.endedJob(failover)).state, 'Succeeded');
    await world.untilState('FailoverCommitPending');
    await world.endedJob(await world.operate(jobKinds.commitFailover, workflowNames.commitFailover, 'commitStarted'));
    await world.untilQuiet();
  });
  await inWorld({ worker: recorder }, async (world) => {
    await world.protect();
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
    const tested = await world.storedItem();
    const cleaning = await world.submit(
      jobKinds.testFailoverCleanUp,
      workflowNames.testFailoverCleanUp,
      { comments: 'it came up' },
      ({ jobName }) => [replace(tested, withTest(tested.value, { state: 'cleaningUp', cleanUpJobName: jobName }))],
    );
    assert.equal((await world.endedJob(cleaning)).state, 'Succeeded');
    const planned = await world.operate(
      jobKinds.plannedFailover,
      workflowNames.plannedFailover,
      'plannedFailoverStarted',
    );
    await world.until(async () => (await world.answerCommands()).includes('prepareFailover'), 'the order', true);
    world.source.write(0, 40, 'the last write');
    await world.source.sendCycle({ finalOf: planned });
    assert.equal((await world.endedJob(planned)).state, 'Succeeded');
    await world.untilState('FailoverCommitPending');
    const change = await world.operate(
      jobKinds.changeRecoveryPoint,
      workflowNames.changeRecoveryPoint,
      'pointChangeStarted',
      { recoveryPoint: { kind: 'latestProcessed' } },
    );
    assert.equal((await world.endedJob(change)).state, 'Succeeded');
    await world.untilState('FailoverCommitPending');
    await world.operate(jobKinds.disableProtection, workflowNames.disableProtection, 'disablingStarted', {
      leaveSite: false,
    });
    await world.until(
      async () => (await world.answerCommands()).includes('removeReplicationRelationship'),
      'the order',
      true,
    );
    const item = rows.item(sampleVaultId, world.item.itemId);
    for (let look = 0; (await read(world.table, item)) !== undefined; look++) {
      assert.ok(look < 1000, 'the item is not removed');
      await new Promise((resolve) => setTimeout(resolve, 5));
      world.time.advance(1000);
    }
    await world.untilQuiet();
  });
  await inWorld({ worker: recorder }, async (world) => {
    await failedOver(world);
    const jobName = await resumedAfterSynchronizing(world);
    await complete(world, jobName);
    await commitAndReprotect(world);
    await world.untilQuiet();
  });
  await inWorld({ worker: recorder }, async (world) => {
    const plan = new PlanScene(world);
    await plan.seed([2, 1], {
      0: { endActions: [script('mount', 'mount.sh'), runbook('tell')] },
      1: { startActions: [manual('check')] },
    });
    const jobName = await plan.begin('PlannedFailover');
    await plan.suspended(jobName);
    await plan.say(jobName, 'resume');
    await plan.ended(jobName);
    await world.untilQuiet();
  });
  return recorder.longest;
}

if (process.env.UNDERSTUDY_WRITE_GOLDEN === '1') {
  const recorded = await record();
  await mkdir(folder, { recursive: true });
  const present = await readdir(folder);
  for (const [name, turn] of recorded) {
    if (present.some((file) => file.startsWith(`${name}-`))) continue;
    await writeFile(`${folder}/${name}-1.json`, `${JSON.stringify(turn)}\n`);
  }
}

for (const file of (await readdir(folder)).filter((name) => name.endsWith('.json'))) {
  test(`the history ${file} replays as it was recorded`, async () => {
    const turn = JSON.parse(await readFile(`${folder}/${file}`, 'utf8')) as RecordedTurn;
    assert.deepEqual(await replay(turn), turn.answer);
  });
}

test('every workflow has a recorded history', async () => {
  const files = await readdir(folder);
  for (const name of Object.values(workflowNames)) {
    assert(
      files.some((file) => file.startsWith(`${name}-`)),
      `no history of ${name}: run this test with UNDERSTUDY_WRITE_GOLDEN=1`,
    );
  }
});
