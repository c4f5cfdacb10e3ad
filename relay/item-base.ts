import type { Logger } from 'pino';
import { UnderstudyError } from '../core/domain/errors.js';
import { readDiskChunks } from '../core/dataplane/disk-chunk.js';
import { writeTransferLog } from '../core/dataplane/transfer-log/writer.js';
import type { Assignment, TransferLogRef } from '../core/domain/relay-protocol/wire.js';
import type { TrackingStatus } from '../core/ports/hypervisor-host.js';
import type { BaseCheckpoint } from './base-checkpoint.js';
import { BaseScan } from './base-scan.js';
import { SourceDiskUnreadableError } from './errors.js';
import { ItemResync, type ComparedRegion } from './item-resync.js';
import type { ItemView } from './item-view.js';
import type { LaneStep } from './lane.js';
import { isBaseReceived, isBaseStarted, planBaseStep, type BaseStep, type DiskRegion } from './plan-base-step.js';
import type { RelayContext } from './relay-context.js';
import { uploadTransferLog } from './upload-transfer-log.js';

/** Codes of a disk that cannot be read (docs/errors.md): cut short, or a VHDX that is damaged. */
const isDiskCode = (code: string): boolean => /^US20[01]\d$/.test(code);

/**
 * The steps of one item's base: sends the disks as they were at the checkpoint, piece by piece; of a resynchronization only
 * what differs from the replica.
 */
export class ItemBase {
  readonly #context: RelayContext;
  readonly #log: Logger;
  readonly #view: ItemView;
  readonly #checkpoint: BaseCheckpoint;
  readonly #tracking: () => TrackingStatus;
  readonly #events: { onSent: () => void; onLost: () => void };
  readonly #resync: ItemResync;
  /** Ends of the segments with a log that this process announced and the app has not applied yet. */
  #announced: { diskId: string; toBytes: number; lengthBytes: number }[] = [];
  #scan: BaseScan | undefined;
  /** Under which epoch the lines above were found. */
  #epoch: number;

  constructor(
    context: RelayContext,
    log: Logger,
    view: ItemView,
    checkpoint: BaseCheckpoint,
    observed: { tracking: () => TrackingStatus; onSent: () => void; onLost: () => void },
  ) {
    this.#context = context;
    this.#log = log;
    this.#view = view;
    this.#checkpoint = checkpoint;
    this.#tracking = observed.tracking;
    this.#events = observed;
    this.#resync = new ItemResync(context, log, view, checkpoint);
    this.#epoch = view.assignment.epoch;
  }

