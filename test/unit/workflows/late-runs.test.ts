import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeCopyFailoverDisk, makeCreateFailoverVm } from '../../../activities/failover-vm.js';
import { makeApplyRetention } from '../../../activities/recovery-points.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { FencedError } from '../../../core/ports/replica-store.js';
import { list, replace } from '../../../core/records/access.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import { sampleVaultId } from '../../support/sample-item.js';
import { inWorld } from '../../support/replication/in-world.js';
import type { WorkflowWorld } from '../../support/replication/workflow-world.js';

const page = Buffer.alloc(512, 'written by the failed-over VM');

type FailedOver = ProtectedItem & { failover: NonNullable<ProtectedItem['failover']> };

/** The failed-over VM writes to its first disk; then `late` runs, after which the page must still be the VM's. */
async function withVmWriting(late: (world: WorkflowWorld, item: FailedOver) => Promise<void>): Promise<void> {
  await inWorld({}, async (world) => {
    await world.protect();
    world.source.write(0, 50, 'before the failover');
    await world.source.sendCycle();
    assert.equal((await world.failOver()).state, 'Succeeded');
    const item = await world.untilState('FailoverCommitPending');
    assert(item.failover);
    const blob = item.failover.disks[0]?.blob;
    assert(blob);
    const fence = (await world.replicas.properties(blob))?.fence;
    assert(fence);
    await world.replicas.writePages(blob, 50 * 512, page, fence);
    await late(world, { ...item, failover: item.failover });
    assert.deepEqual(await world.replicas.readPages(blob, 50 * 512, 512), page);
  });
}

const inputOf = (item: FailedOver) => ({
  vaultId: sampleVaultId,
  itemId: item.itemId,
  protectionId: item.protectionId,
  jobName: item.failover.jobName,
});
const wholeDisk = (item: FailedOver) => ({ diskIndex: 0, fromBytes: 0, toBytes: item.disks[0]?.sourceSizeBytes ?? 0 });

async function change(world: WorkflowWorld, to: (item: ProtectedItem) => ProtectedItem): Promise<void> {
  const stored = await world.storedItem();
  await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, to(stored.value))]);
}

const runningAgain =
  (item: FailedOver) =>
  (current: ProtectedItem): ProtectedItem => ({
    ...current,
    activeJob: { jobName: item.failover.jobName, scenarioName: 'UnplannedFailover', startedAt: item.createdAt },
  });

test('a copy that runs an hour late, after its failover has ended, is refused', async () => {
  await withVmWriting(async (world, item) => {
    const late = makeCopyFailoverDisk(world.dependencies)({ ...inputOf(item), slice: wholeDisk(item) });
    await assert.rejects(late, { code: 'US4007' });
    await assert.rejects(makeCreateFailoverVm(world.dependencies)(inputOf(item)), { code: 'US4007' });
  });
});

test('a failover that is run again from its beginning does not copy under its running VM', async () => {
  await withVmWriting(async (world, item) => {
    await change(world, runningAgain(item));
    const copy = makeCopyFailoverDisk(world.dependencies);
    assert.deepEqual(await copy({ ...inputOf(item), slice: wholeDisk(item) }), { finished: true });
    // Died between making the VM and writing it down.
    await change(world, ({ failover, ...rest }) => {
      assert(failover);
      const { vmArmId: _, ...without } = failover;
      return { ...rest, failover: without };
    });
    assert.deepEqual(await copy({ ...inputOf(item), slice: wholeDisk(item) }), { finished: true });
  });
});

test('a copier that is still under way when the VM is made is shut out', async () => {
  await withVmWriting(async (world, item) => {
    const blob = item.failover.disks[0]?.blob;
    assert(blob);
    const held = { epoch: item.replication.epoch, cycle: item.failover.cycle };
    await assert.rejects(world.replicas.writePages(blob, 50 * 512, Buffer.alloc(512), held), FencedError);
  });
});

test('a chosen point outlives its history while the source is shut down, and is let go of when the failover is undone', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    const [chosen] = await world.points();
    assert(chosen);
    world.source.write(0, 50, 'a newer point');
    await world.source.sendCycle();
    await world.untilApplied(world.source.cycle);
    const jobName = await world.operate(
      jobKinds.unplannedFailover,
      workflowNames.unplannedFailover,
      'unplannedFailoverStarted',
      { recoveryPoint: { kind: 'point', recoveryPointId: chosen.recoveryPointId }, shutDownSource: true },
    );
    await world.until(
      async () => (await list(world.table, rows.commands(world.item.relayId))).length > 0,
      'the order to shut down',
      true,
    );
    world.time.advance(3 * 3600 * 1000);
    const { itemId, protectionId } = world.item;
    await makeApplyRetention(world.dependencies)({ vaultId: sampleVaultId, itemId, protectionId });
    world.compute.faults.fail('createVm', 'beforeEffect', { times: 5 });
    assert.equal((await world.endedJob(jobName)).state, 'Failed');
    assert.deepEqual(
      (await world.points()).map(({ pinnedBy }) => pinnedBy),
      [[], []],
    );
    const job = await world.failOver({ kind: 'point', recoveryPointId: chosen.recoveryPointId });
    assert.equal(job.state, 'Succeeded', JSON.stringify(job.errors));
    await world.assertFailoverEqualsSource(chosen.cycle);
  });
});
