import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asVaultId } from '../../../core/domain/ids.js';
import type { RecoveryPoint } from '../../../core/domain/recovery-point/recovery-point.js';
import { insert, read } from '../../../core/records/access.js';
import { itemIdOf, rows, vaultPartition } from '../../../core/records/rows.js';
import { sweep } from '../../../functions/timers/sweep.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { sampleItem } from '../../support/sample-item.js';

const vaultId = asVaultId(vaultPath);

async function withPoint(harness: Harness) {
  await harness.putVault();
  const base = sampleItem();
  const itemId = itemIdOf(vaultId, base.fabricName, base.containerName, base.itemName);
  const item = sampleItem({ itemId });
  const point: RecoveryPoint = {
    recoveryPointId: 'aaaaaaaa-0000-4000-8000-000000000001',
    protectionId: item.protectionId,
    epoch: 1,
    cycle: 3,
    takenAt: '2026-01-05T10:00:00Z',
    consistency: 'crashConsistent',
    state: 'ready',
    disks: item.disks.map(({ diskId }) => ({ diskId, snapshotId: `snapshot of ${diskId}` })),
    pinnedBy: ['job-1'],
  };
  await harness.table.transact(vaultPartition(vaultId), [
    insert(rows.item(vaultId, itemId), item),
    insert(rows.point(vaultId, itemId, point.cycle), point),
  ]);
  const armId = `${vaultPath}/replicationFabrics/${item.fabricName}/replicationProtectionContainers/${item.containerName}/replicationProtectedItems/${item.itemName}/recoveryPoints/${point.recoveryPointId}`;
  const pins = async () => (await read(harness.table, rows.point(vaultId, itemId, point.cycle)))?.value.pinnedBy;
  return { armId, item, pins };
}

test('an export pins its point, gives a SAS a disk, is renewed by its id and ends on demand', async () => {
  const harness = new Harness();
  const { armId, item, pins } = await withPoint(harness);
  const begin = (exportId?: string) =>
    harness.arm('POST', '/understudy/v1/exports', { recoveryPointId: armId, exportId });
  const answer = await begin();
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  const begun = answer.body as { exportId: string; disks: { name: string; lengthBytes: number; url: string }[] };
  assert.deepEqual(
    begun.disks.map(({ name, lengthBytes }) => [name, lengthBytes]),
    item.disks.map((disk) => [disk.name, disk.replicaSizeBytes + 512]),
  );
  assert.deepEqual(await pins(), ['job-1', `export-${begun.exportId}`]);
  assert.equal((await begin(begun.exportId)).status, 201);
  assert.deepEqual(await pins(), ['job-1', `export-${begun.exportId}`]);

  const end = `/understudy/v1/exports/${begun.exportId}?vaultId=${encodeURIComponent(vaultPath)}`;
  for (let repeat = 0; repeat < 2; repeat++) assert.equal((await harness.arm('DELETE', end)).status, 204);
  assert.deepEqual(await pins(), ['job-1']);
});

test('an export that was left open lets go of its point when its SAS tokens have expired', async () => {
  const harness = new Harness();
  const { armId, pins } = await withPoint(harness);
  await harness.arm('POST', '/understudy/v1/exports', { recoveryPointId: armId });
  await sweep(harness.app);
  assert.equal((await pins())?.length, 2);
  harness.systemNow = harness.systemNow.add({ minutes: 15 });
  await sweep(harness.app);
  assert.deepEqual(await pins(), ['job-1']);
});

test('what is no recovery point is refused, and nothing is pinned', async () => {
  const harness = new Harness();
  const { armId, pins } = await withPoint(harness);
  for (const [recoveryPointId, status] of [
    ['nonsense', 400],
    [`${armId}x`, 404],
  ] as const) {
    assert.equal((await harness.arm('POST', '/understudy/v1/exports', { recoveryPointId })).status, status);
  }
  assert.deepEqual(await pins(), ['job-1']);
});
