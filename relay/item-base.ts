import type { Logger } from 'pino';
import { UnderstudyError } from '../core/domain/errors.js';
import { readDiskChunks } from '../core/dataplane/disk-chunk.js';
import { writeTransferLog } from '../core/dataplane/transfer-log/writer.js';
import { asDiskId, asVmId } from '../core/domain/ids.js';
import type { Checkpoint, TrackingStatus } from '../core/ports/hypervisor-host.js';
import { BaseScan } from './base-scan.js';
import { SourceDiskUnreadableError } from './errors.js';
import type { ItemView } from './item-view.js';
import type { LaneStep } from './lane.js';
import { planBaseStep } from './plan-next-step.js';
import type { RelayContext } from './relay-context.js';
import { uploadTransferLog } from './upload-transfer-log.js';

/** The steps of one item's initial replication: sends the disks as they were at the checkpoint, piece by piece. */
export class ItemBase {
  readonly #context: RelayContext;
  readonly #log: Logger;
  readonly #view: ItemView;
  readonly #tracking: () => TrackingStatus;
  readonly #onSent: () => void;
  /** Ends of the segments that this process announced and the app has not applied yet. */
  #announced: { diskId: string; toBytes: number }[] = [];
  #checkpoint: Checkpoint | undefined;
  #scan: BaseScan | undefined;

  constructor(
    context: RelayContext,
    log: Logger,
    view: ItemView,
    observed: { tracking: () => TrackingStatus; onSent: () => void },
  ) {
    this.#context = context;
    this.#log = log;
    this.#view = view;
    this.#tracking = observed.tracking;
    this.#onSent = observed.onSent;
  }

  async plan(): Promise<LaneStep> {
    const { assignment } = this.#view;
    const local = await this.#view.local();
    const applied = new Map(assignment.disks.map((disk) => [disk.diskId, disk.appliedThroughBytes]));
    this.#announced = this.#announced.filter(({ diskId, toBytes }) => toBytes > (applied.get(diskId) ?? 0));
    const step = planBaseStep({ assignment, local, tracking: this.#tracking() }, this.#announced);
    if (step.kind === 'rest') {
      await this.#endScanUnless(assignment.phase === 'initialReplication' && !assignment.paused);
      return { kind: 'rest' };
    }
    return {
      kind: 'work',
      attempt: `send disk ${step.diskId} from byte ${step.fromBytes}`,
      run: (signal) => this.#send(step.diskId, step.fromBytes, signal),
    };
  }

  async close(): Promise<void> {
    await this.#endScanUnless(false);
  }

  async #send(diskId: string, fromBytes: number, signal: AbortSignal): Promise<void> {
    const { assignment } = this.#view;
    const { itemId, protectionId, epoch } = assignment;
    const startedAt = performance.now();
    const { log, toBytes } = await this.#context.sendingGate.pass(() => this.#upload(diskId, fromBytes, signal), {
      signal,
      key: itemId,
    });
    signal.throwIfAborted();
    try {
      const segment = { protectionId, epoch, diskId, fromBytes, toBytes, log };
      this.#view.confirmSegment(diskId, await this.#context.client.announceSegment(itemId, segment));
    } catch (error) {
      if (error instanceof UnderstudyError && error.httpStatus === 409) {
        this.#view.forgetConfirmations();
        this.#context.refreshAssignments();
      }
      throw error;
    }
    this.#announced.push({ diskId, toBytes });
    const seconds = (performance.now() - startedAt) / 1000;
    this.#log.debug({ disk: diskId, fromBytes, toBytes, sentBytes: log.lengthBytes, seconds }, 'segment sent');
    this.#onSent();
  }

  async #upload(diskId: string, fromBytes: number, signal: AbortSignal) {
    const { assignment } = this.#view;
    try {
      const scan = await this.#scanFrom(diskId, fromBytes);
      const toBytes = await scan.next();
      const { protectionId, epoch } = assignment;
      const stream = writeTransferLog(
        {
          kind: 'base',
          protectionId,
          diskId,
          epoch,
          cycle: await this.#baseCycle(),
          diskSizeBytes: scan.disk.sizeBytes,
          fromBytes,
          toBytes,
        },
        readDiskChunks(scan.disk, fromBytes, toBytes),
        { signal },
      );
      const target = { kind: 'segment', fromBytes, diskId } as const;
      return { log: await uploadTransferLog(this.#context, assignment, target, stream, signal), toBytes };
    } catch (error) {
      // The scan stands behind the piece that did not arrive: the next attempt starts it again.
      await this.#endScanUnless(false);
      if (error instanceof UnderstudyError && /^US20\d\d$/.test(error.code)) {
        throw new SourceDiskUnreadableError(assignment.vmName, diskId, fromBytes, error);
      }
      throw error;
    }
  }

  async #scanFrom(diskId: string, fromBytes: number): Promise<BaseScan> {
    if (this.#scan?.diskId === diskId && this.#scan.atBytes === fromBytes) return this.#scan;
    await this.#endScanUnless(false);
    const { vmId, protectionId, epoch } = this.#view.assignment;
    if (this.#checkpoint?.epoch !== epoch) {
      const order = { protectionId, epoch, baseCycle: await this.#baseCycle() };
      this.#checkpoint = await this.#context.host.startInitialReplication(asVmId(vmId), order);
    }
    const disk = await this.#context.host.openCheckpointDisk(
      asVmId(vmId),
      this.#checkpoint.checkpointId,
      asDiskId(diskId),
    );
    this.#scan = new BaseScan(diskId, disk, fromBytes);
    return this.#scan;
  }

  async #baseCycle(): Promise<number> {
    return (await this.#view.local()).baseCycle ?? 0;
  }

  async #endScanUnless(isNeeded: boolean): Promise<void> {
    if (isNeeded || this.#scan === undefined) return;
    const scan = this.#scan;
    this.#scan = undefined;
    await scan.close();
  }
}
