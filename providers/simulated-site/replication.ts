import { randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asDiskId } from '../../core/domain/ids.js';
import type { Checkpoint, ClosedCycle, TrackingStatus } from '../../core/ports/hypervisor-host.js';
import type { ChangeRecord } from './change-record.js';
import { CheckpointMerge } from './checkpoint-merge.js';
import { toClosedCycle, type CycleFile } from './cycle-file.js';
import { flushFolder } from './durable-file.js';
import {
  cycleOutOfOrder,
  diskResized,
  lowMemory,
  notReplicated,
  otherProtection,
  resyncNeeded,
  staleEpoch,
  switchFailed,
} from './errors.js';
import { Journal } from './journal.js';
import { LogSet, SwitchNotUndone, type StepObserver } from './log-set.js';
import type { Machine } from './machine.js';
import { Serial } from './serial.js';
import { vmPaths } from './site-file.js';
import { Tracker, type TrackerOptions } from './tracker.js';
import type { PreparedFreeze, VirtualDisk } from './virtual-disk.js';
import type { ReplicationState } from './vm-state.js';

export interface ReplicationOptions extends TrackerOptions {
  /** For tests: called after each durable step of a log switch, and of a start. */
  readonly observe?: StepObserver;
}

interface StartOptions {
  readonly protectionId: string;
  readonly epoch: number;
  readonly baseCycle: number;
  /** Of a resync: what the replica holds whole. */
  readonly changedSince?: { epoch: number; cycle: number } | undefined;
}

type ConsistencyReached = Pick<ClosedCycle, 'consistency' | 'freezeFailure'>;

/** Replication of one VM, on the host's side: relationship, checkpoint, cycles. The port's promises are kept here. */
export class Replication {
  readonly tracker: Tracker;
  private readonly merge: CheckpointMerge;
  /** One freeze and switch at a time: no other may thaw the guest in between. */
  private readonly switching = new Serial();
  private readonly machine: Machine;

  constructor(private readonly options: ReplicationOptions) {
    this.machine = options.machine;
    this.tracker = new Tracker(options);
    this.merge = new CheckpointMerge(this.machine, this.tracker);
  }

  /** Before the guest starts: logs are taken up, a release that a crash broke off goes on. */
  async recover(): Promise<void> {
    await this.tracker.recover();
    if (this.machine.state.replication?.checkpoint?.releasing !== true) return;
    this.merge.run().catch((error: unknown) => {
      process.stderr.write(`merge of ${this.machine.config.name} waits for its next release: ${String(error)}\n`);
    });
  }

  /** A merge ends at its next step; whoever waits for it is told to come again. It goes on at the next start. */
  beginStop(): void {
    this.merge.beginStop();
  }

  /** After the guest stopped: with the logs closed a restart goes on without resync. */
  async close(): Promise<void> {
    this.beginStop();
    await this.merge.ended();
    await this.machine.lock.run(() => this.tracker.close());
  }

  // ---- relationship ----

  require(protectionId: string): ReplicationState {
    const replication = this.machine.state.replication;
    if (replication === undefined) throw notReplicated(this.machine.config.name);
    if (replication.protectionId !== protectionId) {
      throw otherProtection(this.machine.config.name, replication.protectionId);
    }
    return replication;
  }

  createRelationship(protectionId: string): Promise<void> {
    return this.machine.lock.run(async () => {
      if (this.machine.state.replication !== undefined) {
        this.require(protectionId);
        return;
      }
      if (this.options.journalFolder !== undefined) await Journal.clear(this.options.journalFolder);
      const disks = this.machine.config.disks.map(({ diskId, name, sizeBytes }) => ({ diskId, name, sizeBytes }));
      await this.machine.save({
        replication: {
          protectionId,
          disks,
          epoch: 0,
          tracking: { kind: 'off' },
          lastClosedCycle: 0,
          dataWriteGuids: {},
        },
      });
    });
  }

