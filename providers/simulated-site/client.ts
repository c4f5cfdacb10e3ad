import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskReader, RandomReader } from '../../core/dataplane/random-access.js';
import { openVhdxReader } from '../../core/dataplane/vhdx/reader.js';
import type { ChunkMap } from '../../core/domain/replication/chunk-map.js';
import type { DiskId, VmId } from '../../core/domain/ids.js';
import type { HypervisorHost } from '../../core/ports/hypervisor-host.js';
import { openFileReader } from '../local-files/random-access-file.js';
import { SiteConnection } from './connection.js';
import { readCycleFile } from './cycle-file.js';
import { isAbsent } from './durable-file.js';
import { checkpointGone, closedLogGone, notFound, siteUnreachable } from './errors.js';
import { readSiteFile, sitePaths, vmPaths } from './site-file.js';
import { readVmState } from './vm-state.js';

/**
 * The simulated site as its clients see it: orders go to the site process, bytes come straight from its folder. While the
 * process is down every order rejects with US5001 (later), and bytes of checkpoints and closed logs stay readable.
 */
export function openSimulatedSite(options: { siteFolder: string }): HypervisorHost {
  const { siteFolder } = options;
  const site = new SiteConnection(siteFolder);
  return {
    // Tracking ends where a resync is marked; which chunks change from then on is not recorded yet.
    capabilities: { tracksWhileWaiting: false },
    inventory: (signal) => site.call('inventory', {}, signal),
    createReplicationRelationship: async (vmId, protectionId) => {
      await site.call('createReplicationRelationship', { vmId, protectionId });
    },
    removeReplicationRelationship: async (vmId, protectionId) => {
      await site.call('removeReplicationRelationship', { vmId, protectionId });
    },
    startInitialReplication: (vmId, { protectionId, epoch, baseCycle }) =>
      site.call('startInitialReplication', { vmId, protectionId, epoch, baseCycle: baseCycle ?? 0 }),
    startResynchronization: (vmId, options) => site.call('startResynchronization', { vmId, ...options }),
    changedChunks: (vmId, checkpointId, diskId) => changedChunks(siteFolder, vmId, checkpointId, diskId),
    openCheckpointDisk: (vmId, checkpointId, diskId) => openCheckpointDisk(siteFolder, vmId, checkpointId, diskId),
    releaseCheckpoint: async (vmId, checkpointId) => {
      await site.call('releaseCheckpoint', { vmId, checkpointId });
    },
    switchLogs: (vmId, { protectionId, cycle, consistency }) =>
      site.call('switchLogs', { vmId, protectionId, cycle, consistency }),
    closedCycles: async (vmId, protectionId) => (await site.call('closedCycles', { vmId, protectionId })).cycles,
    openLog: (vmId, cycle, diskId) => openLog(siteFolder, vmId, cycle, diskId),
    discardCyclesThrough: async (vmId, protectionId, cycle) => {
      await site.call('discardCyclesThrough', { vmId, protectionId, cycle });
    },
    tracking: async (vmId, protectionId) => {
      const status = await site.call('tracking', { vmId, protectionId });
      if (status.kind !== 'tracking') return status;
      const { checkpointId, ...tracking } = status;
      return checkpointId === undefined ? tracking : { ...tracking, checkpointId };
    },
    shutDown: async (vmId) => {
      await site.call('shutDown', { vmId });
    },
  };
}

interface FoundVm {
  name: string;
  folder: string;
  diskName(diskId: DiskId): string;
}

async function findVm(siteFolder: string, vmId: VmId): Promise<FoundVm> {
  const site = await readSiteFile(siteFolder);
  if (site === undefined) throw siteUnreachable(siteFolder);
  const vm = site.vms.find((candidate) => candidate.vmId === vmId);
  if (vm === undefined) throw notFound(`VM with the id ${vmId}`);
  const diskName = (diskId: DiskId) => {
    const disk = vm.disks.find((candidate) => candidate.diskId === diskId);
    if (disk === undefined) throw notFound(`disk ${diskId} in VM ${vm.name}`);
    return disk.name;
  };
  return { name: vm.name, folder: sitePaths.vmFolder(siteFolder, vm.name), diskName };
}

/** Until the site keeps a record of changed chunks every chunk is to be compared. */
async function changedChunks(
  siteFolder: string,
  vmId: VmId,
  checkpointId: string,
  diskId: DiskId,
): Promise<ChunkMap | undefined> {
  const vm = await findVm(siteFolder, vmId);
  vm.diskName(diskId);
  await requireCheckpoint(vm, checkpointId);
  return undefined;
}

async function requireCheckpoint(vm: FoundVm, checkpointId: string): Promise<void> {
  const { checkpoint } = (await readVmState(vm.folder))?.replication ?? {};
  if (checkpoint?.checkpointId !== checkpointId || checkpoint.releasing) throw checkpointGone(vm.name, checkpointId);
}

/**
 * The frozen VHDX, read in place. Its side file keeps its name for as long as the VHDX is frozen, and loses it before the
 * first byte of the merge: so a read after which the file still has its name saw only frozen bytes.
 */
async function openCheckpointDisk(
  siteFolder: string,
  vmId: VmId,
  checkpointId: string,
  diskId: DiskId,
): Promise<DiskReader & { close(): Promise<void> }> {
  const vm = await findVm(siteFolder, vmId);
  const name = vm.diskName(diskId);
  await requireCheckpoint(vm, checkpointId);
  const stillFrozen = async () => {
    try {
      await access(vmPaths.redirect(vm.folder, name, checkpointId));
    } catch (error) {
      if (isAbsent(error)) throw checkpointGone(vm.name, checkpointId);
      throw error;
    }
  };
  const file = await openFileReader(vmPaths.disk(vm.folder, name));
  try {
    const disk = await openVhdxReader(file);
    await stillFrozen();
    return {
      sizeBytes: disk.sizeBytes,
      logicalSectorBytes: disk.logicalSectorBytes,
      read: async (offsetBytes, lengthBytes) => {
        const data = await disk.read(offsetBytes, lengthBytes);
        await stillFrozen();
        return data;
      },
      allocatedRanges: async function* () {
        for await (const range of disk.allocatedRanges()) {
          await stillFrozen();
          yield range;
        }
        await stillFrozen();
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openLog(
  siteFolder: string,
  vmId: VmId,
  cycle: number,
  diskId: DiskId,
): Promise<RandomReader & { close(): Promise<void> }> {
  const vm = await findVm(siteFolder, vmId);
  const closed = await readCycleFile(vm.folder, cycle);
  const log = closed?.logs.find((candidate) => candidate.diskId === diskId);
  if (log === undefined) throw closedLogGone(vm.name, cycle);
  return openFileReader(join(vm.folder, log.file)).catch((error: unknown) => {
    throw isAbsent(error) ? closedLogGone(vm.name, cycle) : error;
  });
}
