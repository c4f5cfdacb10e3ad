import type { ToldHealth } from '../health/health-reason.js';
import type { StatisticsBucket } from '../health/statistics-bucket.js';
import type { DiskId, ItemId, JobName, ProtectionId, RelayId, VmId } from '../ids.js';
import type { SiteVm } from '../site/inventory.js';
import type { WorkflowFailure } from '../workflows/failure.js';
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
  /** Initial replication and resynchronization: bytes below are received / applied. */
  baseReceivedThroughBytes: number;
  baseAppliedThroughBytes: number;
  /** Resynchronization: checksums of the replica's bytes below are there for the relay to compare with. */
  digestedThroughBytes: number;
  /** Transfer-log bytes applied to this disk so far, base included. */
  bytesReceived: number;
  /** Snapshot of the last cycle that changed this disk: an unchanged disk's recovery point refers to it. */
  lastSnapshot?: { snapshotId: string; epoch: number; cycle: number };
}

/**
 * A failback, from its start until replication goes on from the site (docs/architecture.md, rules 9 and 10). Its round is the
 * copying of the VM's disks in Azure, as they stood at one time, to the site: one while the VM runs there, if data is
 * synchronized first, and the final one when it is off.
 */
export interface Failback {
  jobName: JobName;
  startedAt: string;
  /** Where the site has the VM no more, it is made anew on this host. */
  createOnHostId?: string;
  /** The VM ran in Azure when the failback began: it runs again if that is given up, and at the site if not. */
  vmRan: boolean;
  /** The VM at the site is locked and has its side images: only then the VM in Azure is touched. */
  prepared?: true;
  round?: FailbackRound;
  /** `ordered`: the site may replace the VM's disks. `done`: it has; the VM is the site's, and may start there. */
  swap?: 'ordered' | 'done';
  /** Business time from which the VM may start at the site. */
  handedOverAt?: string;
  /** Of the commit: the blobs that become the replica, with the VM's last state in Azure, and those that it has until then. */
  renewal?: {
    jobName: JobName;
    disks: { diskId: DiskId; blob: ReplicaBlob }[];
    replaced: ReplicaBlob[];
    adopted?: true;
  };
  /** The relay has lifted the VM's lock, with which the VM started there. */
  startedAtSite?: true;
}

export interface FailbackRound {
  epoch: number;
  isFinal: boolean;
  startedAt: string;
  /** The name under which the cloud holds the disks still. */
  exportName: string;
  sources: { diskId: DiskId; blob: ReplicaBlob; snapshotId?: string }[];
  /** Every side image at the site equals its source; so many bytes were fetched for it. */
  copied?: { fetchedBytes: number };
}

/**
 * initialReplication and resynchronization send a base, closing and sending cycles meanwhile; delta sends cycles. `stopped`:
 * the cloud took over, or protection ends. `failback`: the relay fetches what differs in Azure.
 */
export type ReplicationPhase = 'none' | 'initialReplication' | 'delta' | 'resynchronization' | 'stopped' | 'failback';

/** A resynchronization, from the job that asked for it until its first recovery point. */
export interface Resynchronization {
  jobName: JobName;
  startedAt: string;
  /** How often resynchronizing the item had failed before this one. */
  failedAttempts?: number;
  /** Why: the reason of `resyncRequired`, or `requested` where an operator wanted it for a healthy item. */
  cause: string;
  /**
   * What the replica disks hold whole, where the site's record of changed chunks may be used (docs/architecture.md, rule 6).
   * Absent: every chunk is compared.
   */
  changedSince?: { epoch: number; cycle: number };
  /** The base whose kept checksums spare reading the replica. Absent: all of it is read. */
  checksumsOf?: number;
}

/** How far replication has come. Guarded by the item row's ETag: every change is a read-modify-write. */
export interface ReplicationProgress {
  phase: ReplicationPhase;
  stopReason?: string;
  paused: boolean;
  /** By an operator, business time; and when it last went on after that. */
  pausedAt?: string;
  resumedAt?: string;
  epoch: number;
  /** The failover that took the disks over with this epoch. */
  ownedBy?: JobName;
  /** Business time at which initial replication is to start, where its policy names a time of day. */
  startAt?: { at: string; timeOfDay: string };
  /** The cycle that the base's checkpoint stands for: 0, or what was received when a resynchronization began. */
  baseCycle: number;
  /** Business time of that checkpoint, once the relay has it. */
  checkpointAt?: string;
  /** Last cycle whose manifest row is committed, and the business time of its log switch: RPO counts from here. */
  receivedCycle: number;
  receivedTakenAt?: string;
  receivedAt?: string;
  /** Cycle that closed the base, once its manifest is here. */
  baseClosedByCycle?: number;
  /** The planned failover that is under way, before it takes the disks over: the source is locked for it. */
  sourceLock?: JobName;
  /** The cycle with the source's last writes under that lock, once its manifest is here: nothing follows it. */
  finalCycle?: number;
  /** Last cycle that is a whole recovery point (or, during initial replication, applied to every disk). */
  appliedCycle: number;
  appliedTakenAt?: string;
  appliedAt?: string;
  /**
   * The disks are between two states of the VM: they take no delta and give no point (docs/architecture.md, rule 5). Set
   * before a resynchronization's first write, cleared only by a completed one. Never set by initial replication.
   */
  torn: boolean;
  /**
   * The kept checksums tell of this epoch's base, and every cycle through `throughCycle` noted what it wrote since
   * (docs/decisions/kept-checksums.md). Set when that base is complete, until the next resynchronization begins.
   */
  checksums?: { epoch: number; throughCycle: number };
  /**
   * Set while the item must be resynchronized: what happened, in words for the operator. `failedAttempts` of resynchronizing
   * it so far; the next is not begun by itself before `nextAttemptAt`.
   */
  resyncRequired?: { reason: string; message: string; at: string; failedAttempts?: number; nextAttemptAt?: string };
  /** The one that is under way, or about to begin. */
  resync?: Resynchronization;
  /** How often an operator resumed replication: whoever waits after a failure begins anew when it grows. */
  resumedCount: number;
  lastHeartbeatAt?: string;
  /** Of the app's own work: what it overcomes it clears, and nobody else does but an operator who resumes. */
  lastError?: ReplicationError;
  /** Of the relay: as its last report says, so that a report without one clears it. */
  relayError?: ReplicationError;
  backlogBytes: number;
  /** How far the relay has come with comparing, by its last report. */
  resyncProgress?: ResyncProgress;
  /** What the last 12 hours were like, oldest half hour first (core/domain/health/statistics-bucket.ts). */
  statistics: StatisticsBucket[];
  /** An application-consistent point was due and came out crash-consistent; none has come out right since. */
  freezeFailure?: { message: string; at: string };
}

