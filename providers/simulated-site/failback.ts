import { constants, copyFile, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { openVhdxReader } from '../../core/dataplane/vhdx/reader.js';
import { openVhdxWriter, type VhdxWriter } from '../../core/dataplane/vhdx/writer.js';
import type { FailbackStatus } from '../../core/ports/hypervisor-host.js';
import { openFileReader, openFileWriter, type FileWriter } from '../local-files/random-access-file.js';
import { flushFolder, isAbsent, temporarySuffix } from './durable-file.js';
import { noRoomForFailback, noSuchFailback, notFound, sourceChanged, sourceRuns } from './errors.js';
import { Journal } from './journal.js';
import { LogSet } from './log-set.js';
import type { Machine } from './machine.js';
import type { Replication, ReplicationOptions } from './replication.js';
import { Serial } from './serial.js';
import { vmPaths } from './site-file.js';
import type { FailbackState, ReplicationState, VmState } from './vm-state.js';

/** What is left free beside the side images: the site's own logs and state go on growing. */
const roomToSpareBytes = 64 * 1024 * 1024;

interface SideImage {
  file: FileWriter;
  disk: VhdxWriter;
}

/**
 * A failback of one VM, on the host's side (docs/architecture.md, rule 9): beside each disk a whole image of it, which takes
 * what differs in the cloud, and at the end one journal, the VM's state file, by which all of them take the disks' places.
 */
export class Failback {
  private readonly images = new Map<string, SideImage>();
  private readonly writing = new Serial();

  private readonly machine: Machine;

  constructor(
    private readonly options: ReplicationOptions,
    private readonly replication: Replication,
  ) {
    this.machine = options.machine;
  }

  /** After a start: a swap that was decided is carried to its end, before the VM may start. */
  async recover(): Promise<void> {
    const { failback } = this.machine.state;
    if (failback === undefined) await this.dropImages();
    const { swap } = failback ?? {};
    if (failback && swap) await this.machine.lock.run(() => this.rollForward(failback, swap));
  }

  async close(): Promise<void> {
    await this.writing.run(() => this.closeImages());
  }

  async status(protectionId: string): Promise<FailbackStatus> {
    const { failback, replacedBy } = this.machine.state;
    if (failback?.protectionId === protectionId) {
      // A swap that broke off is gone on with, though its images lie in their places already.
      const isPrepared = failback.swap !== undefined || (await this.hasImages(failback));
      return { kind: isPrepared ? 'prepared' : 'preparing', lockId: failback.lockId };
    }
    return replacedBy === undefined ? { kind: 'none' } : { kind: 'replaced', lockId: replacedBy };
  }

  private async hasImages({ disks, imagesMade }: FailbackState): Promise<boolean> {
    const { folder } = this.machine;
    const images = await Promise.all(disks.map(({ name }) => isThere(vmPaths.sideImage(folder, name))));
    return imagesMade === true && images.every(Boolean);
  }

  /** `createdHere`: the VM was made for this failback, and goes with it. */
  async prepare(protectionId: string, lockId: string, createdHere: boolean): Promise<void> {
    if (this.machine.state.replacedBy === lockId) return;
    const standing = this.machine.state.failback;
    // A VM that was made for a failback is the next one's to take along when it is given up.
    const isMade = standing !== undefined && standing.lockId !== lockId && (await this.abandon(protectionId)).removeVm;
    await this.replication.mergeCheckpoint();
    await this.machine.lock.run(() => this.begin(protectionId, lockId, createdHere || isMade));
    await this.writing.run(() => this.makeImages(lockId));
  }

  /** The lock is on disk together with what the failback is held against later. */
  private async begin(protectionId: string, lockId: string, createdHere: boolean): Promise<void> {
    const { machine } = this;
    const { name } = machine.config;
    const replication = this.replication.require(protectionId);
    if (machine.state.failback?.lockId === lockId || machine.state.replacedBy === lockId) return;
    if (machine.running) throw sourceRuns(name);
    this.replication.refuseResized(replication);
    await this.checkRoom(replication.disks.map((disk) => disk.name));
    const disks = replication.disks.map((disk) => {
      const index = machine.config.disks.findIndex(({ diskId }) => diskId === disk.diskId);
      return { diskId: disk.diskId, name: disk.name, dataWriteGuid: machine.disk(index).dataWriteGuid };
    });
    const { lock } = machine.state;
    const failback: FailbackState = {
      protectionId,
      lockId,
      disks,
      ...(lock !== undefined && { lockBefore: lock }),
      ...(createdHere && { createdHere }),
    };
    await machine.save({ failback, lock: { protectionId, lockId, wasRunning: false } });
  }

  private async checkRoom(diskNames: readonly string[]): Promise<void> {
    const { folder, config } = this.machine;
    const { bavail, bsize } = await statfs(folder);
    let neededBytes = roomToSpareBytes;
    // As many as the files have blocks for: a copy leaves out what they never wrote.
    for (const name of diskNames) neededBytes += (await stat(vmPaths.disk(folder, name))).size;
    if (bavail * bsize < neededBytes) throw noRoomForFailback(config.name, neededBytes, bavail * bsize);
  }

  /**
   * Once: an image that is lost later would come back as the old disk, and the relay knows of the chunks that it wrote to the
   * one that was lost. The failback is given up then, and begun anew.
   */
  private async makeImages(lockId: string): Promise<void> {
    const { machine } = this;
    if (machine.state.replacedBy === lockId) return;
    const failback = this.require(lockId);
    if (failback.imagesMade) {
      if (await this.hasImages(failback)) return;
      throw noSuchFailback(machine.config.name);
    }
    await this.copyDisks(failback);
    await machine.lock.run(async () => {
      const present = this.require(lockId);
      await machine.save({ failback: { ...present, imagesMade: true } });
    });
  }

  /** Each image appears whole: a copy that dies leaves a temporary name. */
  private async copyDisks({ disks }: FailbackState): Promise<void> {
    const { folder } = this.machine;
    for (const { name } of disks) {
      const image = vmPaths.sideImage(folder, name);
      if (await isThere(image)) continue;
      await copyFile(vmPaths.disk(folder, name), `${image}${temporarySuffix}`, constants.COPYFILE_FICLONE);
      const copy = await open(`${image}${temporarySuffix}`, 'r+');
      try {
        await copy.sync();
      } finally {
        await copy.close();
      }
      await rename(`${image}${temporarySuffix}`, image);
      await flushFolder(folder);
    }
  }

  write(lockId: string, diskId: string, offsetBytes: number, data: Buffer): Promise<void> {
    return this.writing.run(async () => {
      const image = await this.image(lockId, diskId);
      await image.disk.write(offsetBytes, data);
    });
  }

  flush(lockId: string, diskId: string): Promise<void> {
    return this.writing.run(async () => {
      const image = await this.image(lockId, diskId);
      await image.disk.flush();
    });
  }

  private async image(lockId: string, diskId: string): Promise<SideImage> {
    const disk = this.require(lockId).disks.find((each) => each.diskId === diskId);
    if (disk === undefined) throw notFound(`disk ${diskId} in the failback of ${this.machine.config.name}`);
    const known = this.images.get(diskId);
    if (known !== undefined) return known;
    const file = await openFileWriter(vmPaths.sideImage(this.machine.folder, disk.name));
    try {
      const image = { file, disk: await openVhdxWriter(file) };
      this.images.set(diskId, image);
      return image;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  private require(lockId: string): FailbackState {
    const { failback } = this.machine.state;
    if (failback?.lockId !== lockId || failback.swap !== undefined) throw noSuchFailback(this.machine.config.name);
    return failback;
  }

  /** The state file with `swap` is the commit point: before it everything is dropped, after it everything is done. */
  async replaceDisks(
    lockId: string,
    swap: { epoch: number; baseCycle: number; startAfterwards: boolean },
  ): Promise<void> {
    if (this.machine.state.replacedBy === lockId) return;
    await this.writing.run(() => this.closeImages());
    await this.machine.lock.run(async () => {
      const { failback } = this.machine.state;
      if (failback?.lockId !== lockId) throw noSuchFailback(this.machine.config.name);
      if (failback.swap === undefined) {
        await this.refuseChanged(failback);
        await this.machine.save({ failback: { ...failback, swap } });
        await this.options.observe?.('swap decided');
      }
      await this.rollForward(failback, failback.swap ?? swap);
    });
  }

  /** What somebody wrote to a disk since the failback began would be lost by it. Lock held. */
  private async refuseChanged(failback: FailbackState): Promise<void> {
    const { machine } = this;
    await machine.reopenDisks();
    for (const { diskId, name, dataWriteGuid } of failback.disks) {
      const index = machine.config.disks.findIndex((disk) => disk.diskId === diskId);
      if (machine.disk(index).dataWriteGuid !== dataWriteGuid) throw sourceChanged(machine.config.name, name);
    }
    if (!(await this.hasImages(failback))) throw noSuchFailback(machine.config.name);
  }

  /** Every step may run again. The old logs go with the disks that they tell of. Lock held. */
  private async rollForward(
    { lockId, protectionId, disks }: FailbackState,
    { epoch, baseCycle, startAfterwards }: NonNullable<FailbackState['swap']>,
  ): Promise<void> {
    const { machine } = this;
    for (const { name } of disks) {
      const image = vmPaths.sideImage(machine.folder, name);
      if (await isThere(image)) await rename(image, vmPaths.disk(machine.folder, name));
      await this.options.observe?.(`replaced ${name}`);
    }
    await flushFolder(machine.folder);
    await machine.reopenDisks();
    await this.trackAnew({ protectionId, epoch, baseCycle }, ({ failback: _, ...state }) => ({
      ...state,
      replacedBy: lockId,
      lock: { protectionId, lockId, wasRunning: startAfterwards },
    }));
  }

  /** What the VM writes from its start on is in the cycle after `baseCycle`. `change` is stored with that. Lock held. */
  private async trackAnew(
    { protectionId, epoch, baseCycle }: { protectionId: string; epoch: number; baseCycle: number },
    change: (state: VmState) => VmState,
  ): Promise<void> {
    const { machine, time, journalFolder } = this.options;
    const { tracker } = this.replication;
    const replication = await tracker.forgetLogs(this.replication.require(protectionId));
    tracker.dropRecord();
    await this.options.observe?.('logs gone');
    const dataWriteGuids = await tracker.drawDataWriteGuids(replication);
    const guid = (diskId: string) => dataWriteGuids[diskId] ?? '';
    const logs = await LogSet.create(machine.folder, replication.disks, guid, time.approximateNow().epochMilliseconds);
    let journal: Journal | undefined;
    try {
      if (journalFolder !== undefined) {
        journal = await Journal.create(journalFolder, epoch, baseCycle);
        for (const { name } of machine.config.disks) await this.copyAsBase(journalFolder, epoch, name);
      }
      const tracking = { kind: 'on' } as const;
      const next: ReplicationState = { ...replication, epoch, tracking, lastClosedCycle: baseCycle, dataWriteGuids };
      await machine.replaceState(change({ ...machine.state, replication: next }));
    } catch (error) {
      await journal?.close();
      await logs.abandon();
      throw error;
    }
    tracker.tracksAgain(logs, journal);
  }

  private async copyAsBase(journalFolder: string, epoch: number, diskName: string): Promise<void> {
    const file = await openFileReader(vmPaths.disk(this.machine.folder, diskName));
    try {
      await Journal.copyBase(journalFolder, epoch, diskName, await openVhdxReader(file));
    } finally {
      await file.close();
    }
  }

  /** Drops the images and gives the VM the lock back that it had. A swap that was decided is carried out instead. */
  async abandon(protectionId: string): Promise<{ removeVm: boolean }> {
    await this.writing.run(() => this.closeImages());
    return this.machine.lock.run(async () => {
      const { failback, ...state } = this.machine.state;
      if (failback?.protectionId !== protectionId) return { removeVm: false };
      if (failback.swap !== undefined) {
        await this.rollForward(failback, { ...failback.swap, startAfterwards: false });
        return { removeVm: false };
      }
      const { lock: _, ...unlocked } = state;
      await this.machine.replaceState(
        failback.lockBefore === undefined ? unlocked : { ...unlocked, lock: failback.lockBefore },
      );
      await this.dropImages();
      return { removeVm: failback.createdHere === true };
    });
  }

  /** With the relationship, whose lock goes too: images that nobody abandoned. A swap that was decided is carried to its end first. */
  async drop(protectionId: string): Promise<void> {
    if (this.machine.state.failback?.protectionId === protectionId) await this.abandon(protectionId);
  }

  private async dropImages(): Promise<void> {
    const { folder } = this.machine;
    for (const name of await readdir(folder)) {
      if (vmPaths.isSideImage(name)) await rm(join(folder, name), { force: true });
    }
  }

  private async closeImages(): Promise<void> {
    for (const [diskId, { disk, file }] of this.images) {
      await disk.close();
      await file.close();
      this.images.delete(diskId);
    }
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}
