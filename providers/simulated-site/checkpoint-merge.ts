import { rm } from 'node:fs/promises';
import { siteStopping } from './errors.js';
import type { Machine } from './machine.js';
import { vmPaths } from './site-file.js';
import type { Tracker } from './tracker.js';

/** What one merge step copies while writes are held: some milliseconds. */
const mergeStepBytes = 4 * 1024 * 1024;

/** Merges and drops a VM's checkpoint, a bounded step at a time, with guests writing in between. */
export class CheckpointMerge {
  private running: Promise<void> | undefined;
  private stopping = false;

  constructor(
    private readonly machine: Machine,
    private readonly tracker: Tracker,
  ) {}

  /** Resolves when no checkpoint is there. Safe to repeat after a failure; calls at the same time share one merge. */
  run(): Promise<void> {
    this.running ??= this.mergeWhole().finally(() => (this.running = undefined));
    return this.running;
  }

  /** A merge ends at its next step; whoever waits for it is told to come again. It goes on at the next start. */
  beginStop(): void {
    this.stopping = true;
  }

  async ended(): Promise<void> {
    await this.running?.catch(() => undefined);
  }

  private async mergeWhole(): Promise<void> {
    const isThere = await this.machine.lock.run(() => this.begin());
    while (isThere && (await this.machine.lock.run(() => this.step())));
  }

  private async begin(): Promise<boolean> {
    const replication = this.machine.state.replication;
    if (replication?.checkpoint === undefined) return false;
    const checkpoint = { ...replication.checkpoint, releasing: true };
    if (!replication.checkpoint.releasing) await this.machine.save({ replication: { ...replication, checkpoint } });
    for (const disk of this.machine.disks) await disk.beginMerge();
    // Opened for writing anew, a disk gets another GUID; an offline change must show against it, logged or waiting.
    if (replication.tracking.kind !== 'off') {
      const dataWriteGuids = await this.tracker.drawDataWriteGuids(replication);
      await this.machine.save({ replication: { ...replication, checkpoint, dataWriteGuids } });
    }
    return true;
  }

  private async step(): Promise<boolean> {
    if (this.stopping) throw siteStopping(this.machine.config.name);
    let budgetBytes = mergeStepBytes;
    for (const disk of this.machine.disks) budgetBytes -= await disk.mergeStep(Math.max(0, budgetBytes));
    // Guests dirty less between two steps than a step copies, so this comes.
    if (!this.machine.disks.every((disk) => disk.isMerged)) return true;
    for (const disk of this.machine.disks) await disk.flush();
    const replication = this.machine.state.replication;
    if (replication?.checkpoint === undefined) return false;
    const { checkpoint, ...without } = replication;
    await this.machine.save({ replication: without });
    const cleanUps = this.machine.disks.map((disk) => disk.endMerge());
    for (const cleanUp of cleanUps) await cleanUp();
    for (const { name } of replication.disks) {
      await rm(vmPaths.checkpointChanges(this.machine.folder, name, checkpoint.checkpointId), { force: true });
    }
    return false;
  }
}
