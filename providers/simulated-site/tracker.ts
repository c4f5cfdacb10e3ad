import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ChunkMap } from '../../core/domain/replication/chunk-map.js';
import { judgeLogSizes } from '../../core/domain/replication/log-limits.js';
import type { ResyncReason } from '../../core/ports/hypervisor-host.js';
import { ChangeRecord, markLog } from './change-record.js';
import { openClosedLog } from './closed-log.js';
import { readCycleFiles, type CycleFile } from './cycle-file.js';
import { systemErrorCode } from './durable-file.js';
import type { Faults } from './faults.js';
import { Journal } from './journal.js';
import { dropStrayLogs, LogSet } from './log-set.js';
import type { Machine, WriteObserver } from './machine.js';
import { vmPaths } from './site-file.js';
import type { SiteTime } from './site-time.js';
import type { ReplicationState } from './vm-state.js';

export interface TrackerOptions {
  readonly machine: Machine;
  readonly time: SiteTime;
  readonly faults: Faults;
  /** The judges' journal of this VM; undefined: none is kept. */
  readonly journalFolder?: string;
}

type TrackingState = ReplicationState['tracking'];

/**
 * What becomes of what the logs tell when tracking ends: where they tell everything up to now it is kept as a record of
 * changed chunks, which goes on; else nothing is known of the changes.
 */
export type LogsTell = 'everything' | 'notEverything';

/**
 * What of a VM is logged, and whether the logs can still be trusted. All but `recover` and `close` run with the VM's lock
 * held.
 */
export class Tracker implements WriteObserver {
  logs: LogSet | undefined;
  journal: Journal | undefined;
  /** Committed and not discarded, ascending. */
  cycles: readonly CycleFile[] = [];
  /** While nothing is logged: which chunks changed since the last discarded cycle. Undefined: not known. */
  private record: ChangeRecord | undefined;
  private readonly machine: Machine;

  constructor(private readonly options: TrackerOptions) {
    this.machine = options.machine;
    this.machine.observer = this;
  }

  // ---- what the guest's writes pass through ----

