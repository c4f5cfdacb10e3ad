import type { DiskId, ProtectionId } from '../ids.js';

export type Consistency = 'crashConsistent' | 'applicationConsistent';

/** One instant of the VM to which it can be failed over: a snapshot for each replica disk, and this row, written last. */
export interface RecoveryPoint {
  /** GUID; ARM name of the recovery point. */
  recoveryPointId: string;
  protectionId: ProtectionId;
  epoch: number;
  cycle: number;
  /** Business time of the log switch at the source. */
  takenAt: string;
  consistency: Consistency;
  /**
   * intent: snapshots may exist, nothing may use it. ready: whole. deleting: marked, snapshots may be gone.
   * A point goes intent → ready → deleting → gone and never back.
   */
  state: 'intent' | 'ready' | 'deleting';
  disks: { diskId: DiskId; snapshotId: string }[];
  /** Job names that hold this point (failover, export …): a pinned point is never marked for deletion. */
  pinnedBy: string[];
}
