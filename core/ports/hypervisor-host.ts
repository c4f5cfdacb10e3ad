import type { DiskReader, RandomReader } from '../dataplane/random-access.js';
import type { SiteInventory } from '../domain/site/inventory.js';
import type { DiskId, VmId } from '../domain/ids.js';

/**
 * The source of changes: one VMM site with its hosts. Providers: `simulated-site`, `hyperv`.
 *
 * Promises (docs/architecture.md, rule 1): the change log of a disk starts at or before the checkpoint's instant; a log
 * switch closes the logs of all replicated disks of a VM at one instant and is there whole or not at all; what is closed
 * stays readable until it is discarded; every method may be called twice with the same arguments and then answers the same.
 * Failures are UnderstudyErrors with codes US5xxx and `retry` advice.
 */
export interface HypervisorHost {
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
   * later than the last one is refused with US5013.
   */
  startInitialReplication(
    vmId: VmId,
    options: { protectionId: string; epoch: number; baseCycle?: number },
  ): Promise<Checkpoint>;
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
   * A number that does not follow the last closed cycle is refused with US5011.
   */
  switchLogs(
    vmId: VmId,
    options: { protectionId: string; cycle: number; consistency: 'crashConsistent' | 'applicationConsistent' },
  ): Promise<ClosedCycle>;
  /** Closed and not yet discarded cycles, ascending. */
  closedCycles(vmId: VmId, protectionId: string): Promise<ClosedCycle[]>;
  /** A closed log's bytes ([MS-HRL]); US5008 when the cycle is not closed or discarded already. Close it. */
  openLog(vmId: VmId, cycle: number, diskId: DiskId): Promise<RandomReader & { close(): Promise<void> }>;
  /** Deletes the logs of the cycle and of all before it. Absent is no error. */
  discardCyclesThrough(vmId: VmId, protectionId: string, cycle: number): Promise<void>;
  tracking(vmId: VmId, protectionId: string): Promise<TrackingStatus>;
  /** Asks the guest to shut down; resolves when the VM is off. */
  shutDown(vmId: VmId): Promise<void>;
}

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
  logs: { diskId: DiskId; lengthBytes: number; entryCount: number }[];
}

export type TrackingStatus =
  | { kind: 'notReplicated' }
  | { kind: 'tracking'; lastClosedCycle: number; openLogBytes: number; closedLogBytes: number; checkpointId?: string }
  /** The logs no longer tell all changes since the last cycle; only a resync helps. `reason` is one of the words of docs/glossary.md. */
  | { kind: 'resyncRequired'; reason: ResyncReason; message: string; at: string };

export type ResyncReason =
  'hostCrash' | 'logTooLarge' | 'logWriteFailure' | 'logCorrupt' | 'diskChangedOffline' | 'reverted' | 'diskFull';
