import type { DiskReader, DiskWriter, RandomReader } from '../dataplane/random-access.js';
import type { ChunkMap } from '../domain/replication/chunk-map.js';
import type { SiteInventory, SiteVm } from '../domain/site/inventory.js';
import type { DiskId, VmId } from '../domain/ids.js';

/**
 * The source of changes: one VMM site with its hosts. Providers: `simulated-site`, `hyperv`.
 *
 * Promises (docs/architecture.md, rule 1): the change log of a disk starts at or before the checkpoint's instant; a log
 * switch closes the logs of all replicated disks of a VM at one instant and is there whole or not at all; what is closed
 * stays readable until it is discarded or a resync is required; every method may be called twice with the same arguments and then answers the same.
 * Failures are UnderstudyErrors with codes US5xxx and `retry` advice.
 */
export interface HypervisorHost {
  /** tracksWhileWaiting: while a VM waits for its resync the host records which chunks change (`changedChunks`). */
  readonly capabilities: { tracksWhileWaiting: boolean };
  inventory(signal?: AbortSignal): Promise<SiteInventory>;
  /** Marks the VM as replicated under this protection; a VM can have one. Another protection's is refused with US5010. */
  createReplicationRelationship(vmId: VmId, protectionId: string): Promise<void>;
  /** Stops tracking, releases the checkpoint, deletes logs. Absent is no error. */
  removeReplicationRelationship(vmId: VmId, protectionId: string): Promise<void>;
  /**
   * Starts change tracking and takes a checkpoint of all disks, at one instant: the base of this epoch, cycle `baseCycle`
   * (default 0); the first cycle to be closed is the one after it. Logs of earlier epochs go.
   * Called again with the same epoch it returns the same checkpoint, if that is still there; else an epoch that is not
   * later than the last one is refused with US5013. A disk that has not the size that it is replicated with refuses it
   * with US5021, before anything changes.
   */
  startInitialReplication(
    vmId: VmId,
    options: { protectionId: string; epoch: number; baseCycle?: number },
  ): Promise<Checkpoint>;
  /**
   * Starts change tracking anew and takes a checkpoint of all disks, at one instant, as startInitialReplication does: logs
   * of earlier epochs go, the first cycle to be closed follows `baseCycle`, the same epoch asked again gives the same
   * checkpoint, an epoch that is not later than the last one is refused with US5013, a resized disk with US5021. It may be
   * called whatever the tracking status is: tracking, resyncRequired, or not replicated yet under this relationship.
   *
   * `changedSince` names what the replica holds whole. If the host has a record of changed chunks without a gap from a
   * start in the same epoch, at or before that cycle, up to the checkpoint's instant, it keeps the record with the
   * checkpoint. A cycle that the host has not closed is none that it can vouch for: then there is no record.
   */
  startResynchronization(
    vmId: VmId,
    options: {
      protectionId: string;
      epoch: number;
      baseCycle: number;
      changedSince?: { epoch: number; cycle: number };
    },
  ): Promise<Checkpoint>;
  /**
   * The record that startResynchronization kept with the checkpoint: outside of its marked chunks the disk at the
   * checkpoint's instant equals the disk of `changedSince`. Undefined: not known, every chunk is to be compared. Rejects
   * with US5007 once the checkpoint is released.
   */
  changedChunks(vmId: VmId, checkpointId: string, diskId: DiskId): Promise<ChunkMap | undefined>;
  /** The disk as it was at the checkpoint's instant. Opening and reading reject with US5007 once it is released. Close it. */
  openCheckpointDisk(
    vmId: VmId,
    checkpointId: string,
    diskId: DiskId,
  ): Promise<DiskReader & { close(): Promise<void> }>;
  /** Merges and drops the checkpoint. Absent is no error. */
  releaseCheckpoint(vmId: VmId, checkpointId: string): Promise<void>;
  /**
   * Closes the VM's logs as cycle `cycle` and opens new ones. If that cycle is already closed, returns it as it was closed.
   * A number that does not follow the last closed cycle is refused with US5011, a resized disk with US5021.
   * An application-consistent switch whose guest does not freeze closes a crash-consistent cycle that says why.
   */
  switchLogs(
    vmId: VmId,
    options: { protectionId: string; cycle: number; consistency: 'crashConsistent' | 'applicationConsistent' },
  ): Promise<ClosedCycle>;
  /** Closed and not yet discarded cycles, ascending. */
  closedCycles(vmId: VmId, protectionId: string): Promise<ClosedCycle[]>;
  /**
   * A closed log's bytes ([MS-HRL]); US5008 when the cycle is not closed or discarded already, US2034 when another log is in its
   * place. Close it.
   */
  openLog(vmId: VmId, cycle: number, diskId: DiskId): Promise<RandomReader & { close(): Promise<void> }>;
  /** Deletes the logs of the cycle and of all before it. Absent is no error. */
  discardCyclesThrough(vmId: VmId, protectionId: string, cycle: number): Promise<void>;
  tracking(vmId: VmId, protectionId: string): Promise<TrackingStatus>;
  /** Asks the guest to shut down; resolves when the VM is off. */
  shutDown(vmId: VmId): Promise<void>;
  /**
   * Locks the VM against every start, then shuts its guest down; resolves when it is off. The lock outlives the host's
   * death; it notes whether the VM ran, and another `lockId` of the same protection takes it over with that note. Refused
   * with US5012 where the VM is not replicated under this protection.
   */
  lockSource(vmId: VmId, options: { protectionId: string; lockId: string }): Promise<void>;
  /** Starts the VM if it ran when it was locked, then lifts the lock. Absent is no error; another lock is left alone. */
  unlockSource(vmId: VmId, options: { protectionId: string; lockId: string }): Promise<void>;
  /**
   * Readies a VM for a failback (docs/architecture.md, rule 9): it is locked against start under `lockId`, and each of its
   * replicated disks gets a side image, a whole copy beside it. A VM that runs is refused with US5023, a disk of another size
   * with US5021, too little room with US5024; nothing has changed then. With `create`, a VM that the site does not have is made
   * first, off and with empty disks, under its old ids; without it the site refuses with US5005. A failback under another lock
   * is given up.
   */
  prepareFailback(
    vmId: VmId,
    options: { protectionId: string; lockId: string; create?: { hostId: string; vm: SiteVm } },
  ): Promise<void>;
  /** The disk's side image as the guest of the VM would see it. Rejects with US5026 where there is none under this lock. Close it. */
  openSideImage(
    vmId: VmId,
    options: { lockId: string; diskId: DiskId },
  ): Promise<Omit<DiskWriter, 'close'> & { close(): Promise<void> }>;
  /**
   * The side images take the places of all disks, and all older logs go, by one journal: before its commit nothing has changed,
   * after it everything is carried to its end before the VM can start. Tracking starts anew, so that the first cycle to be
   * closed follows `baseCycle`. The lock stays; with `startAfterwards` its lifting starts the VM. A disk that somebody wrote to
   * meanwhile is refused with US5025, an unknown lock with US5026.
   */
  replaceDisks(
    vmId: VmId,
    options: { protectionId: string; lockId: string; epoch: number; baseCycle: number; startAfterwards: boolean },
  ): Promise<void>;
  /**
   * Drops the side images, gives the VM the lock back that it had before, and deletes a VM that was made for it. Absent is no
   * error; a failback whose journal is committed is carried to its end, and the VM stays locked.
   */
  abandonFailback(vmId: VmId, protectionId: string): Promise<void>;
  failbackStatus(vmId: VmId, protectionId: string): Promise<FailbackStatus>;
}

