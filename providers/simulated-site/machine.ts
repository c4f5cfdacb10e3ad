import { readFile } from 'node:fs/promises';
import { systemErrorCode } from './durable-file.js';
import { notFound, writeRefused } from './errors.js';
import { Guest } from './guests/guest.js';
import { Serial } from './serial.js';
import { sitePaths, vmPaths, type VmInFile } from './site-file.js';
import { VirtualDisk } from './virtual-disk.js';
import { readVmState, writeVmState, type VmState } from './vm-state.js';

/** Sees every write of a VM while its lock is held: the tracker of changes, and the judges' journal. */
export interface WriteObserver {
  /** Resolves when the change is logged, or when it is recorded that logging has ended. Rejects only if not even that could be done. */
  beforeWrite(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void>;
  /** The write is on the disk and about to be acknowledged. */
  afterWrite(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void>;
  /** The disk refused a write that was logged already. */
  writeFailed(error: unknown): Promise<void>;
}

/**
 * One VM: its disks, its power, its guest. Everything that touches a disk runs inside `lock`, one step after the other:
 * holding the lock is what "all writes of the VM are held" means.
 *
 * Durability: a resolved write has reached the operating system and survives the death of this process. Against a power
 * failure the disks are flushed at checkpoints, log switches, power off and stop, like a disk with a write cache.
 */
export class Machine {
  readonly lock = new Serial();
  readonly guest: Guest;
  observer: WriteObserver | undefined;
  writesDone = 0;

  private constructor(
    readonly folder: string,
    public config: VmInFile,
    public state: VmState,
    public disks: VirtualDisk[],
  ) {
    this.guest = new Guest(this);
  }

  static async open(siteFolder: string, config: VmInFile): Promise<Machine> {
    const folder = sitePaths.vmFolder(siteFolder, config.name);
    const state = (await readVmState(folder)) ?? { version: 1, powerState: 'running' };
    return new Machine(folder, config, state, await openDisks(folder, config, state));
  }

  /** Lets go of the disks and opens them anew, as a VM does at its start: what another program changed meanwhile shows. */
  async reopenDisks(): Promise<void> {
    const before = this.disks;
    this.disks = await openDisks(this.folder, this.config, this.state);
    for (const disk of before) await disk.abandon();
  }

  async openAddedDisk(name: string): Promise<void> {
    this.disks = [...this.disks, await VirtualDisk.open(this.folder, name)];
  }

  get running(): boolean {
    return this.state.powerState === 'running';
  }

  /** The state file is replaced first. If that fails in a way that leaves it replaced all the same, it counts. */
  save(change: Partial<VmState>): Promise<void> {
    return this.replaceState({ ...this.state, ...change });
  }

  async replaceState(next: VmState): Promise<void> {
    try {
      await writeVmState(this.folder, next);
    } catch (error) {
      const stored = await readFile(vmPaths.stateFile(this.folder), 'utf8').catch(() => '');
      if (stored.trim() !== JSON.stringify(next, undefined, 2)) throw error;
    }
    this.state = next;
  }

  disk(diskIndex: number): VirtualDisk {
    const disk = this.disks[diskIndex];
    if (disk === undefined) throw notFound(`disk ${diskIndex} in VM ${this.config.name}`);
    return disk;
  }

  /** For the guest. Only as many disks as it was set up with: its layout must not change under it. */
  get sizes(): readonly number[] {
    return this.disks.slice(0, this.config.guest.diskCount ?? this.disks.length).map((disk) => disk.sizeBytes);
  }

  get tag(): number {
    return Number.parseInt(this.config.vmId.slice(0, 8), 16);
  }

  read(diskIndex: number, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    return this.lock.run(() => {
      this.checkRange(diskIndex, offsetBytes, lengthBytes);
      return this.disk(diskIndex).read(offsetBytes, lengthBytes);
    });
  }

  /** Logged, then written, then acknowledged. */
  write(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void> {
    return this.lock.run(async () => {
      if (!this.running) throw writeRefused(this.config.name, 'the VM is off');
      this.checkRange(diskIndex, offsetBytes, data.length);
      await this.observer?.beforeWrite(diskIndex, offsetBytes, data);
      try {
        await this.disk(diskIndex).write(offsetBytes, data);
      } catch (error) {
        await this.observer?.writeFailed(error);
        throw systemErrorCode(error) === 'ENOSPC'
          ? writeRefused(this.config.name, 'the volume that holds its disks is full')
          : error;
      }
      await this.observer?.afterWrite(diskIndex, offsetBytes, data);
      this.writesDone += 1;
    });
  }

  private checkRange(diskIndex: number, offsetBytes: number, lengthBytes: number): void {
    const { sizeBytes } = this.disk(diskIndex);
    if (offsetBytes % 512 !== 0 || lengthBytes % 512 !== 0 || lengthBytes === 0) {
      throw writeRefused(this.config.name, `${lengthBytes} bytes at ${offsetBytes} are not whole sectors of 512 bytes`);
    }
    if (offsetBytes + lengthBytes > sizeBytes) {
      throw writeRefused(this.config.name, `${lengthBytes} bytes at ${offsetBytes} end behind the disk's ${sizeBytes}`);
    }
  }

  startGuest(): void {
    if (this.running) this.guest.start(this.config.guest);
  }

  /** Lock held. The caller has looked at the disks first. */
  async setRunning(): Promise<void> {
    await this.save({ powerState: 'running' });
  }

  async powerOff(): Promise<void> {
    await this.guest.stop();
    await this.lock.run(async () => {
      if (!this.running) return;
      for (const disk of this.disks) await disk.flush();
      await this.save({ powerState: 'off' });
    });
  }

  async close(): Promise<void> {
    for (const disk of this.disks) await disk.close();
  }

  async abandon(): Promise<void> {
    await this.guest.stop();
    await this.lock.run(async () => {
      for (const disk of this.disks) await disk.abandon();
    });
  }
}

async function openDisks(folder: string, config: VmInFile, state: VmState): Promise<VirtualDisk[]> {
  const { checkpoint, disks: replicated } = state.replication ?? {};
  const opened: VirtualDisk[] = [];
  try {
    for (const { name, diskId } of config.disks) {
      const isInCheckpoint = replicated?.some((disk) => disk.diskId === diskId) ?? false;
      opened.push(await VirtualDisk.open(folder, name, isInCheckpoint ? checkpoint : undefined));
    }
    return opened;
  } catch (error) {
    for (const disk of opened) await disk.abandon();
    throw error;
  }
}
