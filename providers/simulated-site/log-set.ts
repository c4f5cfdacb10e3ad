import { randomUUID } from 'node:crypto';
import { access, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { zeroGuid } from '../../core/dataplane/guid.js';
import { readHrlHeader } from '../../core/dataplane/hrl/reader.js';
import { HrlWriter } from '../../core/dataplane/hrl/writer.js';
import { ChunkMap } from '../../core/domain/replication/chunk-map.js';
import type { ResyncReason } from '../../core/ports/hypervisor-host.js';
import { openFileReader, openFileWriter, type FileWriter } from '../local-files/random-access-file.js';
import { markLog, markWithin } from './change-record.js';
import { readCycleFile, type CycleFile } from './cycle-file.js';
import { flushFolder, isAbsent, writeJsonWhole } from './durable-file.js';
import { vmPaths } from './site-file.js';

/**
 * The active change logs of a VM: one for each replicated disk, all open.
 *
 * A switch closes every log, moves each aside as `<disk>.<cycle>.hrl`, opens its successor, and then commits by renaming
 * `cycles/<cycle>.json` into place. The caller holds all writes of the VM from before the first close until after the
 * commit, so a switch that died before its commit has empty successors: `recover` drops them and takes the old logs up
 * again, and nothing is lost.
 */
export interface LoggedDisk {
  readonly diskId: string;
  readonly name: string;
  readonly sizeBytes: number;
}

interface ActiveLog {
  readonly disk: LoggedDisk;
  readonly file: FileWriter;
  readonly writer: HrlWriter;
  /** The chunks of the log's entries: known too when the log can no longer be closed and read. */
  readonly changes: ChunkMap;
}

/** Called after each durable step of a switch or of a start; tests look at the folder there. */
export type StepObserver = (step: string) => Promise<void>;

export type Recovery =
  { kind: 'recovered'; logs: LogSet } | { kind: 'unusable'; reason: ResyncReason; message: string };

export interface SwitchOptions {
  readonly cycle: number;
  readonly protectionId: string;
  readonly epoch: number;
  readonly takenAt: string;
  readonly timeMs: number;
  readonly consistency: 'crashConsistent' | 'applicationConsistent';
  readonly freezeFailure?: string;
  readonly dataWriteGuid: (diskId: string) => string;
}

export class LogSet {
  private constructor(
    private readonly folder: string,
    private logs: readonly ActiveLog[],
  ) {}

  /** Fresh, empty logs at the head of a new chain. */
  static async create(
    folder: string,
    disks: readonly LoggedDisk[],
    dataWriteGuid: (diskId: string) => string,
    timeMs: number,
  ): Promise<LogSet> {
    const logs = await createLogs(folder, disks, () => zeroGuid, dataWriteGuid, timeMs);
    await mkdir(vmPaths.cycles(folder), { recursive: true });
    await flushFolder(folder);
    return new LogSet(folder, logs);
  }

  /** Takes the logs up after a restart. `lastClosedCycle` is the last committed one. */
  static async recover(folder: string, disks: readonly LoggedDisk[], lastClosedCycle: number): Promise<Recovery> {
    const undone = await undoUncommittedSwitch(folder, disks, lastClosedCycle + 1);
    if (undone.kind === 'unusable') return undone;
    const logs: ActiveLog[] = [];
    try {
      for (const disk of disks) logs.push(await reopenLog(folder, disk));
    } catch (error) {
      await closeFiles(logs);
      if (!(error instanceof UnusableLog)) throw error;
      return { kind: 'unusable', reason: error.reason, message: error.message };
    }
    return { kind: 'recovered', logs: new LogSet(folder, logs) };
  }

  /** Resolves when the entry is in the log's file, before the write it describes may begin. */
  async append(diskId: string, offsetBytes: number, data: Buffer, timeMs: number): Promise<void> {
    const { writer, changes } = this.logOf(diskId);
    await writer.append({ offsetBytes, data, timeMs });
    markWithin(changes, offsetBytes, data.length);
  }

  /** Which chunks of the disk have entries in its active log. */
  changes(diskId: string): ChunkMap {
    return this.logOf(diskId).changes;
  }

  has(diskId: string): boolean {
    return this.logs.some(({ disk }) => disk.diskId === diskId);
  }

  lengthBytes(diskId: string): number {
    return this.logOf(diskId).writer.lengthBytes;
  }

  get totalBytes(): number {
    return this.logs.reduce((total, { writer }) => total + writer.lengthBytes, 0);
  }

  private logOf(diskId: string): ActiveLog {
    const log = this.logs.find(({ disk }) => disk.diskId === diskId);
    if (log === undefined) throw new Error(`disk ${diskId} is not tracked`);
    return log;
  }

  /** All or nothing: when it rejects before its commit, the logs go on as they were. No write of the VM may run meanwhile. */
  async switchTo(options: SwitchOptions, observe: StepObserver = async () => undefined): Promise<CycleFile> {
    const before = this.logs;
    const closed = new Map<string, CycleFile['logs'][number]>();
    let successors: readonly ActiveLog[] = [];
    try {
      await this.closeAside(options.cycle, closed, observe);
      successors = await createLogs(
        this.folder,
        before.map(({ disk }) => disk),
        (diskId) => this.logOf(diskId).writer.uniqueId,
        options.dataWriteGuid,
        options.timeMs,
      );
      await flushFolder(this.folder);
      await observe('successors opened');
      const { timeMs: _, dataWriteGuid: _guid, ...commit } = options;
      const file: CycleFile = { version: 1, ...commit, logs: [...closed.values()] };
      await writeJsonWhole(vmPaths.cycleFile(this.folder, options.cycle), file);
      await observe('committed');
      this.logs = successors;
      await closeFiles(before);
      return file;
    } catch (error) {
      await closeFiles(successors);
      await this.undo(options.cycle, closed).catch((undoError: unknown) => {
        throw new SwitchNotUndone(undoError instanceof Error ? undoError.message : String(undoError), { cause: error });
      });
      throw error;
    }
  }

  private async closeAside(
    cycle: number,
    closed: Map<string, CycleFile['logs'][number]>,
    observe: StepObserver,
  ): Promise<void> {
    for (const { disk, writer } of this.logs) {
      const { uniqueId: logId, currentSizeBytes: lengthBytes, totalEntries: entryCount } = await writer.close();
      const file = `${disk.name}.${cycle}.hrl`;
      closed.set(disk.diskId, { diskId: disk.diskId, file, logId, lengthBytes, entryCount });
      await observe(`closed ${disk.name}`);
    }
    for (const { disk } of this.logs) {
      await rename(vmPaths.log(this.folder, disk.name), vmPaths.closedLog(this.folder, disk.name, cycle));
      await observe(`moved ${disk.name}`);
    }
  }

  /** Logs that were closed are taken up again; the others were never let go of. */
  private async undo(cycle: number, closed: ReadonlyMap<string, unknown>): Promise<void> {
    await rm(vmPaths.cycleFile(this.folder, cycle), { force: true });
    await flushFolder(vmPaths.cycles(this.folder));
    const logs: ActiveLog[] = [];
    for (const log of this.logs) {
      if (!closed.has(log.disk.diskId)) {
        logs.push(log);
        continue;
      }
      const aside = vmPaths.closedLog(this.folder, log.disk.name, cycle);
      if (await isThere(aside)) await rename(aside, vmPaths.log(this.folder, log.disk.name));
      await log.file.close();
      logs.push(await reopenLog(this.folder, log.disk));
    }
    await flushFolder(this.folder);
    this.logs = logs;
  }

  /** Closes every log properly: replication goes on without resync after a restart. */
  async close(): Promise<void> {
    for (const { writer } of this.logs) await writer.close();
    await this.abandon();
  }

  /** Leaves the logs unclosed, as a crash would. */
  async abandon(): Promise<void> {
    await closeFiles(this.logs);
    this.logs = [];
  }
}

/** A switch failed and so did taking the logs up again: what they say is not the whole history any more. */
export class SwitchNotUndone extends Error {}

class UnusableLog extends Error {
  constructor(
    readonly reason: ResyncReason,
    message: string,
  ) {
    super(message);
  }
}

async function createLogs(
  folder: string,
  disks: readonly LoggedDisk[],
  previousUniqueId: (diskId: string) => string,
  dataWriteGuid: (diskId: string) => string,
  timeMs: number,
): Promise<ActiveLog[]> {
  const logs: ActiveLog[] = [];
  try {
    for (const disk of disks) {
      const file = await openFileWriter(vmPaths.log(folder, disk.name), { mode: 'truncate' });
      try {
        const writer = await HrlWriter.create(file, {
          uniqueId: randomUUID(),
          previousUniqueId: previousUniqueId(disk.diskId),
          dataWriteGuid: dataWriteGuid(disk.diskId),
          timeMs,
        });
        logs.push({ disk, file, writer, changes: ChunkMap.empty(disk.sizeBytes) });
      } catch (error) {
        await file.close();
        throw error;
      }
    }
    return logs;
  } catch (error) {
    await closeFiles(logs);
    throw error;
  }
}

async function reopenLog(folder: string, disk: LoggedDisk): Promise<ActiveLog> {
  const path = vmPaths.log(folder, disk.name);
  const file = await openFileWriter(path).catch((error: unknown) => {
    if (isAbsent(error)) throw new UnusableLog('hostCrash', `the change log ${path} is missing`);
    throw error;
  });
  try {
    const header = await readHrlHeader(file);
    if (header.endOfLogBytes === 0) {
      throw new UnusableLog(
        'hostCrash',
        `the change log ${path} was not closed: the host crashed while it was written`,
      );
    }
    const changes = ChunkMap.empty(disk.sizeBytes);
    await markLog(changes, file);
    return { disk, file, writer: await HrlWriter.reopen(file), changes };
  } catch (error) {
    await file.close();
    if (error instanceof UnusableLog) throw error;
    const found = error instanceof Error ? error.message : String(error);
    throw new UnusableLog('logCorrupt', `the change log ${path} cannot be taken up again: ${found}`);
  }
}

/**
 * Without its cycle file nothing was closed: the logs that were moved aside take their place back, over successors that
 * must be empty because writes were held. Logs of other cycles without a file are left-overs of a discard.
 */
async function undoUncommittedSwitch(
  folder: string,
  disks: readonly LoggedDisk[],
  cycle: number,
): Promise<{ kind: 'undone' } | { kind: 'unusable'; reason: ResyncReason; message: string }> {
  for (const disk of disks) {
    const aside = vmPaths.closedLog(folder, disk.name, cycle);
    if (!(await isThere(aside))) continue;
    const active = vmPaths.log(folder, disk.name);
    if ((await entryBytes(active)) > 0) {
      return {
        kind: 'unusable',
        reason: 'logCorrupt',
        message: `${active} has entries, but cycle ${cycle} has no file`,
      };
    }
    await rename(aside, active);
  }
  await flushFolder(folder);
  await dropStrayLogs(folder, disks);
  return { kind: 'undone' };
}

/** Bytes behind an empty log's header and first block; 0 too for a log whose creation died. */
async function entryBytes(path: string): Promise<number> {
  if (!(await isThere(path))) return 0;
  const file = await openFileReader(path);
  try {
    return Math.max(0, file.lengthBytes - emptyLogBytes);
  } finally {
    await file.close();
  }
}
/** Header and first metadata block. */
const emptyLogBytes = 8192;

/** Closed logs that no cycle file names. */
export async function dropStrayLogs(folder: string, disks: readonly LoggedDisk[]): Promise<void> {
  for (const name of await readdir(folder)) {
    const parts = /^(.+)\.(\d+)\.hrl$/.exec(name);
    if (parts === null || !disks.some((disk) => disk.name === parts[1])) continue;
    if ((await readCycleFile(folder, Number(parts[2]))) === undefined) await rm(join(folder, name), { force: true });
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

async function closeFiles(logs: readonly ActiveLog[]): Promise<void> {
  for (const { file } of logs) await file.close();
}
