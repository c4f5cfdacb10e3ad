import { access, stat } from 'node:fs/promises';
import type { DiskReader, RandomReader } from '../../core/dataplane/random-access.js';
import { openVhdxReader } from '../../core/dataplane/vhdx/reader.js';
import type { ChunkMap } from '../../core/domain/replication/chunk-map.js';
import type { DiskId, VmId } from '../../core/domain/ids.js';
import type { ClosedCycle, HypervisorHost } from '../../core/ports/hypervisor-host.js';
import { openFileReader } from '../local-files/random-access-file.js';
import { writePieceMaxBytes, type SiteResponse } from './api.js';
import { SiteConnection } from './connection.js';
import { readChanges } from './change-record.js';
import { openClosedLog } from './closed-log.js';
import { readCycleFile } from './cycle-file.js';
import { isAbsent } from './durable-file.js';
import { checkpointGone, closedLogGone, noSuchFailback, notFound, siteUnreachable } from './errors.js';
import { Faults } from './faults.js';
import { readSiteFile, sitePaths, vmPaths } from './site-file.js';
import { readVmState } from './vm-state.js';

/**
 * The simulated site as its clients see it: orders go to the site process, bytes come straight from its folder. While the
 * process is down every order rejects with US5001 (later), and bytes of checkpoints and closed logs stay readable.
 */
export function openSimulatedSite(options: {
  siteFolder: string;
  /** How orders reach the site; by default the process that run.json names. */
  connection?: Pick<SiteConnection, 'call'>;
}): HypervisorHost {
  const { siteFolder } = options;
  const site = options.connection ?? new SiteConnection(siteFolder);
  return {
    capabilities: { tracksWhileWaiting: true },
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
    switchLogs: async (vmId, { protectionId, cycle, consistency }) =>
      toClosedCycle(await site.call('switchLogs', { vmId, protectionId, cycle, consistency })),
    closedCycles: async (vmId, protectionId) =>
      (await site.call('closedCycles', { vmId, protectionId })).cycles.map(toClosedCycle),
    openLog: (vmId, cycle, diskId) => openLog(siteFolder, vmId, cycle, diskId),
    discardCyclesThrough: async (vmId, protectionId, cycle) => {
      await site.call('discardCyclesThrough', { vmId, protectionId, cycle });
    },
    tracking: async (vmId, protectionId) => {
      const status = await site.call('tracking', { vmId, protectionId });
      if (status.kind === 'notReplicated') return status;
      const { checkpointId, lockId, ...tracking } = status;
      return {
        ...tracking,
        ...(checkpointId === undefined ? {} : { checkpointId }),
        ...(lockId === undefined ? {} : { lockId }),
      };
    },
    shutDown: async (vmId) => {
      await site.call('shutDown', { vmId });
    },
    lockSource: async (vmId, { protectionId, lockId }) => {
      await site.call('lockSource', { vmId, protectionId, lockId });
    },
    unlockSource: async (vmId, { protectionId, lockId }) => {
      await site.call('unlockSource', { vmId, protectionId, lockId });
    },
    prepareFailback: async (vmId, options) => {
      await site.call('prepareFailback', { vmId, ...options });
    },
    openSideImage: (vmId, options) => openSideImage(siteFolder, site, vmId, options),
    replaceDisks: async (vmId, options) => {
      await site.call('replaceDisks', { vmId, ...options });
    },
    abandonFailback: async (vmId, protectionId) => {
      await site.call('abandonFailback', { vmId, protectionId });
    },
    failbackStatus: (vmId, protectionId) => site.call('failbackStatus', { vmId, protectionId }),
  };
}

/** How long a reading of the faults is taken for the present: a send should not wait for a file. */
const lineFaultsFreshMs = 200;

export type LineFault = 'none' | 'cut' | 'slow';

/**
 * The line between a VM's host and the cloud, as the faults network-cut and network-slow have it; without a VM only those
 * of the whole site count. Whoever sends asks before each send: the site process need not run for the answer.
 */