  async removeRelationship(protectionId: string): Promise<void> {
    if (this.machine.state.replication?.protectionId !== protectionId) return;
    await this.merge.run();
    await this.machine.lock.run(async () => {
      const replication = this.machine.state.replication;
      if (replication?.protectionId !== protectionId) return;
      await this.tracker.forgetLogs(replication);
      this.tracker.dropRecord();
      // A lock of this replication goes with it.
      const { replication: _, lock: _lock, replacedBy: _replaced, ...state } = this.machine.state;
      await this.machine.replaceState(state);
      if (this.options.journalFolder !== undefined) await Journal.clear(this.options.journalFolder);
    });
  }

  // ---- checkpoint ----

  /** Initial replication and resync alike: tracking starts anew with a checkpoint. */
  async start(options: StartOptions): Promise<Checkpoint> {
    const { protectionId, epoch } = options;
    const there = this.checkpointOf(this.require(protectionId), epoch);
    if (there !== undefined) return there;
    this.refuseInLowMemory();
    this.refuseResized(this.require(protectionId));
    await this.merge.run();
    // The clock is asked while writes run; holding them until it answers would let a slow clock stop the guest.
    await this.options.time.now();
    return this.machine.lock.run(async () => {
      const replication = this.require(protectionId);
      const begun = this.checkpointOf(replication, epoch);
      if (begun !== undefined) return begun;
      this.refuseResized(replication);
      return this.startAnew(options);
    });
  }

  /** Lock held. A start that fails or dies on its way leaves the VM untracked, and can be asked for again. */
  private async startAnew({ protectionId, epoch, baseCycle, changedSince }: StartOptions): Promise<Checkpoint> {
    const changes = changedSince && (await this.tracker.changedSince(changedSince));
    const untracked = await this.tracker.forgetLogs(this.require(protectionId));
    await this.options.observe?.('logs forgotten');
    return this.begin(untracked, { epoch, baseCycle, changes });
  }

  /** The checkpoint of this epoch if it is there; an epoch that had its turn is refused. */
  private checkpointOf(replication: ReplicationState, epoch: number): Checkpoint | undefined {
    const { checkpoint } = replication;
    if (checkpoint?.epoch === epoch && !checkpoint.releasing) {
      const disks = replication.disks.map(({ diskId, sizeBytes }) => ({ diskId: asDiskId(diskId), sizeBytes }));
      return { checkpointId: checkpoint.checkpointId, epoch, takenAt: checkpoint.takenAt, disks };
    }
    if (epoch <= replication.epoch) throw staleEpoch(this.machine.config.name, epoch, replication.epoch);
    return undefined;
  }

  private async begin(
    replication: ReplicationState,
    { epoch, baseCycle, changes }: { epoch: number; baseCycle: number; changes: ChangeRecord | undefined },
  ): Promise<Checkpoint> {
    const { machine, time, journalFolder, observe } = this.options;
    const now = time.approximateNow();
    const dataWriteGuids = await this.tracker.drawDataWriteGuids(replication);
    const checkpointId = randomUUID();
    const logs = await LogSet.create(
      machine.folder,
      replication.disks,
      (diskId) => dataWriteGuids[diskId] ?? '',
      now.epochMilliseconds,
    );
    const replicated = machine.disks.filter((disk) => replication.disks.some(({ name }) => name === disk.name));
    const prepared: { disk: VirtualDisk; freeze: PreparedFreeze }[] = [];
    const changesPath = (diskName: string) => vmPaths.checkpointChanges(machine.folder, diskName, checkpointId);
    let journal: Journal | undefined;
    try {
      await observe?.('logs created');
      for (const disk of replicated) prepared.push({ disk, freeze: await disk.prepareFreeze(checkpointId) });
      await flushFolder(machine.folder);
      await observe?.('freeze prepared');
      await changes?.save(changesPath);
      await observe?.('changes stored');
      if (journalFolder !== undefined) journal = await Journal.create(journalFolder, epoch, baseCycle);
      const checkpoint = { checkpointId, epoch, takenAt: now.toString(), releasing: false };
      const next: ReplicationState = {
        ...replication,
        epoch,
        tracking: { kind: 'on' },
        lastClosedCycle: baseCycle,
        checkpoint,
        dataWriteGuids,
      };
      await machine.save({ replication: next });
    } catch (error) {
      for (const { freeze } of prepared) await freeze.discard();
      for (const { name } of replication.disks) await rm(changesPath(name), { force: true });
      await journal?.close();
      await logs.abandon();
      throw error;
    }
    const letGo = prepared.map(({ disk, freeze }) => disk.freeze(freeze));
    this.tracker.tracksAgain(logs, journal);
    await observe?.('committed');
    for (const release of letGo) await release();
    // Inside the lock, so that nothing releases the checkpoint meanwhile: the journal is for tests, its cost is theirs.
    if (journalFolder !== undefined) await this.copyBase(journalFolder, epoch);
    const checkpoint = this.checkpointOf(this.require(replication.protectionId), epoch);
    if (checkpoint === undefined) throw new Error('a checkpoint just committed is missing');
    return checkpoint;
  }

