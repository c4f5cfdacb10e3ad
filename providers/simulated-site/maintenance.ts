import { copyFile, rename, rm } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import type { DiskReader } from '../../core/dataplane/random-access.js';
import { createVhdx } from '../../core/dataplane/vhdx/create.js';
import { openVhdxReader } from '../../core/dataplane/vhdx/reader.js';
import { openVhdxWriter } from '../../core/dataplane/vhdx/writer.js';
import { openFileReader, openFileWriter } from '../local-files/random-access-file.js';
import { flushFolder, isAbsent } from './durable-file.js';
import { notFound, writeRefused } from './errors.js';
import type { Machine } from './machine.js';
import { vmPaths, type VmInFile } from './site-file.js';
import type { Tracker } from './tracker.js';

/**
 * What people do to a VM's disks around replication: behind its back, back in time, larger, more of them. Each waits for
 * the VM's lock.
 */
const mib = 1024 * 1024;
/** Small disks in small blocks, so that their files stay small; large ones in Hyper-V's default of 32 MiB. */
const blockSizeOf = (sizeBytes: number): number => (sizeBytes < 1024 * mib ? 2 * mib : 32 * mib);
const copyPieceBytes = mib;

/** A new, empty disk file. Its page-83 id is the disk's id in the inventory. */
export async function createDisk(path: string, diskId: string, sizeBytes: number): Promise<void> {
  const file = await openFileWriter(path, { mode: 'truncate' });
  try {
    await createVhdx(file, {
      sizeBytes,
      kind: 'dynamic',
      blockSizeBytes: blockSizeOf(sizeBytes),
      virtualDiskId: diskId,
    });
  } finally {
    await file.close();
  }
}

/** Writes to a disk of a VM that is off, past the tracker, as a program that mounts the disk would. */
export function offlineWrite(machine: Machine, diskIndex: number, offsetBytes: number, data: Buffer): Promise<void> {
  return whileOff(machine, 'it can be changed offline', async () => {
    const file = await openFileWriter(vmPaths.disk(machine.folder, machine.disk(diskIndex).name));
    try {
      const disk = await openVhdxWriter(file);
      await disk.write(offsetBytes, data);
      await disk.close();
    } finally {
      await file.close();
    }
  });
}

/** Keeps a copy of every disk for `revert`, at one instant. */
export function saveDisks(machine: Machine): Promise<void> {
  return machine.lock.run(async () => {
    refuseUnderCheckpoint(machine, 'its disks are saved');
    for (const disk of machine.disks) {
      await disk.flush();
      await copyFile(vmPaths.disk(machine.folder, disk.name), vmPaths.savedDisk(machine.folder, disk.name));
    }
  });
}

/** Brings the saved disks back. The change logs then tell another history than the disks: the VM needs a resync. */
export async function revert(machine: Machine, tracker: Tracker): Promise<void> {
  await whileOff(machine, 'it is reverted', async () => {
    for (const { name } of machine.config.disks) {
      const [saved, disk] = [vmPaths.savedDisk(machine.folder, name), vmPaths.disk(machine.folder, name)];
      await copyFile(saved, `${disk}.reverting`).catch((error: unknown) => {
        throw isAbsent(error) ? notFound(`saved copy of disk ${name}: run "checkpoint" first`) : error;
      });
    }
    await tracker.markResync('reverted', 'the disks were brought back to an earlier state', 'notEverything');
    for (const { name } of machine.config.disks) {
      const disk = vmPaths.disk(machine.folder, name);
      await rename(`${disk}.reverting`, disk);
    }
    await flushFolder(machine.folder);
  });
}

/** Gives a disk of a VM that is off another size: a new file with the same id takes the old one's place. */
export function resizeDisk(
  machine: Machine,
  diskIndex: number,
  sizeBytes: number,
  store: (vm: VmInFile) => Promise<void>,
): Promise<void> {
  return whileOff(machine, 'a disk is resized', async () => {
    const settings = machine.config.disks[diskIndex];
    if (settings === undefined) throw notFound(`disk ${diskIndex} in VM ${machine.config.name}`);
    if (sizeBytes < settings.sizeBytes || sizeBytes % copyPieceBytes !== 0) {
      throw writeRefused(machine.config.name, 'a disk can only grow, to whole MiB');
    }
    const path = vmPaths.disk(machine.folder, settings.name);
    const resized = `${path}.resizing`;
    await createDisk(resized, settings.diskId, sizeBytes);
    await copyDisk(path, resized);
    await rename(resized, path);
    await flushFolder(machine.folder);
    const disks = machine.config.disks.map((disk, index) => (index === diskIndex ? { ...disk, sizeBytes } : disk));
    await store({ ...machine.config, disks });
  });
}

/** One more disk, empty. Replication goes on with the disks it has; the new one is not protected. */
export function addDisk(
  machine: Machine,
  sizeBytes: number,
  store: (vm: VmInFile) => Promise<void>,
): Promise<{ diskId: string }> {
  return machine.lock.run(async () => {
    const { disks, guest, name: vmName } = machine.config;
    const [first] = disks;
    if (first === undefined) throw notFound(`disk in VM ${vmName}`);
    const name = `${vmName}-data${disks.length}`;
    const disk = { ...first, diskId: randomUUID(), name, sizeBytes, isOsDisk: false };
    await createDisk(vmPaths.disk(machine.folder, name), disk.diskId, sizeBytes);
    const diskCount = guest.diskCount ?? disks.length;
    await store({ ...machine.config, disks: [...disks, disk], guest: { ...guest, diskCount } });
    await machine.openAddedDisk(name);
    return { diskId: disk.diskId };
  });
}

function refuseUnderCheckpoint(machine: Machine, what: string): void {
  if (machine.state.replication?.checkpoint !== undefined) {
    throw writeRefused(machine.config.name, `a replication checkpoint is open; wait for its release until ${what}`);
  }
}

/** The disks are closed while the task runs, and opened anew after it, whatever came of it. */
function whileOff(machine: Machine, what: string, task: () => Promise<void>): Promise<void> {
  return machine.lock.run(async () => {
    if (machine.running) throw writeRefused(machine.config.name, `the VM must be off before ${what}`);
    refuseUnderCheckpoint(machine, what);
    try {
      await task();
    } finally {
      await machine.reopenDisks();
    }
  });
}

async function copyDisk(from: string, to: string): Promise<void> {
  const source = await openFileReader(from);
  const target = await openFileWriter(to);
  try {
    const writer = await openVhdxWriter(target);
    await copyContent(await openVhdxReader(source), writer);
    await writer.close();
  } finally {
    await source.close();
    await target.close();
  }
}

async function copyContent(
  from: DiskReader,
  to: { write(offsetBytes: number, data: Buffer): Promise<void> },
): Promise<void> {
  for await (const range of from.allocatedRanges()) {
    const end = Math.min(range.offsetBytes + range.lengthBytes, from.sizeBytes);
    for (let at = range.offsetBytes; at < end; at += copyPieceBytes) {
      await to.write(at, await from.read(at, Math.min(copyPieceBytes, end - at)));
    }
  }
}

/** Left by a task that died: the disk itself was not touched. */
export async function dropHalfMade(folder: string, diskNames: readonly string[]): Promise<void> {
  for (const name of diskNames) {
    for (const suffix of ['reverting', 'resizing']) {
      await rm(`${vmPaths.disk(folder, name)}.${suffix}`, { force: true });
    }
  }
}
