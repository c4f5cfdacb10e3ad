import { mkdir } from 'node:fs/promises';
import type { Clock } from '../../core/ports/clock.js';
import type { SiteInventory } from '../../core/domain/site/inventory.js';
import type { SiteHandlers, VmListing } from './api.js';
import { notFound, vmLocked } from './errors.js';
import { Faults } from './faults.js';
import { rebuildDisks } from './journal.js';
import type { StepObserver } from './log-set.js';
import { Machine } from './machine.js';
import { addDisk, dropHalfMade, offlineWrite, resizeDisk, revert, saveDisks } from './maintenance.js';
import { Replication } from './replication.js';
import { Serial } from './serial.js';
import { seedSite, type SeedOptions } from './seed.js';
import { sitePaths, writeSiteFile, type GuestSettings, type SiteFile, type VmInFile } from './site-file.js';
import { SiteTime } from './site-time.js';

export interface SiteOptions {
  readonly siteFolder: string;
  readonly clock: Clock;
  /** Keep the judges' journal. */
  readonly journal: boolean;
  readonly seed?: SeedOptions;
  readonly observe?: StepObserver;
}

interface Vm {
  readonly machine: Machine;
  readonly replication: Replication;
}

/** The whole site: VMM server, hosts, VMs and their guests. The only writer of its folder. */
export class Site {
  private readonly siteFileLock = new Serial();

  private constructor(
    private readonly options: SiteOptions,
    private file: SiteFile,
    private readonly faults: Faults,
    private readonly vms: readonly Vm[],
  ) {}

  /** Seeds an empty folder, takes up what was there, starts the guests. */
  static async start(options: SiteOptions): Promise<Site> {
    const { siteFolder } = options;
    await mkdir(siteFolder, { recursive: true });
    const file = await seedSite(siteFolder, options.seed);
    const faults = await Faults.load(siteFolder);
    const time = new SiteTime(options.clock);
    // A clock that does not answer yet must not keep the VMs from running; system time stands in for stamps.
    await time.now().catch(() => undefined);
    const vms: Vm[] = [];
    for (const config of file.vms) {
      const folder = sitePaths.vmFolder(siteFolder, config.name);
      await dropHalfMade(
        folder,
        config.disks.map((disk) => disk.name),
      );
      const machine = await Machine.open(siteFolder, config);
      const replication = new Replication({
        machine,
        time,
        faults,
        ...(options.journal && { journalFolder: sitePaths.journalFolder(siteFolder, config.name) }),
        ...(options.observe && { observe: options.observe }),
      });
      await replication.recover();
      vms.push({ machine, replication });
    }
    for (const { machine } of vms) machine.startGuest();
    return new Site(options, file, faults, vms);
  }

  /** Long orders end early, so that a stop need not wait for them. */
  beginStop(): void {
    for (const { replication } of this.vms) replication.beginStop();
  }

  /** Guests stop, logs and disks are closed: the next start goes on without resync. */
  async stop(): Promise<void> {
    await Promise.all(this.vms.map(({ machine }) => machine.guest.stop()));
    for (const { machine, replication } of this.vms) {
      await replication.close();
      await machine.lock.run(() => machine.close());
    }
  }

  private byId(vmId: string): Vm {
    const found = this.vms.find(({ machine }) => machine.config.vmId === vmId.toLowerCase());
    if (found === undefined) throw notFound(`VM with the id ${vmId}`);
    return found;
  }

  /** As people type it: name or id. */
  private find(vm: string): Vm {
    return this.vms.find(({ machine }) => machine.config.name === vm) ?? this.byId(vm);
  }

  private inventory(): SiteInventory {
    const { version: _, ...inventory } = this.file;
    return {
      ...inventory,
      vms: this.vms.map(({ machine }) => {
        const { guest: _guest, ...vm } = machine.config;
        return { ...vm, powerState: machine.state.powerState };
      }),
    };
  }