  async beforeWrite(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void> {
    const diskId = this.machine.config.disks[diskIndex]?.diskId;
    if (diskId === undefined) return;
    if (this.logs === undefined) this.record?.mark(diskId, offsetBytes, data.length);
    if (this.logs?.has(diskId) !== true) return;
    try {
      this.throwFault();
      await this.logs.append(diskId, offsetBytes, data, this.options.time.approximateMs());
    } catch (error) {
      await this.logsLost(error, 'the change log');
      // The write goes on, and no log tells it.
      this.record?.mark(diskId, offsetBytes, data.length);
      return;
    }
    await this.checkLogSizes();
  }

  async afterWrite(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void> {
    await this.journal?.write(diskIndex, offsetBytes, data);
  }

  async writeFailed(error: unknown): Promise<void> {
    // The log says that this write happened: replica and source would differ.
    if (this.logs !== undefined) await this.logsLost(error, 'the disk');
  }

  private throwFault(): void {
    const { faults } = this.options;
    const { vmId } = this.machine.config;
    if (faults.has('disk-full', vmId)) throw Object.assign(new Error('no space left (fault)'), { code: 'ENOSPC' });
    if (faults.has('log-write-failure', vmId)) throw Object.assign(new Error('write error (fault)'), { code: 'EIO' });
  }

  logsLost(error: unknown, where: string, tell: LogsTell = 'everything'): Promise<void> {
    const reason: ResyncReason = systemErrorCode(error) === 'ENOSPC' ? 'diskFull' : 'logWriteFailure';
    const found = error instanceof Error ? error.message : String(error);
    return this.markResync(reason, `a write to ${where} failed: ${found}`, tell);
  }

  private async checkLogSizes(): Promise<void> {
    const replication = this.machine.state.replication;
    if (replication === undefined) return;
    const verdict = judgeLogSizes(
      replication.disks.map(({ diskId, name, sizeBytes }) => ({
        diskName: name,
        diskSizeBytes: sizeBytes,
        logBytes: (this.logs?.lengthBytes(diskId) ?? 0) + this.closedLogBytes(diskId),
      })),
    );
    if (verdict.kind === 'diskLogTooLarge') {
      await this.markResync(
        'logTooLarge',
        `the logs of disk ${verdict.diskName} reached half of its size`,
        'everything',
      );
    } else if (verdict.kind === 'vmLogsTooLarge') {
      await this.markResync('logTooLarge', `the logs of the VM exceed half of its disks' size`, 'everything');
    }
  }

  /**
   * From here on nothing is logged. The mark is stored before the write goes on; where even that fails the logs stay
   * unclosed on disk, so that a restart finds a host crash and comes to the same end.
   */
  async markResync(reason: ResyncReason, message: string, tell: LogsTell): Promise<void> {
    const replication = this.machine.state.replication;
    // A VM that waits already may learn here that its record is void.
    if (tell === 'notEverything') this.record = undefined;
    if (replication?.tracking.kind !== 'on') return;
    const record = tell === 'everything' ? await this.readLogs(replication) : undefined;
    const tracking: TrackingState = {
      kind: 'resyncRequired',
      reason,
      message,
      at: this.options.time.approximateText(),
      ...(record !== undefined && { logsGone: true }),
    };
    await this.letGoOfLogs();
    this.record = record;
    try {
      await this.machine.save({ replication: { ...replication, tracking } });
    } catch (error) {
      this.machine.state = { ...this.machine.state, replication: { ...replication, tracking } };
      process.stderr.write(`state of ${this.machine.config.name} not stored: ${String(error)}\n`);
      return;
    }
    await this.deleteUntracked({ ...replication, tracking });
  }

  /** All that the logs tell: entries of closed cycles that were not discarded, and of the active logs. */
  private async readLogs(replication: ReplicationState): Promise<ChangeRecord | undefined> {
    const { logs, lastClosedCycle, cycles } = this;
    const { epoch } = replication;
    const startCycle = lastClosedCycle - cycles.length;
    // A commit that somebody deleted leaves a gap.
    if (logs === undefined || cycles.some((file, index) => file.cycle !== startCycle + 1 + index)) return undefined;
    try {
      const disks = [];
      for (const disk of replication.disks) {
        const map = ChunkMap.empty(disk.sizeBytes);
        map.union(logs.changes(disk.diskId));
        for (const log of cycles.flatMap((file) => file.logs)) {
          if (log.diskId === disk.diskId) await this.markClosedLog(map, log);
        }
        disks.push({ disk, map });
      }
      return new ChangeRecord({ epoch, startCycle, lastCycle: lastClosedCycle }, disks);
    } catch (error) {
      process.stderr.write(`the changes of ${this.machine.config.name} cannot be read: ${String(error)}\n`);
      return undefined;
    }
  }

  private async markClosedLog(map: ChunkMap, closed: CycleFile['logs'][number]): Promise<void> {
    const log = await openClosedLog(this.machine.folder, closed);
    try {
      await markLog(map, log);
    } finally {
      await log.close();
    }
  }

  /**
   * For the checkpoint that is about to be taken: the record of all changes since that cycle, if there is one. It goes on
   * until `tracksAgain`, so that a start that fails may be tried again with it. Lock held.
   */
  async changedSince(wanted: { epoch: number; cycle: number }): Promise<ChangeRecord | undefined> {
    await this.foundOfflineChange();
    const replication = this.machine.state.replication;
    if (replication?.tracking.kind === 'on') this.record = await this.readLogs(replication);
    return this.record?.covers(wanted) === true ? this.record : undefined;
  }

  /** A checkpoint was committed and its logs tell all changes since. Lock held. */
  tracksAgain(logs: LogSet, journal: Journal | undefined): void {
    this.logs = logs;
    this.journal = journal;
    this.record = undefined;
  }

  async letGoOfLogs(): Promise<void> {
    const [logs, journal] = [this.logs, this.journal];
    this.logs = undefined;
    this.journal = undefined;
    await logs?.abandon();
    await journal?.close();
  }

  /** Of a VM that is not tracked: the active logs, and the closed ones that nothing or only the record speaks for. */
  private async deleteUntracked({ disks, tracking }: ReplicationState): Promise<void> {
    const { folder } = this.machine;
    for (const { name } of disks) await rm(vmPaths.log(folder, name), { force: true });
    if (tracking.kind === 'off') await rm(vmPaths.cycles(folder), { recursive: true, force: true });
    if (tracking.kind === 'resyncRequired' && tracking.logsGone === true) {
      for (const log of this.cycles.flatMap((file) => file.logs)) await rm(join(folder, log.file), { force: true });
    }
    await dropStrayLogs(folder, disks);
  }

  /** Closed cycles whose logs can be read. */
  get readableCycles(): readonly CycleFile[] {
    const tracking = this.machine.state.replication?.tracking;
    return tracking?.kind === 'resyncRequired' && tracking.logsGone === true ? [] : this.cycles;
  }

  // ---- start and stop of the site ----

  /** Before the guest starts. */
  async recover(): Promise<void> {
    const replication = this.machine.state.replication;
    await this.dropStrayFiles();
    if (replication === undefined) return;
    const record = await ChangeRecord.takeUp(this.machine.folder, replication.disks);
    this.cycles = replication.tracking.kind === 'off' ? [] : await readCycleFiles(this.machine.folder);
    if (replication.tracking.kind === 'on') {
      await this.recoverLogs(replication);
      return;
    }
    await this.deleteUntracked(replication);
    this.record = record?.span.epoch === replication.epoch ? record : undefined;
    await this.acceptDisks();
  }

  private async recoverLogs(replication: ReplicationState): Promise<void> {
    const recovery = await LogSet.recover(this.machine.folder, replication.disks, this.lastClosedCycle);
    if (recovery.kind === 'unusable') {
      await this.markResync(recovery.reason, recovery.message, 'notEverything');
      return;
    }
    this.logs = recovery.logs;
    if (this.options.journalFolder !== undefined) {
      this.journal = await Journal.reopen(this.options.journalFolder, replication.epoch);
    }
    await this.acceptDisks();
  }

  /** With the logs closed a restart goes on without resync; with the record stored a VM that waits goes on waiting with it. */
  async close(): Promise<void> {
    await this.logs?.close();
    await this.letGoOfLogs();
    const { record } = this;
    this.record = undefined;
    // A record that cannot be stored costs a longer compare, nothing else: it must not keep the disks from being closed.
    await record
      ?.save((diskName) => vmPaths.waitingChanges(this.machine.folder, diskName))
      .catch((error: unknown) => {
        process.stderr.write(`changes of ${this.machine.config.name} not stored: ${String(error)}\n`);
      });
  }

  /** Side files and records that no checkpoint names: prepared and never committed, or merged and not yet deleted. */
  private async dropStrayFiles(): Promise<void> {
    const checkpointId = this.machine.state.replication?.checkpoint?.checkpointId;
    for (const name of await readdir(this.machine.folder)) {
      const found = /\.([0-9a-f-]{36})\.(redirect|merging|changed)$/.exec(name)?.[1];
      if (found !== undefined && found !== checkpointId) await rm(join(this.machine.folder, name));
    }
  }

  // ---- changes behind the tracker's back ----

  /** A disk whose data write GUID is not the one recorded was written by somebody else while the VM was off. Lock held. */
  async foundOfflineChange(): Promise<boolean> {
    const replication = this.machine.state.replication;
    if (replication === undefined) return false;
    for (const [index, { diskId, name }] of this.machine.config.disks.entries()) {
      const known = replication.dataWriteGuids[diskId];
      const { dataWriteGuid, sizeBytes } = this.machine.disk(index);
      if (known === undefined || dataWriteGuid === known) continue;
      if (replication.disks.some((disk) => disk.diskId === diskId && disk.sizeBytes !== sizeBytes)) {
        // A resync would not help it: each use of it for replication is refused by its own error (US5021).
        this.record = undefined;
        continue;
      }
      await this.markResync('diskChangedOffline', `disk ${name} was changed while the VM was off`, 'notEverything');
      return true;
    }
    return false;
  }

  /** The disks were just opened: refuses what changed offline, else records this opening's data write GUIDs. Lock held. */
  async acceptDisks(): Promise<void> {
    const { replication, failback } = this.machine.state;
    if (replication === undefined || (this.logs === undefined && this.record === undefined)) return;
    // A failback holds the disks against the GUIDs that they had at its start: nobody draws others meanwhile.
    if (failback !== undefined || (await this.foundOfflineChange())) return;
    const dataWriteGuids = await this.drawDataWriteGuids(replication);
    await this.machine.save({ replication: { ...replication, dataWriteGuids } });
  }

  async drawDataWriteGuids({ disks }: Pick<ReplicationState, 'disks'>): Promise<Record<string, string>> {
    const guids: Record<string, string> = {};
    for (const [index, { diskId }] of this.machine.config.disks.entries()) {
      if (!disks.some((disk) => disk.diskId === diskId)) continue;
      await this.machine.disk(index).prepareToWrite();
      guids[diskId] = this.machine.disk(index).dataWriteGuid;
    }
    return guids;
  }

  /**
   * Tracking ends; logs and cycles go. Stored first, so that a restart finishes it. The data write GUIDs stay: the record,
   * if there is one, is held against them until tracking starts again. Lock held.
   */
  async forgetLogs(replication: ReplicationState): Promise<ReplicationState> {
    await this.letGoOfLogs();
    const without: ReplicationState = {
      ...replication,
      tracking: { kind: 'off' },
      lastClosedCycle: 0,
    };
    await this.machine.save({ replication: without });
    this.cycles = [];
    await this.deleteUntracked(without);
    return without;
  }

  /** The relationship ends: what changes from here on is nobody's concern. Lock held. */
  dropRecord(): void {
    this.record = undefined;
  }

  get lastClosedCycle(): number {
    return Math.max(this.machine.state.replication?.lastClosedCycle ?? 0, this.cycles.at(-1)?.cycle ?? 0);
  }

  closedLogBytes(diskId?: string): number {
    const logs = this.cycles.flatMap((cycle) => cycle.logs);
    return logs.reduce(
      (total, log) => (diskId === undefined || log.diskId === diskId ? total + log.lengthBytes : total),
      0,
    );
  }
}
