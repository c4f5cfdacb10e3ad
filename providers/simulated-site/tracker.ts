import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { judgeLogSizes } from '../../core/domain/replication/log-limits.js';
import type { ResyncReason } from '../../core/ports/hypervisor-host.js';
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
 * What of a VM is logged, and whether the logs can still be trusted. All but `recover` and `close` run with the VM's lock
 * held.
 */
export class Tracker implements WriteObserver {
  logs: LogSet | undefined;
  journal: Journal | undefined;
  /** Committed and not discarded, ascending. */
  cycles: readonly CycleFile[] = [];
  private readonly machine: Machine;

  constructor(private readonly options: TrackerOptions) {
    this.machine = options.machine;
    this.machine.observer = this;
  }

  // ---- what the guest's writes pass through ----

  async beforeWrite(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void> {
    const diskId = this.machine.config.disks[diskIndex]?.diskId;
    if (this.logs === undefined || diskId === undefined || !this.logs.has(diskId)) return;
    try {
      this.throwFault();
      await this.logs.append(diskId, offsetBytes, data, this.options.time.approximateMs());
    } catch (error) {
      await this.logsLost(error, 'the change log');
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

  logsLost(error: unknown, where: string): Promise<void> {
    const reason: ResyncReason = systemErrorCode(error) === 'ENOSPC' ? 'diskFull' : 'logWriteFailure';
    return this.markResync(
      reason,
      `a write to ${where} failed: ${error instanceof Error ? error.message : String(error)}`,
    );
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
      await this.markResync('logTooLarge', `the logs of disk ${verdict.diskName} reached half of its size`);
    } else if (verdict.kind === 'vmLogsTooLarge') {
      await this.markResync('logTooLarge', `the logs of the VM exceed half of its disks' size`);
    }
  }

  /**
   * From here on nothing is logged. The mark is stored before the write goes on; where even that fails the logs stay
   * unclosed on disk, so that a restart finds a host crash and comes to the same end.
   */
  async markResync(reason: ResyncReason, message: string): Promise<void> {
    const replication = this.machine.state.replication;
    if (replication?.tracking.kind !== 'on') return;
    const tracking: TrackingState = {
      kind: 'resyncRequired',
      reason,
      message,
      at: this.options.time.approximateText(),
    };
    await this.letGoOfLogs();
    try {
      await this.machine.save({ replication: { ...replication, tracking } });
    } catch (error) {
      this.machine.state = { ...this.machine.state, replication: { ...replication, tracking } };
      process.stderr.write(`state of ${this.machine.config.name} not stored: ${String(error)}\n`);
      return;
    }
    await this.deleteActiveLogs(replication);
  }

  async letGoOfLogs(): Promise<void> {
    const [logs, journal] = [this.logs, this.journal];
    this.logs = undefined;
    this.journal = undefined;
    await logs?.abandon();
    await journal?.close();
  }

  private async deleteActiveLogs({ disks }: ReplicationState): Promise<void> {
    for (const { name } of disks) await rm(vmPaths.log(this.machine.folder, name), { force: true });
  }

  // ---- start and stop of the site ----

  /** Before the guest starts. */
  async recover(): Promise<void> {
    const replication = this.machine.state.replication;
    await this.dropStrayFiles();
    if (replication === undefined) return;
    this.cycles = replication.tracking.kind === 'off' ? [] : await readCycleFiles(this.machine.folder);
    if (replication.tracking.kind === 'off') await this.deleteLogsAndCycles(replication);
    if (replication.tracking.kind === 'resyncRequired') {
      await this.deleteActiveLogs(replication);
      await dropStrayLogs(this.machine.folder, replication.disks);
    }
    if (replication.tracking.kind === 'on') await this.recoverLogs(replication);
  }

  private async recoverLogs(replication: ReplicationState): Promise<void> {
    const recovery = await LogSet.recover(this.machine.folder, replication.disks, this.lastClosedCycle);
    if (recovery.kind === 'unusable') {
      await this.markResync(recovery.reason, recovery.message);
      return;
    }
    this.logs = recovery.logs;
    if (this.options.journalFolder !== undefined) {
      this.journal = await Journal.reopen(this.options.journalFolder, replication.epoch);
    }
    await this.acceptDisks();
  }

  /** With the logs closed a restart goes on without resync. */
  async close(): Promise<void> {
    await this.logs?.close();
    await this.letGoOfLogs();
  }

  /** Side files that no checkpoint names: prepared and never committed, or merged and not yet deleted. */
  private async dropStrayFiles(): Promise<void> {
    const checkpointId = this.machine.state.replication?.checkpoint?.checkpointId;
    for (const name of await readdir(this.machine.folder)) {
      const found = /\.([0-9a-f-]{36})\.(redirect|merging)$/.exec(name)?.[1];
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
      if (known === undefined || this.machine.disk(index).dataWriteGuid === known) continue;
      await this.markResync('diskChangedOffline', `disk ${name} was changed while the VM was off`);
      return true;
    }
    return false;
  }

  /** The disks were just opened: refuses what changed offline, else records this opening's data write GUIDs. Lock held. */
  async acceptDisks(): Promise<void> {
    const replication = this.machine.state.replication;
    if (replication?.tracking.kind !== 'on' || (await this.foundOfflineChange())) return;
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

  /** Tracking ends; logs and cycles go. Stored first, so that a restart finishes it. Lock held. */
  async forgetLogs(replication: ReplicationState): Promise<ReplicationState> {
    await this.letGoOfLogs();
    const without: ReplicationState = {
      ...replication,
      tracking: { kind: 'off' },
      lastClosedCycle: 0,
      dataWriteGuids: {},
    };
    await this.machine.save({ replication: without });
    this.cycles = [];
    await this.deleteLogsAndCycles(replication);
    return without;
  }

  private async deleteLogsAndCycles(replication: ReplicationState): Promise<void> {
    await rm(vmPaths.cycles(this.machine.folder), { recursive: true, force: true });
    await this.deleteActiveLogs(replication);
    await dropStrayLogs(this.machine.folder, replication.disks);
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
