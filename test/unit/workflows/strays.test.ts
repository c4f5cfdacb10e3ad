import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropStrays } from '../../../activities/strays.js';
import { transferBlobName } from '../../../core/domain/replication/blob-names.js';
import { insert, list } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { sampleStorageAccountId, sampleVaultId } from '../../support/sample-item.js';
import { inWorld } from '../../support/replication/in-world.js';

test('what lost answers left of closed cycles and epochs goes, and nothing of the present cycle does', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    await world.untilQuiet();
    await world.harness.engine.stop();
    const item = await world.currentItem();
    const { appliedCycle, epoch } = item.replication;
    const [disk] = item.disks;
    assert(disk);
    const keep = (await world.points()).length;
    // A snapshot whose answer was lost, and the one that took its place.
    const etag = (await world.replicas.properties(disk.replica))?.etag ?? '';
    await world.replicas.createSnapshot(disk.replica, { ifMatch: etag, fence: { epoch, cycle: appliedCycle } });
    // One that a cycle makes just now.
    const next = { epoch, cycle: appliedCycle + 1 };
    await world.replicas.raiseFence(disk.replica, next);
    const moved = (await world.replicas.properties(disk.replica))?.etag ?? '';
    const present = await world.replicas.createSnapshot(disk.replica, { ifMatch: moved, fence: next });
    const blob = (cycle: number, of: number) =>
      transferBlobName(item.protectionId, of, { kind: 'cycle', cycle, diskId: disk.diskId }, 'a'.repeat(32));
    for (const name of [blob(appliedCycle, epoch), blob(appliedCycle + 1, epoch), blob(99, epoch)]) {
      world.transfers.put(sampleStorageAccountId, name, Buffer.from('log'));
    }
    const intent = {
      recoveryPointId: 'p',
      protectionId: item.protectionId,
      epoch,
      cycle: appliedCycle + 1,
      takenAt: item.createdAt,
      consistency: 'crashConsistent',
      state: 'intent',
      disks: [],
      pinnedBy: [],
    } as const;
    const intentRef = rows.point(sampleVaultId, item.itemId, appliedCycle + 1);
    await world.table.transact(intentRef.partition, [insert(intentRef, { ...intent, disks: [], pinnedBy: [] })]);

    const input = { vaultId: sampleVaultId, itemId: item.itemId, protectionId: item.protectionId };
    await dropStrays(world.dependencies, input, item);
    await dropStrays(world.dependencies, input, item);

    const snapshots = await world.replicas.listSnapshots(disk.replica);
    assert.equal(snapshots.length, keep + 1);
    assert(snapshots.some(({ snapshotId }) => snapshotId === present.snapshotId));
    for (const point of await world.points()) if (point.state === 'ready') await world.assertPointEqualsSource(point);
    const left: string[] = [];
    for await (const name of world.transfers.listBelow(sampleStorageAccountId, '')) left.push(name);
    // The last applied cycle's own log may wait for its clean-up; the present cycle's is not touched.
    assert(left.includes(blob(appliedCycle + 1, epoch)));
    assert(!left.includes(blob(appliedCycle, epoch)));
    assert(left.includes(blob(99, epoch)));
    assert.equal((await list(world.table, rows.points(sampleVaultId, item.itemId))).length, keep + 1);
    // A failover applies under its epoch what this one received: nothing of that is a stray.
    const { phase: _, ...progress } = item.replication;
    const failingOver = { ...item, replication: { ...progress, phase: 'stopped', epoch: epoch + 1 } as const };
    await dropStrays(world.dependencies, input, failingOver);
    assert(await world.transfers.stat(sampleStorageAccountId, blob(appliedCycle + 1, epoch)));
    const later = { ...item, replication: { ...item.replication, epoch: epoch + 1 } };
    await dropStrays(world.dependencies, input, later);
    const account = sampleStorageAccountId;
    assert.equal(
      await world.transfers.stat(account, blob(99, epoch)),
      undefined,
      'an epoch that is over leaves nothing',
    );
    assert.equal((await list(world.table, rows.points(sampleVaultId, item.itemId))).length, keep);
  });
});