  private async copyBase(journalFolder: string, epoch: number): Promise<void> {
    for (const disk of this.machine.disks) {
      const frozen = disk.frozenView();
      if (frozen !== undefined) await Journal.copyBase(journalFolder, epoch, disk.name, frozen);
    }
  }

  async releaseCheckpoint(checkpointId: string): Promise<void> {
    if (this.machine.state.replication?.checkpoint?.checkpointId === checkpointId) await this.merge.run();
  }

  /** Resolves when no checkpoint is there: its writes are in the disks. */
  mergeCheckpoint(): Promise<void> {
    return this.merge.run();
  }

  // ---- cycles ----

  async switchLogs(protectionId: string, cycle: number, consistency: ClosedCycle['consistency']): Promise<ClosedCycle> {
    const there = this.closedCycle(protectionId, cycle);
    if (there !== undefined) return there;
    this.refuseInLowMemory();
    await this.options.time.now();
    return this.switching.run(() => this.quiesceAndClose(protectionId, cycle, consistency));
  }

  private async quiesceAndClose(
    protectionId: string,
    cycle: number,
    wanted: ClosedCycle['consistency'],
  ): Promise<ClosedCycle> {
    const { guest, lock } = this.machine;
    try {
      const freezeFailure = wanted === 'applicationConsistent' ? await this.freezeGuest() : undefined;
      const kind: ConsistencyReached =
        freezeFailure === undefined ? { consistency: wanted } : { consistency: 'crashConsistent', freezeFailure };
      return await lock.run(
        async () => this.closedCycle(protectionId, cycle) ?? this.closeCycle(this.require(protectionId), cycle, kind),
      );
    } finally {
      guest.thaw();
    }
  }

