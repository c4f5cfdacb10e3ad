import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import type { JobName } from '../../../core/domain/ids.js';
import { hasEnded } from '../../../core/domain/jobs/transitions.js';
import { transferPrefixOfProtection, transferStorageAccountId } from '../../../core/domain/replication/blob-names.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { read } from '../../../core/records/access.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import { inWorld } from '../../support/replication/in-world.js';
import { requireResync, submitResync } from '../../support/replication/resync-scene.js';
import type { WorkflowWorld } from '../../support/replication/workflow-world.js';
import { sampleVaultId } from '../../support/sample-item.js';

const begin = (world: WorkflowWorld, leaveSite = false): Promise<JobName> =>
  world.operate(jobKinds.disableProtection, workflowNames.disableProtection, 'disablingStarted', { leaveSite });

/** Without `world.until`, which reads the item's row. */
async function ended(world: WorkflowWorld, jobName: JobName, answer: 'succeeded' | 'failed' = 'succeeded') {
  for (let look = 0; look < 5000; look++) {
    const job = await world.job(jobName);
    if (hasEnded(job)) return job;
    await world.answerCommands(answer);
    await new Promise((resolve) => setTimeout(resolve, 2));
    const { nextMs } = world.time;
    if (look % 15 === 14 && nextMs !== undefined && nextMs > world.time.now()) {
      world.time.advance(nextMs - world.time.now());
    }
  }
  throw new Error('the job did not end');
}

/** No row and no blob of the item but its jobs and what was told of it. */
async function assertNothingLeft(world: WorkflowWorld): Promise<void> {
  const { itemId, protectionId, disks } = world.item;
  assert.equal(await read(world.table, rows.item(sampleVaultId, itemId)), undefined);
  const { rows: found } = await world.table.query(vaultPartition(sampleVaultId), { prefix: '' });
  const left = found.map(({ rowKey }) => rowKey).filter((key) => key.includes(itemId) && !key.startsWith('event!'));
  assert.deepEqual(left, []);
  const blobs: string[] = [];
  const account = transferStorageAccountId(world.item);
  for await (const name of world.transfers.listBelow(account, transferPrefixOfProtection(protectionId)))
    blobs.push(name);
  assert.deepEqual(blobs, []);
  for (const { replica } of disks) assert.equal(await world.replicas.properties(replica), undefined);
}

for (const activitiesTwice of [false, true]) {
  test(`disabling leaves nothing behind, at the site or in Azure (activities twice: ${activitiesTwice})`, async () => {
    await inWorld({ modes: { activitiesTwice } }, async (world) => {
      await world.protect();
      for (let round = 0; round < 3; round++) {
        world.source.write(round % 2, 10 + round, `round ${round}`);
        await world.source.sendCycle();
        await world.untilApplied(world.source.cycle);
      }
      await world.source.sendCycle();
      const job = await ended(world, await begin(world));
      assert.deepEqual([job.state, job.errors], ['Succeeded', []]);
      await world.untilQuiet();
      await assertNothingLeft(world);
      const refused = await world.source.sendCycle().catch((error: Error) => error.message);
      assert.equal(refused, 'the item is gone');
    });
  });
}

test('a site that does not clean up fails the job, which can be run again, or leave the site alone', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    const failed = await ended(world, await begin(world), 'failed');
    assert.equal(failed.state, 'Failed');
    assert.equal(failed.errors[0]?.code, 'US5199');
    const item = await world.untilState('DisablingFailed');
    assert.equal(item.replication.phase, 'stopped');
    assert.ok((await world.points()).length > 0, 'nothing was deleted before the site was clean');
    const job = await ended(world, await begin(world, true));
    assert.equal(job.state, 'Succeeded');
    await assertNothingLeft(world);
  });
});

test('the virtual machine of a failover and its disks stay', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    assert.equal((await world.failOver()).state, 'Succeeded');
    const { failover } = await world.untilState('FailoverCommitPending');
    assert.equal((await ended(world, await begin(world))).state, 'Succeeded');
    await assertNothingLeft(world);
    assert.equal(world.compute.vms.size, 1);
    for (const { blob } of failover?.disks ?? []) assert.ok(await world.replicas.properties(blob));
  });
});

test('a resynchronization that runs is ended by it', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    await requireResync(world);
    const resync = await submitResync(world);
    await world.until(async () => (await world.currentItem()).replication.phase === 'resynchronization', 'its start');
    assert.equal((await ended(world, await begin(world))).state, 'Succeeded');
    await assertNothingLeft(world);
    assert.equal((await ended(world, resync)).state, 'Cancelled');
    await world.untilQuiet();
    await assertNothingLeft(world);
  });
});
