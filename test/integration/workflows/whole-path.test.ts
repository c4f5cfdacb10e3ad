import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseVhdFooter } from '../../../core/dataplane/vhd/fixed-vhd.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import { transferPrefixOfProtection } from '../../../core/domain/replication/blob-names.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { list } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { sampleStorageAccountId, sampleVaultId } from '../../support/sample-item.js';
import { inWorld } from '../../support/replication/in-world.js';
import type { WorldOptions } from '../../support/replication/workflow-world.js';

const modes: [string, WorldOptions][] = [
  ['as usual', {}],
  ['with every activity run twice', { modes: { activitiesTwice: true } }],
  ['with copies made on the store’s side', { copiesFromSnapshotsAreIndependent: true }],
];
for (const [name, options] of modes) {
  test(`a VM is protected, replicated, failed over and committed, ${name}`, async () => {
    await inWorld(options, async (world) => {
      await world.protect();
      for (let round = 0; round < 3; round++) {
        world.source.write(0, 10 + round, `round ${round}`);
        if (round !== 1) world.source.write(1, 20 + round, `second disk, round ${round}`);
        await world.source.sendCycle();
        await world.untilApplied(world.source.cycle);
      }
      const points = await world.points();
      assert.deepEqual(
        points.map(({ cycle }) => cycle),
        [2, 3, 4, 5],
      );
      for (const point of points) await world.assertPointEqualsSource(point);
      const second = points.map(({ disks }) => disks[1]?.snapshotId);
      assert.equal(second[2], second[1], 'an unchanged disk refers to its last snapshot');
      const protectedItem = await world.currentItem();
      assert.equal(protectedItem.target.subnetName, 'data');
      for (const disk of protectedItem.disks) {
        const footer = await world.replicas.readPages(disk.replica, disk.replicaSizeBytes, 512);
        assert.equal(parseVhdFooter(footer).sizeBytes, disk.replicaSizeBytes);
      }

      // Announced, but not applied when disaster strikes.
      world.source.write(0, 40, 'the last write');
      await world.source.sendCycle();
      const failover = await world.failOver();
      assert.deepEqual(failover.errors, []);
      assert.equal(failover.state, 'Succeeded');
      assert.deepEqual(
        failover.tasks.map(({ state }) => state),
        failover.tasks.map(() => 'Succeeded'),
      );
      const item = await world.untilState('FailoverCommitPending');
      assert.equal(item.failover?.cycle, world.source.cycle);
      const lastImage = world.source.images.get(world.source.cycle);
      for (const [index, { blob }] of item.failover.disks.entries()) {
        await world.assertDiskEquals(blob, lastImage?.[index], `failover disk ${index}`);
      }
      const vm = [...world.compute.vms.values()][0];
      assert.equal(vm?.powerState, 'running');
      assert.equal(vm.nics[0]?.subnetName, 'data');

      const late = await world.source.sendCycle({ epoch: 1 });
      assert.equal(late.kind === 'conflict' && late.conflict.kind, 'superseded');

      const commit = await world.operate(jobKinds.commitFailover, workflowNames.commitFailover, 'commitStarted');
      assert.equal((await world.endedJob(commit)).state, 'Succeeded');
      const committed = await world.untilState('FailoverCommitted');
      assert.deepEqual(await world.points(), []);
      for (const disk of committed.disks) assert.deepEqual(await world.replicas.listSnapshots(disk.replica), []);
      for (const [index, { blob }] of (committed.failover?.disks ?? []).entries()) {
        await world.assertDiskEquals(blob, lastImage?.[index], `committed disk ${index}`);
      }
      const left: string[] = [];
      const prefix = transferPrefixOfProtection(world.item.protectionId);
      for await (const blob of world.transfers.listBelow(sampleStorageAccountId, prefix)) left.push(blob);
      assert.deepEqual(left, []);
      assert.deepEqual(await list(world.table, rows.cycles(sampleVaultId, world.item.itemId)), []);
      assert.deepEqual(await list(world.table, rows.segments(sampleVaultId, world.item.itemId)), []);
    });
  });
}