/** `blocking`: it does not pass by itself, an operator must act. */
export interface ReplicationError {
  code: string;
  message: string;
  recommendedAction: string;
  at: string;
  blocking?: boolean;
}

/** `comparedBytes` of `totalBytes` are done; `sentBytes` of them differed. */
export interface ResyncProgress {
  comparedBytes: number;
  totalBytes: number;
  sentBytes: number;
}

/**
 * A test failover, from its start until its clean-up. Replication goes on beside it: it takes no epoch and moves no state.
 * `takingBack`: it failed, and its job does nothing else any more.
 */
export interface TestFailover {
  jobName: JobName;
  state: 'inProgress' | 'takingBack' | 'waiting' | 'cleaningUp';
  startedAt: string;
  /** Absent: the test VM is connected to no network. */
  networkId?: string;
  /** Once chosen: what the test VM is made by, whatever the site reports meanwhile. */
  source?: SiteVm;
  /** Once chosen; the point is pinned under the job's name. */
  point?: { recoveryPointId: string; takenAt: string; cycle: number };
  disks: { diskId: DiskId; blob: ReplicaBlob }[];
  /** The clean-up that is under way. */
  cleanUpJobName?: JobName;
}

/** What an operator chose for one of the VM's network interfaces. */
export interface TargetNic {
  nicId: string;
  role: 'primary' | 'secondary' | 'notUsed';
  /** Absent: the one named as at the source, else the network's first. */
  subnetName?: string;
  /** Absent: the next free one of the subnet. */
  staticIpAddress?: string;
  /** The same in test failovers, in whatever network those are. */
  test?: { subnetName?: string; staticIpAddress?: string };
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
    /** Of that network, for the primary interface where none is chosen for it, as found when protection was finalized. */
    subnetName?: string;
    osType: string;
    vmSize?: string;
    /** Absent: all of the VM's interfaces, the first as primary. Those that are not in it are not used. */
    nics?: TargetNic[];
    /** ARM id. Of these two at most one is named. */
    availabilitySetId?: string;
    availabilityZone?: string;
    /** Azure Hybrid Benefit. */
    licenseType?: 'WindowsServer';
    /** Of the virtual machine; and of its interfaces and disks, where those have none of their own. */
    tags?: Record<string, string>;
    nicTags?: Record<string, string>;
    diskTags?: Record<string, string>;
    /** The VM of a failover is reachable from the internet. */
    publicAddress?: boolean;
  };
  /** The VM as its site last described it: a failover is made by it where the site's inventory names the VM no more. */
  source?: SiteVm;
  state: ProtectionState;
  /** Business time of enabling, ISO-8601. */
  createdAt: string;
  activeJob?: {
    jobName: JobName;
    scenarioName: string;
    startedAt: string;
    /** It failed by these and takes back what it did: it does nothing else any more (core/domain/protected-item/active-job.ts). */
    undone?: WorkflowFailure[];
  };
  lastSuccessfulFailoverAt?: string;
  lastSuccessfulTestFailoverAt?: string;
  disks: ReplicaDisk[];
  /** Disks that the operator left out when protection was enabled. */
  excludedDiskIds: string[];
  replication: ReplicationProgress;
  /** As the last events told it: what differs from it now is told by the next ones. */
  health?: ToldHealth;
  testFailover?: TestFailover;
  /** After failover. */
  failover?: {
    jobName: JobName;
    kind: 'unplanned' | 'planned';
    recoveryPointId: string;
    recoveryPointAt: string;
    cycle: number;
    vmArmId?: string;
    /** As the item, or its network's mapping, asked for them when the failover began. */
    networkId?: string;
    publicAddress?: true;
    /** The VM as the site had it when the failover began: what the VM in Azure is made by, and the site's where a failback finds none. */
    source?: SiteVm;
    disks: { diskId: DiskId; blob: ReplicaBlob }[];
    /** Another point that the VM is to run from: its disks are being copied. */
    change?: {
      jobName: JobName;
      recoveryPointId: string;
      recoveryPointAt: string;
      cycle: number;
      disks: { diskId: DiskId; blob: ReplicaBlob }[];
    };
    /** What ran before the last change of the point, and is to be deleted. */
    replaced?: { jobName: JobName; disks: { diskId: DiskId; blob: ReplicaBlob }[] }[];
  };
  failback?: Failback;
}
