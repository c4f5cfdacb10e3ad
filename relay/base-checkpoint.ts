import type { DiskReader } from '../core/dataplane/random-access.js';
import { UnderstudyError } from '../core/domain/errors.js';
import { asDiskId, asVmId } from '../core/domain/ids.js';
import type { ChunkMap } from '../core/domain/replication/chunk-map.js';
import type { ResyncScope } from '../core/domain/relay-protocol/wire.js';
import { scopeGroupBytes } from '../core/domain/replication/resync-geometry.js';
import type { Checkpoint } from '../core/ports/hypervisor-host.js';
import { ChangeRecordLostError, DiskMismatchError } from './errors.js';
import type { ItemView } from './item-view.js';
import type { LostPart } from './plan-next-step.js';
import type { RelayContext } from './relay-context.js';

/** Codes of a base that cannot be sent any more (docs/errors.md): its checkpoint is gone, or what belongs to it. */
const lostBaseReasons: Readonly<Record<string, 'checkpointLost' | 'changeRecordLost'>> = {
  US5007: 'checkpointLost',
  US5013: 'checkpointLost',
  US5124: 'changeRecordLost',
  US3015: 'checkpointLost',
};

/** The checkpoint that an epoch's base is sent from: taken once, and the same whoever asks, also after a kill. */
export class BaseCheckpoint {
  readonly #context: Pick<RelayContext, 'host' | 'client' | 'clock'>;
  readonly #view: ItemView;
  #taken: Checkpoint | undefined;
  #records: { checkpointId: string; byDisk: ReadonlyMap<string, ChunkMap> | undefined } | undefined;
  #lost: LostPart | undefined;

  constructor(context: Pick<RelayContext, 'host' | 'client' | 'clock'>, view: ItemView) {
    this.#context = context;
    this.#view = view;
  }

  /** Why this epoch's base cannot be sent any more. */
  get lost(): LostPart | undefined {
    return this.#lost?.epoch === this.#view.assignment.epoch ? this.#lost : undefined;
  }

  /** Takes the checkpoint, makes sure of its disks, and tells the app; once it knows, that is on disk. */
  async start(): Promise<void> {
    const { assignment } = this.#view;
    const { itemId, protectionId, epoch, vmName } = assignment;
    const checkpoint = await this.take();
    for (const { diskId, sizeBytes } of assignment.disks) {
      const disk = checkpoint.disks.find((each) => each.diskId === diskId);
      if (disk === undefined) throw new DiskMismatchError(vmName, diskId, 'the checkpoint does not have it');
      if (disk.sizeBytes !== sizeBytes) {
        throw new DiskMismatchError(vmName, diskId, `it has ${disk.sizeBytes} bytes now, ${sizeBytes} then`);
      }
    }
    const records = await this.records();
    const scopes = records && [...records].map(([diskId, record]) => scopeOf(diskId, record));
    const checkpointAt = checkpoint.takenAt;
    const report = { protectionId, epoch, checkpointAt, ...(scopes && { scopes }) };
    await this.#context.client.reportBaseStarted(itemId, report);
    await this.#view.note(assignment, { checkpointAt, usesRecords: scopes !== undefined });
  }

  /** Before the host is asked at first, the cycle that the checkpoint will stand for is on disk. */
  async take(): Promise<Checkpoint> {
    const { assignment } = this.#view;
    const { vmId, protectionId, epoch, phase, receivedCycle, changedSince } = assignment;
    if (this.#taken?.epoch === epoch) return this.#taken;
    const noted = (await this.#view.local()).baseCycle;
    if (noted === undefined) await this.#view.note(assignment, { baseCycle: receivedCycle });
    const order = { protectionId, epoch, baseCycle: noted ?? receivedCycle };
    const { host } = this.#context;
    this.#taken = await (phase === 'resynchronization'
      ? host.startResynchronization(asVmId(vmId), { ...order, ...(changedSince && { changedSince }) })
      : host.startInitialReplication(asVmId(vmId), order));
    return this.#taken;
  }

  /**
   * The site's record of what changed since the replica, a map for every disk, or undefined where a disk has none: then
   * every chunk of all disks is compared. The app was told which of the two it is, and makes its checksums accordingly.
   */
  async records(): Promise<ReadonlyMap<string, ChunkMap> | undefined> {
    const { checkpointId } = await this.take();
    if (this.#records?.checkpointId === checkpointId) return this.#records.byDisk;
    const byDisk = await this.#readRecords(checkpointId);
    const { usesRecords } = await this.#view.local();
    if (byDisk === undefined && usesRecords === true) throw new ChangeRecordLostError(this.#view.assignment.vmName);
    this.#records = { checkpointId, byDisk };
    return byDisk;
  }

  /** Close it. */
  async openDisk(diskId: string): Promise<DiskReader & { close(): Promise<void> }> {
    const { checkpointId } = await this.take();
    const { vmId } = this.#view.assignment;
    return this.#context.host.openCheckpointDisk(asVmId(vmId), checkpointId, asDiskId(diskId));
  }

  /** Is this the failure of a base that cannot be sent any more? Then that is kept in mind under this epoch. */
  async noticeLoss(error: unknown): Promise<boolean> {
    const reason = error instanceof UnderstudyError ? lostBaseReasons[error.code] : undefined;
    if (!(error instanceof UnderstudyError) || reason === undefined) return false;
    const at = (await this.#context.clock.now()).toString();
    const message = `${error.message} (${error.code})`;
    this.#lost = { epoch: this.#view.assignment.epoch, reason, message, at };
    return true;
  }

  async #readRecords(checkpointId: string): Promise<ReadonlyMap<string, ChunkMap> | undefined> {
    const { assignment } = this.#view;
    if (assignment.changedSince === undefined) return undefined;
    const byDisk = new Map<string, ChunkMap>();
    for (const { diskId, sizeBytes } of assignment.disks) {
      const record = await this.#context.host.changedChunks(asVmId(assignment.vmId), checkpointId, asDiskId(diskId));
      if (record?.diskSizeBytes !== sizeBytes) return undefined;
      byDisk.set(diskId, record);
    }
    return byDisk;
  }
}

/** The record as the app needs it: no finer than its checksums. */
function scopeOf(diskId: string, record: ChunkMap): ResyncScope {
  const groupBytes = scopeGroupBytes(record.diskSizeBytes);
  return { diskId, groupBytes, bitmap: record.coarse(groupBytes).toString('base64') };
}
