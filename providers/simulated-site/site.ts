import { mkdir, rm } from 'node:fs/promises';
import type { Clock } from '../../core/ports/clock.js';
import type { SiteInventory } from '../../core/domain/site/inventory.js';
import type { SiteHandlers, SiteRequest, VmListing } from './api.js';
import { notFound, vmLocked, vmNameTaken } from './errors.js';
import { Failback } from './failback.js';
import { Faults } from './faults.js';
import { rebuildDisks } from './journal.js';
import type { StepObserver } from './log-set.js';
import { Machine } from './machine.js';
import { addDisk, dropHalfMade, offlineWrite, resizeDisk, revert, saveDisks } from './maintenance.js';
import { Replication } from './replication.js';
import { Serial } from './serial.js';
import { makeEmptyVm, seedSite, type SeedOptions } from './seed.js';
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
  readonly failback: Failback;
}

/** The whole site: VMM server, hosts, VMs and their guests. The only writer of its folder. */
export class Site {
  private readonly siteFileLock = new Serial();

  private constructor(
    private readonly options: SiteOptions,
    private file: SiteFile,
    private readonly faults: Faults,
    private readonly time: SiteTime,
    private vms: readonly Vm[],
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
    const site = new Site(options, file, faults, time, []);
    for (const config of file.vms) await site.open(config);
    for (const { machine } of site.vms) machine.startGuest();
    return site;
  }

  private async open(config: VmInFile): Promise<Vm> {
    const { siteFolder, journal, observe } = this.options;
    const folder = sitePaths.vmFolder(siteFolder, config.name);
    await dropHalfMade(
      folder,
      config.disks.map((disk) => disk.name),
    );
    const machine = await Machine.open(siteFolder, config);
    const options = {
      machine,
      time: this.time,
      faults: this.faults,
      ...(journal && { journalFolder: sitePaths.journalFolder(siteFolder, config.name) }),
      ...(observe && { observe }),
    };
    const replication = new Replication(options);
    await replication.recover();
    const vm = { machine, replication, failback: new Failback(options, replication) };
    await vm.failback.recover();
    this.vms = [...this.vms, vm];
    return vm;
  }

  /** Long orders end early, so that a stop need not wait for them. */
  beginStop(): void {
    for (const { replication } of this.vms) replication.beginStop();
  }

  /** Guests stop, logs and disks are closed: the next start goes on without resync. */
  async stop(): Promise<void> {
    await Promise.all(this.vms.map(({ machine }) => machine.guest.stop()));
    for (const { machine, replication, failback } of this.vms) {
      await failback.close();
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
        const { guest: _guest, madeForFailback: _made, ...vm } = machine.config;
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
  private async storeVm(machine: Machine, vm: VmInFile): Promise<void> {
    await this.siteFileLock.run(() =>
      this.storeFile({ ...this.file, vms: this.file.vms.map((other) => (other.vmId === vm.vmId ? vm : other)) }),
    );
    machine.config = vm;
  }

  private async storeFile(file: SiteFile): Promise<void> {
    await writeSiteFile(this.options.siteFolder, file);
    this.file = file;
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

  /** The VM is made before the failback is prepared, so that a death in between leaves one that is made no second time. */
  private async prepareFailback({ vmId, protectionId, lockId, create }: SiteRequest<'prepareFailback'>): Promise<void> {
    const isThere = this.vms.some(({ machine }) => machine.config.vmId === vmId);
    if (!isThere && create !== undefined) await this.createVm(create);
    const vm = this.byId(vmId);
    if (create !== undefined) await vm.replication.createRelationship(protectionId);
    await vm.failback.prepare(protectionId, lockId, vm.machine.config.madeForFailback === true);
    // From here on its failback says so.
    const { madeForFailback, ...config } = vm.machine.config;
    if (madeForFailback === true) await this.storeVm(vm.machine, config);
  }

  private async createVm({ hostId, vm }: NonNullable<SiteRequest<'prepareFailback'>['create']>): Promise<void> {
    const host = this.file.hosts.find((each) => each.hostId === hostId);
    if (host === undefined) throw notFound(`host with the id ${hostId}`);
    const { powerState: _, ...described } = vm;
    const config: VmInFile = {
      ...described,
      hostId,
      cloudId: host.cloudId,
      guest: { kind: 'idle', writesPerSecond: 0 },
      madeForFailback: true,
    };
    if (this.vms.some(({ machine }) => machine.config.name === config.name)) throw vmNameTaken(config.name);
    await makeEmptyVm(this.options.siteFolder, config);
    await this.storeFile({ ...this.file, vms: [...this.file.vms, config] });
    await this.open(config);
  }

  /** site.json first: without it the VM is no more, whatever is left of its folder. */
  private async removeVm(vm: Vm): Promise<void> {
    const { machine, replication, failback } = vm;
    const { vmId, name } = machine.config;
    await machine.guest.stop();
    await failback.close();
    await replication.close();
    await this.storeFile({ ...this.file, vms: this.file.vms.filter((other) => other.vmId !== vmId) });
    this.vms = this.vms.filter((other) => other !== vm);
    await machine.lock.run(() => machine.close());
    await rm(sitePaths.vmFolder(this.options.siteFolder, name), { recursive: true, force: true });
  }

  private async abandonFailback(vmId: string, protectionId: string): Promise<void> {
    const vm = this.vms.find(({ machine }) => machine.config.vmId === vmId);
    if (vm === undefined) return;
    const { removeVm } = await vm.failback.abandon(protectionId);
    if (removeVm) await this.removeVm(vm);
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
      await this.byId(vmId).failback.drop(protectionId);
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
    prepareFailback: async (request) => {
      await this.prepareFailback(request);
      return {};
    },
    writeSideImage: async ({ vmId, lockId, diskId, offsetBytes, dataBase64 }) => {
      await this.byId(vmId).failback.write(lockId, diskId, offsetBytes, Buffer.from(dataBase64, 'base64'));
      return {};
    },
    flushSideImage: async ({ vmId, lockId, diskId }) => {
      await this.byId(vmId).failback.flush(lockId, diskId);
      return {};
    },
    replaceDisks: async ({ vmId, lockId, epoch, baseCycle, startAfterwards }) => {
      await this.byId(vmId).failback.replaceDisks(lockId, { epoch, baseCycle, startAfterwards });
      return {};
    },
    abandonFailback: async ({ vmId, protectionId }) => {
      await this.abandonFailback(vmId, protectionId);
      return {};
    },
    failbackStatus: async ({ vmId, protectionId }) => {
      const vm = this.vms.find(({ machine }) => machine.config.vmId === vmId);
      return vm === undefined ? { kind: 'none' } : vm.failback.status(protectionId);
    },
    removeVm: async ({ vm }) => {
      await this.removeVm(this.find(vm));
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