/** `preparing`: broken off, or not ended yet. `replaced`: the VM's disks come from the failback of that lock. */
export type FailbackStatus = { kind: 'none' } | { kind: 'preparing' | 'prepared' | 'replaced'; lockId: string };

export interface Checkpoint {
  checkpointId: string;
  epoch: number;
  /** Business time, ISO-8601. */
  takenAt: string;
  disks: { diskId: DiskId; sizeBytes: number }[];
}

export interface ClosedCycle {
  cycle: number;
  /** Business time of the switch, ISO-8601. */
  takenAt: string;
  consistency: 'crashConsistent' | 'applicationConsistent';
  /** In words: why the cycle is crash-consistent although an application-consistent one was asked for. */
  freezeFailure?: string;
  logs: { diskId: DiskId; lengthBytes: number; entryCount: number }[];
}

export type TrackingStatus =
  | { kind: 'notReplicated' }
  | {
      kind: 'tracking';
      lastClosedCycle: number;
      openLogBytes: number;
      closedLogBytes: number;
      checkpointId?: string;
      /** The VM is locked against start (`lockSource`). */
      lockId?: string;
    }
  /** The logs no longer tell all changes since the last cycle; only a resync helps. A checkpoint that stands still grows. */
  | {
      kind: 'resyncRequired';
      reason: ResyncReason;
      message: string;
      at: string;
      checkpointId?: string;
      lockId?: string;
    };

export type ResyncReason =
  'hostCrash' | 'logTooLarge' | 'logWriteFailure' | 'logCorrupt' | 'diskChangedOffline' | 'reverted' | 'diskFull';
