import type { TestContext } from 'node:test';
import { asVmId, type VmId } from '../../../core/domain/ids.js';
import type { Checkpoint, HypervisorHost } from '../../../core/ports/hypervisor-host.js';
import { openSimulatedSite } from '../../../providers/simulated-site/client.js';
import { xorshift } from '../../../providers/simulated-site/guests/ordered-records.js';
import { checkpointImages } from './checkpoint-images.js';
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
