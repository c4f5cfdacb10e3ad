import assert from 'node:assert/strict';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskId } from '../../../core/domain/ids.js';
import type { ReplicaBlob } from '../../../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../../../core/domain/recovery-point/recovery-point.js';
import { downloadDisk, firstDifference, qemuCompare } from '../../../scripts/demo/compare-disks.js';
import type { UnderstudySystem } from './understudy-system.js';

export interface JudgedPoint {
  point: RecoveryPoint;
  /** Fixed VHD of each disk at the point, in the item's disk order. */
  images: string[];
}

/**
 * Downloads every disk of a recovery point and compares it with the source rebuilt from the site's journal, by our own
 * reader and by qemu-img. `use` gets the images before they are deleted.
 */
export async function judgePoint(
  system: UnderstudySystem,
  vmName: string,
  point: RecoveryPoint,
  use: (judged: JudgedPoint) => Promise<void> = () => Promise.resolve(),
  /** Under which the site tracks: after a failback it is an earlier one than the app's. */
  siteEpoch: number = point.epoch,
): Promise<void> {
  const { disks } = await system.item(vmName);
  const copies = disks.map(({ diskId, name, replica }) => {
    const snapshot = point.disks.find((disk) => disk.diskId === diskId);
    assert.ok(snapshot, `the point of cycle ${point.cycle} has no snapshot of ${name}`);
    return { diskId, blob: replica, snapshotId: snapshot.snapshotId };
  });
  const source = { cycle: point.cycle, epoch: siteEpoch };
  await judgeDisks(system, vmName, source, copies, (images) => use({ point, images }));
}

/** The same of copies of the VM's disks as they were at the end of a cycle, e.g. of the disks of a failover's VM. */
export async function judgeDisks(
  system: UnderstudySystem,
  vmName: string,
  { cycle, epoch }: { cycle: number; epoch: number },
  copies: readonly { diskId: DiskId; blob: ReplicaBlob; snapshotId?: string }[],
  use: (images: string[]) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const item = await system.item(vmName);
  const out = join(system.folder, 'judge', `${vmName}-${cycle}`);
  await mkdir(out, { recursive: true });
  await system.site('disk-at', '--vm', vmName, '--cycle', String(cycle), '--epoch', String(epoch), '--out', out);
  const images: string[] = [];
  for (const disk of item.disks) {
    const copy = copies.find(({ diskId }) => diskId === disk.diskId);
    assert.ok(copy, `there is no copy of ${disk.name}`);
    const source = join(out, `${disk.name}.raw`);
    const image = join(out, `${disk.name}.vhd`);
    await downloadDisk(system.replicas, copy.blob, image, copy.snapshotId);
    assert.equal(
      await firstDifference(source, image, disk.sourceSizeBytes),
      undefined,
      `${disk.name} differs from its source at cycle ${cycle}`,
    );
    const verdict = await qemuCompare(source, image);
    if (verdict === 'missing') {
      console.log('judge missed: qemu-img');
      assert.notEqual(process.env.UNDERSTUDY_REQUIRE_JUDGES, '1', 'qemu-img is needed here');
    } else {
      assert.equal(verdict, 'identical', `qemu-img: ${disk.name} differs from its source at cycle ${cycle}`);
    }
    images.push(image);
  }
  await use(images);
  await rm(out, { recursive: true, force: true });
}
