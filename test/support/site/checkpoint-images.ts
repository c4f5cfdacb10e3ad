import assert from 'node:assert/strict';
import type { DiskReader } from '../../../core/dataplane/random-access.js';
import { resyncChunkBytes } from '../../../core/domain/replication/chunk-map.js';
import type { VmId } from '../../../core/domain/ids.js';
import type { Checkpoint, HypervisorHost } from '../../../core/ports/hypervisor-host.js';

interface HostedVm {
  readonly host: HypervisorHost;
  readonly vmId: VmId;
}

export async function checkpointImages(host: HypervisorHost, vmId: VmId, checkpoint: Checkpoint): Promise<Buffer[]> {
  const images: Buffer[] = [];
  for (const { diskId } of checkpoint.disks) {
    const disk = await host.openCheckpointDisk(vmId, checkpoint.checkpointId, diskId);
    images.push(await wholeDisk(disk).finally(() => disk.close()));
  }
  return images;
}

export async function wholeDisk(disk: DiskReader): Promise<Buffer> {
  const image = Buffer.alloc(disk.sizeBytes);
  for await (const { offsetBytes, lengthBytes } of disk.allocatedRanges()) {
    (await disk.read(offsetBytes, lengthBytes)).copy(image, offsetBytes);
  }
  return image;
}

/**
 * The replica with the marked chunks of the checkpoint in it is the checkpoint. Gives how many chunks are marked of how
 * many, so that a map that marks everything does not pass for a record.
 */
export async function assertRecordLeadsTo(
  { host, vmId }: HostedVm,
  checkpoint: Checkpoint,
  replica: readonly Buffer[],
): Promise<{ markedCount: number; chunkCount: number }> {
  const frozen = await checkpointImages(host, vmId, checkpoint);
  const total = { markedCount: 0, chunkCount: 0 };
  for (const [index, { diskId }] of checkpoint.disks.entries()) {
    const map = await host.changedChunks(vmId, checkpoint.checkpointId, diskId);
    assert.ok(map, `disk ${index} has no record of changed chunks`);
    const patched = Buffer.from(replica[index] ?? Buffer.alloc(0));
    for (let chunk = 0; chunk < map.chunkCount; chunk += 1) {
      if (!map.has(chunk)) continue;
      const [from, to] = [chunk * resyncChunkBytes, (chunk + 1) * resyncChunkBytes];
      frozen[index]?.copy(patched, from, from, to);
    }
    assert.ok(frozen[index]?.equals(patched), `disk ${index} changed outside of its marked chunks`);
    total.markedCount += map.markedCount;
    total.chunkCount += map.chunkCount;
  }
  return total;
}

/** Every chunk is to be compared. */
export async function assertNoRecord({ host, vmId }: HostedVm, checkpoint: Checkpoint): Promise<void> {
  for (const { diskId } of checkpoint.disks) {
    assert.equal(await host.changedChunks(vmId, checkpoint.checkpointId, diskId), undefined);
  }
}