  /** Asks the guest to freeze. Resolves with why it did not, for a crash-consistent cycle that says so. */
  private async freezeGuest(): Promise<string | undefined> {
    const { machine, faults } = this.options;
    const { name, vmId } = machine.config;
    if (!machine.running) return `${name} is off: there is no guest to freeze`;
    if (faults.has('freeze-failure', vmId)) return `the guest of ${name} did not freeze its writes in time`;
    try {
      await machine.guest.freeze();
      return undefined;
    } catch (error) {
      return `the guest of ${name} did not freeze: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  private closedCycle(protectionId: string, cycle: number): ClosedCycle | undefined {
    this.require(protectionId);
    const found = this.tracker.cycles.find((file) => file.cycle === cycle);
    return found === undefined ? undefined : toClosedCycle(found);
  }

  private async closeCycle(
    replication: ReplicationState,
    cycle: number,
    kind: ConsistencyReached,
  ): Promise<ClosedCycle> {
    const { name } = this.machine.config;
    this.refuseResized(replication);
    if (cycle !== this.tracker.lastClosedCycle + 1) throw cycleOutOfOrder(name, cycle, this.tracker.lastClosedCycle);
    await this.tracker.foundOfflineChange();
    const { tracking } = this.require(replication.protectionId);
    if (tracking.kind === 'resyncRequired') throw resyncNeeded(name, tracking.message);
    if (this.tracker.logs === undefined) throw notReplicated(name);
    const now = this.options.time.approximateNow();
    await this.tracker.journal?.mark(cycle);
    const file = await this.switchOrUndo({ cycle, kind, now: now.toString(), timeMs: now.epochMilliseconds });
    this.tracker.cycles = [...this.tracker.cycles, file];
    if (this.options.faults.has('log-corrupt', this.machine.config.vmId)) await this.corrupt(file);
    return toClosedCycle(file);
  }

  private async switchOrUndo(cycle: {
    cycle: number;
    kind: ConsistencyReached;
    now: string;
    timeMs: number;
  }): Promise<CycleFile> {
    const { config, state } = this.machine;
    const { replication } = state;
    if (this.tracker.logs === undefined || replication === undefined) throw notReplicated(config.name);
    try {
      return await this.tracker.logs.switchTo(
        {
          cycle: cycle.cycle,
          ...cycle.kind,
          takenAt: cycle.now,
          timeMs: cycle.timeMs,
          protectionId: replication.protectionId,
          epoch: replication.epoch,
          dataWriteGuid: (diskId) => replication.dataWriteGuids[diskId] ?? '',
        },
        this.options.observe,
      );
    } catch (error) {
      if (!(error instanceof SwitchNotUndone)) throw switchFailed(config.name, error);
      await this.tracker.logsLost(error, 'the change logs', 'notEverything');
      throw resyncNeeded(config.name, error.message);
    }
  }

  /** The fault log-corrupt: one byte of the first entry's data changes behind everyone's back. */
  private async corrupt(file: CycleFile): Promise<void> {
    const log = file.logs.find(({ entryCount }) => entryCount > 0);
    if (log === undefined) return;
    const handle = await open(join(this.machine.folder, log.file), 'r+');
    try {
      const byte = Buffer.alloc(1);
      await handle.read(byte, 0, 1, 8192);
      await handle.write(Buffer.from([(byte[0] ?? 0) ^ 0xff]), 0, 1, 8192);
    } finally {
      await handle.close();
    }
  }

  closedCycles(protectionId: string): ClosedCycle[] {
    if (this.machine.state.replication?.protectionId !== protectionId) return [];
    return this.tracker.readableCycles.map(toClosedCycle);
  }

  /** The last closed number is stored before the files that tell it go. */
  discardCyclesThrough(protectionId: string, cycle: number): Promise<void> {
    return this.machine.lock.run(async () => {
      const replication = this.machine.state.replication;
      const gone = this.tracker.cycles.filter((file) => file.cycle <= cycle);
      if (replication?.protectionId !== protectionId || gone.length === 0) return;
      const { lastClosedCycle } = this.tracker;
      await this.machine.save({ replication: { ...replication, lastClosedCycle } });
      this.tracker.cycles = this.tracker.cycles.filter((file) => file.cycle > cycle);
      for (const file of gone) await rm(vmPaths.cycleFile(this.machine.folder, file.cycle), { force: true });
      await flushFolder(vmPaths.cycles(this.machine.folder));
      for (const log of gone.flatMap((file) => file.logs))
        await rm(join(this.machine.folder, log.file), { force: true });
      await flushFolder(this.machine.folder);
    });
  }

  tracking(protectionId?: string): TrackingStatus {
    const replication = this.machine.state.replication;
    if (replication === undefined || (protectionId !== undefined && replication.protectionId !== protectionId)) {
      return { kind: 'notReplicated' };
    }
    const { tracking, checkpoint } = replication;
    if (tracking.kind === 'off') return { kind: 'notReplicated' };
    const { lock } = this.machine.state;
    const standing = {
      ...(checkpoint !== undefined && !checkpoint.releasing && { checkpointId: checkpoint.checkpointId }),
      ...(lock !== undefined && { lockId: lock.lockId }),
    };
    if (tracking.kind === 'resyncRequired') return { ...tracking, ...standing };
    return {
      kind: 'tracking',
      lastClosedCycle: this.tracker.lastClosedCycle,
      openLogBytes: this.tracker.logs?.totalBytes ?? 0,
      closedLogBytes: this.tracker.closedLogBytes(),
      ...standing,
    };
  }

  private refuseInLowMemory(): void {
    if (this.options.faults.has('low-memory', this.machine.config.vmId)) throw lowMemory(this.machine.config.name);
  }

  refuseResized(replication: ReplicationState): void {
    for (const { diskId, name, sizeBytes } of replication.disks) {
      const now = this.machine.config.disks.find((disk) => disk.diskId === diskId);
      if (now?.sizeBytes !== sizeBytes) throw diskResized(this.machine.config.name, name, sizeBytes, now?.sizeBytes);
    }
  }
}