  private list(): VmListing[] {
    return this.vms.map(({ machine, replication }) => {
      const { vmId, name, guest, disks } = machine.config;
      const { protectionId, epoch } = machine.state.replication ?? {};
      return {
        vmId,
        name,
        powerState: machine.state.powerState,
        guest,
        writesDone: machine.writesDone,
        disks: disks.map((disk) => ({ diskId: disk.diskId, name: disk.name, sizeBytes: disk.sizeBytes })),
        ...(protectionId !== undefined && { protectionId }),
        ...(epoch !== undefined && { epoch }),
        tracking: replication.tracking(),
      };
    });
  }

  /** site.json first, then what runs. */
  private storeVm(machine: Machine, vm: VmInFile): Promise<void> {
    return this.siteFileLock.run(async () => {
      const vms = this.file.vms.map((other) => (other.vmId === vm.vmId ? vm : other));
      const file = { ...this.file, vms };
      await writeSiteFile(this.options.siteFolder, file);
      this.file = file;
      machine.config = vm;
    });
  }

  private async changeGuest(machine: Machine, change: Partial<GuestSettings>): Promise<void> {
    const guest = { ...machine.config.guest, ...change };
    if (guest.kind === 'idle' && guest.writesPerSecond > 0) guest.kind = 'random';
    await machine.guest.stop();
    await this.storeVm(machine, { ...machine.config, guest });
    machine.startGuest();
  }

  /** The lock is on disk before the guest is asked: from then on nobody starts the VM between its last write and the failover. */
  private async lockSource({ machine, replication }: Vm, protectionId: string, lockId: string): Promise<void> {
    await machine.lock.run(async () => {
      replication.require(protectionId);
      const { lock } = machine.state;
      if (lock?.lockId === lockId) return;
      await machine.save({ lock: { protectionId, lockId, wasRunning: lock?.wasRunning ?? machine.running } });
    });
    await machine.powerOff();
  }

  /** The start comes first: a death in between leaves a lock, which is lifted again, and never a VM that nobody starts. */
  private async unlockSource(vm: Vm, protectionId: string, lockId: string): Promise<void> {
    const { machine } = vm;
    const { lock } = machine.state;
    if (lock?.protectionId !== protectionId || lock.lockId !== lockId) return;
    if (lock.wasRunning) await this.start(vm, lockId);
    await machine.lock.run(async () => {
      if (machine.state.lock?.lockId !== lockId) return;
      const { lock: _, ...unlocked } = machine.state;
      await machine.replaceState(unlocked);
    });
  }

  /** `heldLock`: of the caller, who lifts it. */
  private async start({ machine, replication }: Vm, heldLock?: string): Promise<void> {
    await machine.lock.run(async () => {
      if (machine.running) return;
      if (machine.state.lock !== undefined && machine.state.lock.lockId !== heldLock)
        throw vmLocked(machine.config.name);
      await machine.reopenDisks();
      await replication.tracker.acceptDisks();
      await machine.setRunning();
      machine.startGuest();
    });
  }

