import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { DiskReader } from '../../../core/dataplane/random-access.js';
import { resyncChunkBytes } from '../../../core/domain/replication/chunk-map.js';
import { asVmId, type VmId } from '../../../core/domain/ids.js';
import type { Checkpoint, HypervisorHost } from '../../../core/ports/hypervisor-host.js';
import { openSimulatedSite } from '../../../providers/simulated-site/client.js';
import { xorshift } from '../../../providers/simulated-site/guests/ordered-records.js';
import { startTestSite, type TestSite } from './test-site.js';

export const protectionId = 'f1d0c6a0-0000-4000-8000-000000000001';

/** sql-01 replicated under epoch 1, with a copy of its disks in memory that follows every write. */
export interface ResyncSubject extends TestSite {
  readonly host: HypervisorHost;
  readonly vmId: VmId;
  /** The disks as the guest sees them now. */
  readonly images: readonly Buffer[];
  write(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void>;
  /** Some writes of 512 bytes to 64 KiB somewhere in the first half of the disks. */
  writeSome(): Promise<void>;
  /** Closes and discards a cycle, and gives the disks as they are then: what a replica holds that has it whole. */
  acknowledge(cycle: number): Promise<Buffer[]>;
  resync(epoch: number, changedSince?: { epoch: number; cycle: number }): Promise<Checkpoint>;
  /** What `tracking` says: the reason for a resync, or its kind. */
  reason(): Promise<string>;
}

export async function startResyncSubject(
  t: TestContext,
  seed: number,
  options: Parameters<typeof startTestSite>[1] = {},
): Promise<ResyncSubject> {
  const site = await startTestSite(t, options);
  const host = openSimulatedSite({ siteFolder: site.siteFolder });
  const vmId = asVmId((await host.inventory()).vms.find(({ name }) => name === 'sql-01')?.vmId ?? '');
  await host.createReplicationRelationship(vmId, protectionId);
  const base = await host.startInitialReplication(vmId, { protectionId, epoch: 1 });
  const images = await checkpointImages(host, vmId, base);
  await host.releaseCheckpoint(vmId, base.checkpointId);
  const random = xorshift(seed);
  const write = async (diskIndex: number, offsetBytes: number, data: Buffer) => {
    const dataBase64 = data.toString('base64');
    await site.connection.call('write', { vm: 'sql-01', diskIndex, offsetBytes, dataBase64 });
    data.copy(images[diskIndex] ?? Buffer.alloc(0), offsetBytes);
  };
  return {
    ...site,
    host,
    vmId,
    images,
    write,
    writeSome: async () => {
      for (let count = 4 + (random() % 8); count > 0; count -= 1) {
        const diskIndex = random() % images.length;
        const sectors = (images[diskIndex]?.length ?? 0) / 512;
        const data = Buffer.alloc((1 + (random() % 128)) * 512, random() % 256);
        await write(diskIndex, (random() % (sectors / 2)) * 512, data);
      }
    },
    acknowledge: async (cycle) => {
      await host.switchLogs(vmId, { protectionId, cycle, consistency: 'crashConsistent' });
      await host.discardCyclesThrough(vmId, protectionId, cycle);
      return images.map((image) => Buffer.from(image));
    },
    resync: (epoch, changedSince) =>
      host.startResynchronization(vmId, {
        protectionId,
        epoch,
        baseCycle: 100 * epoch,
        ...(changedSince && { changedSince }),
      }),
    reason: async () => {
      const status = await host.tracking(vmId, protectionId);
      return status.kind === 'resyncRequired' ? status.reason : status.kind;
    },
  };
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
  { host, vmId }: Pick<ResyncSubject, 'host' | 'vmId'>,
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
export async function assertNoRecord(
  { host, vmId }: Pick<ResyncSubject, 'host' | 'vmId'>,
  checkpoint: Checkpoint,
): Promise<void> {
  for (const { diskId } of checkpoint.disks) {
    assert.equal(await host.changedChunks(vmId, checkpoint.checkpointId, diskId), undefined);
  }
}