export function openLineFaults(options: { siteFolder: string }): { current(vmId?: VmId): Promise<LineFault> } {
  const path = sitePaths.faultsFile(options.siteFolder);
  let read: { atMs: number; faults: Promise<Faults> } | undefined;
  let known: { version: string; faults: Faults } | undefined;
  const load = async (): Promise<Faults> => {
    // The file is replaced whole: a new one has another inode or another time.
    const { ino, mtimeMs } = (await statIfThere(path)) ?? { ino: 0, mtimeMs: 0 };
    const version = `${ino} ${mtimeMs}`;
    if (known?.version !== version) known = { version, faults: await Faults.load(options.siteFolder) };
    return known.faults;
  };
  return {
    current: async (vmId) => {
      const nowMs = performance.now();
      if (read === undefined || nowMs - read.atMs > lineFaultsFreshMs) read = { atMs: nowMs, faults: load() };
      const faults = await read.faults;
      if (faults.has('network-cut', vmId)) return 'cut';
      return faults.has('network-slow', vmId) ? 'slow' : 'none';
    },
  };
}

async function statIfThere(path: string): Promise<{ ino: number; mtimeMs: number } | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** Without the keys that are only there with `undefined` in them. */
function toClosedCycle({ freezeFailure, ...closed }: SiteResponse<'switchLogs'>): ClosedCycle {
  return freezeFailure === undefined ? closed : { ...closed, freezeFailure };
}

interface FoundVm {
  name: string;
  folder: string;
  disk(diskId: DiskId): { name: string; sizeBytes: number };
}

async function findVm(siteFolder: string, vmId: VmId): Promise<FoundVm> {
  const site = await readSiteFile(siteFolder);
  if (site === undefined) throw siteUnreachable(siteFolder);
  const vm = site.vms.find((candidate) => candidate.vmId === vmId);
  if (vm === undefined) throw notFound(`VM with the id ${vmId}`);
  const findDisk = (diskId: DiskId) => {
    const disk = vm.disks.find((candidate) => candidate.diskId === diskId);
    if (disk === undefined) throw notFound(`disk ${diskId} in VM ${vm.name}`);
    return disk;
  };
  return { name: vm.name, folder: sitePaths.vmFolder(siteFolder, vm.name), disk: findDisk };
}

/** The record lies beside the disk until the checkpoint's release; one that is absent or damaged tells nothing. */
async function changedChunks(
  siteFolder: string,
  vmId: VmId,
  checkpointId: string,
  diskId: DiskId,
): Promise<ChunkMap | undefined> {
  const vm = await findVm(siteFolder, vmId);
  const { name, sizeBytes } = vm.disk(diskId);
  const changes = await readChanges(vmPaths.checkpointChanges(vm.folder, name, checkpointId), sizeBytes);
  // Asked afterwards: a file that was not found may have gone with its checkpoint meanwhile.
  await requireCheckpoint(vm, checkpointId);
  return changes?.map;
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
  const { name } = vm.disk(diskId);
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
      read: async (offsetBytes, lengthBytes, into) => {
        const data = await disk.read(offsetBytes, lengthBytes, into);
        await stillFrozen();
        return data;
      },
      allocatedRanges: async function* (fromBytes) {
        for await (const range of disk.allocatedRanges(fromBytes)) {
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

/** Read straight from the folder, written through the site: the only writer of it. */
async function openSideImage(
  siteFolder: string,
  site: Pick<SiteConnection, 'call'>,
  vmId: VmId,
  { lockId, diskId }: { lockId: string; diskId: DiskId },
): ReturnType<HypervisorHost['openSideImage']> {
  const vm = await findVm(siteFolder, vmId);
  const { name } = vm.disk(diskId);
  if ((await readVmState(vm.folder))?.failback?.lockId !== lockId) throw noSuchFailback(vm.name);
  const file = await openFileReader(vmPaths.sideImage(vm.folder, name)).catch((error: unknown) => {
    throw isAbsent(error) ? noSuchFailback(vm.name) : error;
  });
  try {
    const disk = await openVhdxReader(file);
    return {
      sizeBytes: disk.sizeBytes,
      logicalSectorBytes: disk.logicalSectorBytes,
      read: (offsetBytes, lengthBytes, into) => disk.read(offsetBytes, lengthBytes, into),
      allocatedRanges: (fromBytes) => disk.allocatedRanges(fromBytes),
      write: async (offsetBytes, data) => {
        for (let at = 0; at < data.length; at += writePieceMaxBytes) {
          const dataBase64 = data.subarray(at, at + writePieceMaxBytes).toString('base64');
          await site.call('writeSideImage', { vmId, lockId, diskId, offsetBytes: offsetBytes + at, dataBase64 });
        }
      },
      flush: async () => {
        await site.call('flushSideImage', { vmId, lockId, diskId });
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
  return openClosedLog(vm.folder, log).catch((error: unknown) => {
    throw isAbsent(error) ? closedLogGone(vm.name, cycle) : error;
  });
}