  private async addFault(kind: Parameters<Faults['add']>[0]['kind'], vm: string | undefined): Promise<void> {
    if (kind === 'host-crash') {
      // After the answer is on its way. Nothing else: that is what a crash is.
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), 50);
      return;
    }
    await this.faults.add({ kind, ...(vm !== undefined && { vmId: this.find(vm).machine.config.vmId }) });
  }

  readonly handlers: SiteHandlers = {
    inventory: async () => this.inventory(),
    createReplicationRelationship: async ({ vmId, protectionId }) => {
      await this.byId(vmId).replication.createRelationship(protectionId);
      return {};
    },
    removeReplicationRelationship: async ({ vmId, protectionId }) => {
      await this.byId(vmId).replication.removeRelationship(protectionId);
      return {};
    },
    startInitialReplication: ({ vmId, protectionId, epoch, baseCycle }) =>
      this.byId(vmId).replication.start({ protectionId, epoch, baseCycle }),
    startResynchronization: ({ vmId, protectionId, epoch, baseCycle, changedSince }) =>
      this.byId(vmId).replication.start({ protectionId, epoch, baseCycle, changedSince }),
    releaseCheckpoint: async ({ vmId, checkpointId }) => {
      await this.byId(vmId).replication.releaseCheckpoint(checkpointId);
      return {};
    },
    switchLogs: ({ vmId, protectionId, cycle, consistency }) =>
      this.byId(vmId).replication.switchLogs(protectionId, cycle, consistency),
    closedCycles: async ({ vmId, protectionId }) => ({
      cycles: this.byId(vmId).replication.closedCycles(protectionId),
    }),
    discardCyclesThrough: async ({ vmId, protectionId, cycle }) => {
      await this.byId(vmId).replication.discardCyclesThrough(protectionId, cycle);
      return {};
    },
    tracking: async ({ vmId, protectionId }) => this.byId(vmId).replication.tracking(protectionId),
    shutDown: async ({ vmId }) => {
      await this.byId(vmId).machine.powerOff();
      return {};
    },
    lockSource: async ({ vmId, protectionId, lockId }) => {
      await this.lockSource(this.byId(vmId), protectionId, lockId);
      return {};
    },
    unlockSource: async ({ vmId, protectionId, lockId }) => {
      await this.unlockSource(this.byId(vmId), protectionId, lockId);
      return {};
    },
    list: async () => ({ vms: this.list(), faults: [...this.faults.list()] }),
    read: async ({ vm, diskIndex, offsetBytes, lengthBytes }) => {
      const data = await this.find(vm).machine.read(diskIndex, offsetBytes, lengthBytes);
      return { dataBase64: data.toString('base64') };
    },
    write: async ({ vm, diskIndex, offsetBytes, dataBase64 }) => {
      await this.find(vm).machine.write(diskIndex, offsetBytes, Buffer.from(dataBase64, 'base64'));
      return {};
    },
    offlineWrite: async ({ vm, diskIndex, offsetBytes, dataBase64 }) => {
      await offlineWrite(this.find(vm).machine, diskIndex, offsetBytes, Buffer.from(dataBase64, 'base64'));
      return {};
    },
    guest: async ({ vm, kind, writesPerSecond }) => {
      await this.changeGuest(this.find(vm).machine, { writesPerSecond, ...(kind && { kind }) });
      return {};
    },
    power: async ({ vm, powerState }) => {
      const found = this.find(vm);
      await (powerState === 'off' ? found.machine.powerOff() : this.start(found));
      return {};
    },
    saveDisks: async ({ vm }) => {
      await saveDisks(this.find(vm).machine);
      return {};
    },
    revert: async ({ vm }) => {
      const { machine, replication } = this.find(vm);
      await revert(machine, replication.tracker);
      return {};
    },
    resize: async ({ vm, diskIndex, sizeBytes }) => {
      const { machine } = this.find(vm);
      await resizeDisk(machine, diskIndex, sizeBytes, (changed) => this.storeVm(machine, changed));
      return {};
    },
    addDisk: ({ vm, sizeBytes }) => {
      const { machine } = this.find(vm);
      return addDisk(machine, sizeBytes, (changed) => this.storeVm(machine, changed));
    },
    diskAt: async ({ vm, cycle, epoch, outFolder }) => {
      const { machine } = this.find(vm);
      const folder = sitePaths.journalFolder(this.options.siteFolder, machine.config.name);
      const names = (machine.state.replication?.disks ?? []).map((disk) => disk.name);
      return { disks: await rebuildDisks(folder, { cycle, epoch }, names, outFolder) };
    },
    addFault: async ({ kind, vm }) => {
      await this.addFault(kind, vm);
      return {};
    },
    clearFaults: async () => {
      await this.faults.clear();
      return {};
    },
  };
}