  async plan(): Promise<LaneStep> {
    const { assignment } = this.#view;
    const local = await this.#view.local();
    if (this.#epoch !== assignment.epoch) {
      await this.close();
      this.#epoch = assignment.epoch;
      this.#announced = [];
    }
    const applied = new Map(assignment.disks.map((disk) => [disk.diskId, disk.appliedThroughBytes]));
    this.#announced = this.#announced.filter(({ diskId, toBytes }) => toBytes > (applied.get(diskId) ?? 0));
    // Once all is received the checkpoint may be released: nobody must ask for it then.
    const isOpen = isBaseStarted(local) && !isBaseReceived(assignment) && !this.#isHeld(assignment);
    const step = planBaseStep(
      { assignment, local, tracking: this.#tracking() },
      {
        announced: this.#announced,
        records: isOpen && assignment.phase === 'resynchronization' ? await this.#records() : undefined,
        isHashed: (region) => this.#resync.isHashed(assignment, region),
      },
    );
    // What failed because the base is lost is reported by the other lane, and not tried again.
    if (step.kind === 'rest' || this.#checkpoint.lost !== undefined) {
      if (this.#isHeld(assignment)) await this.close();
      return { kind: 'rest' };
    }
    return this.#work(assignment, step);
  }

  async close(): Promise<void> {
    await Promise.all([this.#endScan(), this.#resync.close()]);
  }

  #work(assignment: Assignment, step: Exclude<BaseStep, { kind: 'rest' }>): LaneStep {
    if (step.kind === 'sendSegment') {
      const { diskId, fromBytes } = step;
      const attempt = `send disk ${diskId} from byte ${fromBytes}`;
      const make = (signal: AbortSignal) => this.#upload(assignment, diskId, fromBytes, signal);
      return { kind: 'work', attempt, run: (signal) => this.#send(assignment, { diskId, fromBytes }, make, signal) };
    }
    const { region } = step;
    const { diskId, fromBytes, toBytes } = region;
    const where = `disk ${diskId} from byte ${fromBytes} to ${toBytes}`;
    switch (step.kind) {
      case 'passOver': {
        const unchanged = () => Promise.resolve({ log: null, toBytes, digestBytes: 0 });
        const run = (signal: AbortSignal) => this.#send(assignment, region, unchanged, signal);
        return { kind: 'work', attempt: `pass over ${where}`, run };
      }
      case 'hashRegion':
        return { kind: 'work', attempt: `hash ${where}`, run: (signal) => this.#hash(assignment, region, signal) };
      case 'sendDifferences': {
        const make = (signal: AbortSignal) => this.#resync.send(assignment, region, signal);
        const run = (signal: AbortSignal) => this.#send(assignment, region, make, signal);
        return { kind: 'work', attempt: `send differences of ${where}`, run };
      }
    }
  }

  /** Nothing of the base is wanted now, and perhaps never again. */
  #isHeld({ phase, paused, resyncRequired }: Assignment): boolean {
    return (phase !== 'initialReplication' && phase !== 'resynchronization') || paused || resyncRequired;
  }

  async #records() {
    try {
      return await this.#checkpoint.records();
    } catch (error) {
      if (!(await this.#noticeLoss(error))) throw error;
      return undefined;
    }
  }

  async #hash(assignment: Assignment, region: DiskRegion, signal: AbortSignal): Promise<void> {
    const options = { signal, key: assignment.itemId };
    const hash = () => this.#resync.hash(assignment, region, signal);
    await this.#reading(region, () => this.#context.sendingGate.pass(hash, options));
  }

  async #send(
    assignment: Assignment,
    from: { diskId: string; fromBytes: number },
    make: (signal: AbortSignal) => Promise<ComparedRegion>,
    signal: AbortSignal,
  ): Promise<void> {
    const { itemId, protectionId, epoch } = assignment;
    const { diskId, fromBytes } = from;
    const startedAt = performance.now();
    const pass = () => this.#context.sendingGate.pass(() => make(signal), { signal, key: itemId });
    const made = await this.#reading(from, pass);
    if (made === undefined) return;
    const { log, toBytes, digestBytes } = made;
    signal.throwIfAborted();
    try {
      const segment = { protectionId, epoch, diskId, fromBytes, toBytes, log };
      const confirmed = await this.#context.client.announceSegment(itemId, segment);
      this.#view.confirmSegment(assignment, diskId, confirmed);
    } catch (error) {
      if (error instanceof UnderstudyError && error.httpStatus === 409) {
        this.#view.forgetConfirmations();
        this.#context.refreshAssignments();
      }
      throw error;
    }
    if (log !== null) this.#announced.push({ diskId, toBytes, lengthBytes: log.lengthBytes });
    if (assignment.phase === 'resynchronization') await this.#count(assignment, log, digestBytes);
    const seconds = (performance.now() - startedAt) / 1000;
    this.#log.debug({ disk: diskId, fromBytes, toBytes, sentBytes: log?.lengthBytes ?? 0, seconds }, 'segment sent');
    this.#events.onSent();
  }

  async #count(assignment: Assignment, log: TransferLogRef | null, digestBytes: number): Promise<void> {
    if (log === null && digestBytes === 0) return;
    const { resynchronization: before } = await this.#view.local();
    const resynchronization = {
      differingBytes: (before?.differingBytes ?? 0) + (log?.changedBytes ?? 0),
      sentBytes: (before?.sentBytes ?? 0) + (log?.lengthBytes ?? 0),
      digestBytes: (before?.digestBytes ?? 0) + digestBytes,
    };
    await this.#view.note(assignment, { resynchronization });
  }

  /** Runs what reads the checkpoint. Undefined where it turned out to be lost; a disk's own failure says which and where. */
  async #reading<T>({ diskId, fromBytes }: { diskId: string; fromBytes: number }, work: () => Promise<T>) {
    try {
      return await work();
    } catch (error) {
      // The scan stands behind the piece that did not arrive: the next attempt starts it again.
      await this.#endScan();
      if (await this.#noticeLoss(error)) return undefined;
      if (error instanceof UnderstudyError && isDiskCode(error.code)) {
        throw new SourceDiskUnreadableError(this.#view.assignment.vmName, diskId, fromBytes, error);
      }
      throw error;
    }
  }

  async #noticeLoss(error: unknown): Promise<boolean> {
    const isLost = await this.#checkpoint.noticeLoss(error);
    if (isLost) this.#events.onLost();
    return isLost;
  }

  async #upload(
    assignment: Assignment,
    diskId: string,
    fromBytes: number,
    signal: AbortSignal,
  ): Promise<ComparedRegion> {
    const scan = await this.#scanFrom(diskId, fromBytes);
    const toBytes = await scan.next();
    const { protectionId, epoch } = assignment;
    const cycle = (await this.#view.local()).baseCycle ?? 0;
    const diskSizeBytes = scan.disk.sizeBytes;
    const stream = writeTransferLog(
      { kind: 'base', protectionId, diskId, epoch, cycle, diskSizeBytes, fromBytes, toBytes },
      readDiskChunks(scan.disk, fromBytes, toBytes),
      { signal },
    );
    const target = { kind: 'segment', fromBytes, diskId } as const;
    const log = await uploadTransferLog(this.#context, assignment, target, stream, signal);
    return { log, toBytes, digestBytes: 0 };
  }

  async #scanFrom(diskId: string, fromBytes: number): Promise<BaseScan> {
    if (this.#scan?.diskId === diskId && this.#scan.atBytes === fromBytes) return this.#scan;
    await this.#endScan();
    this.#scan = new BaseScan(diskId, await this.#checkpoint.openDisk(diskId), fromBytes);
    return this.#scan;
  }

  async #endScan(): Promise<void> {
    const scan = this.#scan;
    this.#scan = undefined;
    await scan?.close();
  }
}
