import type { DiskId, ItemId, JobName, ProtectionId, RelayId, VmId } from '../ids.js';
import type { ProtectionState } from './state-table.js';

/** Where a replica disk lives: a page blob holding a fixed VHD in the account that the item names. */
export interface ReplicaBlob {
  /** ARM id of the storage account; `CloudInventory` resolves it. */
  storageAccountId: string;
  container: string;
  blobName: string;
}

export interface ReplicaDisk {
  diskId: DiskId;
  /** The disk's name at the source, e.g. `sql-01-data.vhdx`. */
  name: string;
  isOsDisk: boolean;
  /** 0 is the OS disk; data disks follow in the order of the source. */
  lun: number;
  /** Virtual size at the source. */
  sourceSizeBytes: number;
  /** Source size rounded up to 1 MiB; the blob is 512 bytes longer (VHD footer). */
  replicaSizeBytes: number;
  replica: ReplicaBlob;
  /** Initial replication: bytes below are received / applied. */
  baseReceivedThroughBytes: number;
  baseAppliedThroughBytes: number;
  /** Transfer-log bytes applied to this disk so far, base included. */
  bytesReceived: number;
  /** Snapshot of the last cycle that changed this disk: an unchanged disk's recovery point refers to it. */
  lastSnapshot?: { snapshotId: string; epoch: number; cycle: number };
}

export type ReplicationPhase = 'none' | 'initialReplication' | 'delta' | 'stopped';

/** How far replication has come. Guarded by the item row's ETag: every change is a read-modify-write. */
export interface ReplicationProgress {
  phase: ReplicationPhase;
  stopReason?: string;
  paused: boolean;
  epoch: number;
  /** The failover that took the disks over with this epoch. */
  ownedBy?: JobName;
  /** Business time of the checkpoint that is cycle 0. */
  checkpointAt?: string;
  /** Last cycle whose manifest row is committed, and the business time of its log switch: RPO counts from here. */
  receivedCycle: number;
  receivedTakenAt?: string;
  receivedAt?: string;
  /** Cycle that closed initial replication, once its manifest is here. */
  baseClosedByCycle?: number;
  /** Last cycle that is a whole recovery point (or, during initial replication, applied to every disk). */
  appliedCycle: number;
  appliedTakenAt?: string;
  appliedAt?: string;
  /** Set while the item must be resynchronized: what happened, in words for the operator. */
  resyncRequired?: { reason: string; message: string; at: string };
  lastHeartbeatAt?: string;
  /** `blocking`: it does not pass by itself, an operator must act. */
  lastError?: { code: string; message: string; recommendedAction: string; at: string; blocking?: boolean };
  backlogBytes: number;
}

/** The row that is the truth about one replicated item. */
export interface ProtectedItem {
  itemId: ItemId;
  protectionId: ProtectionId;
  /** ARM names of the path. */
  fabricName: string;
  containerName: string;
  itemName: string;
  protectableItemName: string;
  vmId: VmId;
  vmName: string;
  relayId: RelayId;
  policyName: string;
  /** Provider-specific input of EnableProtection. */
  target: {
    storageAccountId: string;
    logStorageAccountId?: string;
    vmName: string;
    resourceGroupId: string;
    networkId?: string;
    subnetName?: string;
    osType: string;
    vmSize?: string;
  };
  state: ProtectionState;
  /** Business time of enabling, ISO-8601. */
  createdAt: string;
  activeJob?: { jobName: JobName; scenarioName: string; startedAt: string };
  lastSuccessfulFailoverAt?: string;
  lastSuccessfulTestFailoverAt?: string;
  disks: ReplicaDisk[];
  replication: ReplicationProgress;
  /** After failover. */
  failover?: {
    jobName: JobName;
    kind: 'unplanned' | 'planned';
    recoveryPointId: string;
    recoveryPointAt: string;
    cycle: number;
    vmArmId?: string;
    disks: { diskId: DiskId; blob: ReplicaBlob }[];
  };
}
