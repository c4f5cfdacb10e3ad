import type { ItemId, JobName, ProtectionId, RelayId, VaultId } from '../core/domain/ids.js';
import type { PrerequisiteFailure } from '../core/domain/prerequisites/prerequisites.js';
import type { ReplicationPhase } from '../core/domain/protected-item/protected-item.js';
import type { ProtectionEvent } from '../core/domain/protected-item/state-table.js';
import type { CommandResult, RelayCommand } from '../core/domain/relay-protocol/wire.js';
import type { CycleSlice, ReplicationStep } from '../core/domain/replication/next-step.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { PlanDirection, PlanFailoverType, PlanOperation } from '../core/domain/recovery-plan/recovery-plan.js';
import type {
  AwaitOperatorInput,
  EnableProtectionInput,
  EpochWorkflowInput,
  ItemWorkflowInput,
  JobWorkflowInput,
  RecoveryPointChoice,
} from '../core/domain/workflows/workflows.js';

/**
 * Names of the activities with their inputs and outputs: all that orchestrators know of them. Inputs and outputs are plain
 * JSON objects, small ones; bytes never pass here. Every activity may run twice, also at the same time as its first run, and
 * the second gives what the first gave.
 */
export interface ActivityDefinition<Input, Output> {
  readonly name: string;
  /** Never set: carry the types. */
  readonly inputType?: Input;
  readonly outputType?: Output;
}

export const activity = <Input, Output>(name: string): ActivityDefinition<Input, Output> => ({ name });

/** An effect on an item: done, or too late because the item lives another life, is in another epoch or has another owner. */
export type ItemOutcome = { kind: 'done' } | { kind: 'superseded' };
/** `damaged`: the log is not what was announced, or cannot be read: the disks can only be mended by a resync. */
export type ApplyOutcome = ItemOutcome | { kind: 'damaged'; failure: WorkflowFailure };
export type PrerequisiteOutcome = { kind: 'met' } | { kind: 'failed'; failures: PrerequisiteFailure[] };
export type CheckOutcome = { kind: 'met' } | { kind: 'failed'; failures: WorkflowFailure[] };
/** `cancelled`: ended by something that was wanted more, for example a failover. */
export type JobOutcome = { kind: 'succeeded' } | { kind: 'failed' | 'cancelled'; failures: WorkflowFailure[] };

/** How far a resynchronization has come, by the item's row. */
export type ResyncProgress =
  | { kind: 'starting' | 'comparing' | 'completing' | 'finished' | 'superseded' }
  | { kind: 'failed'; reason: string; message: string };

/** How far what the relay does for a failback has come. */
export type FailbackProgress =
  { kind: 'waiting' | 'done' | 'cancelled' } | { kind: 'failed'; failures: WorkflowFailure[] };

export interface PlanItemInput {
  vaultId: VaultId;
  planJobName: JobName;
  itemId: ItemId;
  armId: string;
  operation: PlanOperation;
  synchronizeFirst: boolean;
  networkId?: string;
  /** Of a clean-up. */
  comments: string;
}

/** An item within a run of its plan. `workflow`: what does the whole of an operation that has no steps. */
export type BegunPlanItem =
  | { kind: 'begun'; job: JobWorkflowInput; vmName: string; workflow: string; sourceHostId?: string }
  | { kind: 'skipped' }
  | { kind: 'refused'; failures: WorkflowFailure[] };

/** One stretch of one failover disk to copy. */
export interface CopySlice {
  diskIndex: number;
  fromBytes: number;
  toBytes: number;
}

type CommandKind = Exclude<RelayCommand['kind'], 'runScript'>;

export const activities = {
  /** Jobs. */
  startJobTask: activity<{ vaultId: VaultId; jobName: JobName; taskName: string }, Record<string, never>>(
    'startJobTask',
  ),
  /** Ends the job, and in the same transaction moves the item's state and takes the job off it. */
  concludeJob: activity<
    {
      vaultId: VaultId;
      jobName: JobName;
      outcome: JobOutcome;
      item?: { itemId: ItemId; protectionId: ProtectionId; event: ProtectionEvent };
    },
    Record<string, never>
  >('concludeJob'),
  warnInJob: activity<{ vaultId: VaultId; jobName: JobName; warning: WorkflowFailure }, Record<string, never>>(
    'warnInJob',
  ),

  /** Enabling. */
  evaluatePrerequisites: activity<EnableProtectionInput, PrerequisiteOutcome>('evaluatePrerequisites'),
  identifyTarget: activity<EnableProtectionInput, ItemOutcome>('identifyTarget'),
  createReplicaDisks: activity<ItemWorkflowInput, ItemOutcome>('createReplicaDisks'),
  /** `scheduled`: its policy names a time of day, which comes in so many seconds; to be called again then. */
  startInitialReplication: activity<ItemWorkflowInput, ItemOutcome | { kind: 'scheduled'; waitSeconds: number }>(
    'startInitialReplication',
  ),
  readInitialReplicationStart: activity<ItemWorkflowInput, { kind: 'started' | 'waiting' | 'superseded' }>(
    'readInitialReplicationStart',
  ),
  /** Takes back what enabling had begun, so that the relay stops too; unless initial replication has started by now. */
  undoEnableProtection: activity<ItemWorkflowInput, { kind: 'undone' | 'started' }>('undoEnableProtection'),
  configureTargetNetwork: activity<ItemWorkflowInput, CheckOutcome>('configureTargetNetwork'),

  /** Orders to the relay. */
  sendRelayCommand: activity<
    ItemWorkflowInput & { command: CommandKind; commandId: string; instanceId: string },
    { kind: 'sent'; relayId: RelayId } | { kind: 'superseded' }
  >('sendRelayCommand'),
  readCommandResult: activity<{ relayId: RelayId; commandId: string }, { result: CommandResult | null }>(
    'readCommandResult',
  ),
  dropRelayCommand: activity<{ relayId: RelayId; commandId: string }, Record<string, never>>('dropRelayCommand'),

  /** Apply. */
  /** `failover`: the epoch is one that a failover took, and what was received before it is applied to the end. */
  /** `phase`: that of the item, where it is the caller's. */
  readReplicationWork: activity<
    EpochWorkflowInput & { failover?: boolean },
    ReplicationStep & { phase?: ReplicationPhase }
  >('readReplicationWork'),
  applySegments: activity<EpochWorkflowInput & { diskIndex: number; fromBytes: number[] }, ApplyOutcome>(
    'applySegments',
  ),
  commitSegments: activity<EpochWorkflowInput & { diskIndex: number; throughBytes: number }, ItemOutcome>(
    'commitSegments',
  ),
  raiseFence: activity<EpochWorkflowInput & { cycle: number }, ItemOutcome>('raiseFence'),
  applyCycleSlices: activity<EpochWorkflowInput & { cycle: number; slices: CycleSlice[] }, ApplyOutcome>(
    'applyCycleSlices',
  ),
  /** During initial replication: the cycle is in every disk, which is no recovery point yet. */
  commitAppliedCycle: activity<EpochWorkflowInput & { cycle: number }, ItemOutcome>('commitAppliedCycle'),
  sealRecoveryPoint: activity<EpochWorkflowInput & { cycle: number; recoveryPointId: string }, ItemOutcome>(
    'sealRecoveryPoint',
  ),
  cleanUpTransferred: activity<
    EpochWorkflowInput & { cycles: number[]; segments?: { diskIndex: number; fromBytes: number[] } },
    Record<string, never>
  >('cleanUpTransferred'),
  applyRetention: activity<ItemWorkflowInput, { droppedCount: number }>('applyRetention'),
  finishInitialReplication: activity<EpochWorkflowInput & { jobName: JobName }, ItemOutcome>(
    'finishInitialReplication',
  ),
  /** `resync`: the disks are no longer a state of the VM, or will not become one. */
  recordReplicationFailure: activity<EpochWorkflowInput & { failure: WorkflowFailure; resync: boolean }, ItemOutcome>(
    'recordReplicationFailure',
  ),

  /** Resynchronization. */
  /** Takes a new epoch and marks the disks torn. `behind`: what was received before is not applied yet. */
  beginResynchronization: activity<
    JobWorkflowInput & { compareAll: boolean },
    { kind: 'begun'; epoch: number } | { kind: 'behind' } | { kind: 'superseded' }
  >('beginResynchronization'),
  dropSuperseded: activity<JobWorkflowInput, ItemOutcome>('dropSuperseded'),
  readResynchronization: activity<JobWorkflowInput & { epoch: number }, ResyncProgress>('readResynchronization'),
  /** The regions of one disk to checksum next, by their first bytes; with them the marks reach `throughBytes`. */
  readDigestWork: activity<
    EpochWorkflowInput,
    | { kind: 'digest'; diskIndex: number; fromBytes: number[]; throughBytes: number }
    | { kind: 'idle' | 'finished' | 'superseded' }
  >('readDigestWork'),
  digestRegion: activity<EpochWorkflowInput & { diskIndex: number; fromBytes: number }, ItemOutcome>('digestRegion'),
  commitDigests: activity<EpochWorkflowInput & { diskIndex: number; throughBytes: number }, ItemOutcome>(
    'commitDigests',
  ),
  /** `jobName`: of the job that finalizes protection, where this was the item's first whole base. */
  finishResynchronization: activity<EpochWorkflowInput & { jobName: JobName }, ItemOutcome>('finishResynchronization'),
  abandonResynchronization: activity<JobWorkflowInput & { failure: WorkflowFailure }, Record<string, never>>(
    'abandonResynchronization',
  ),

  /** Failover. */
  checkPlannedFailover: activity<JobWorkflowInput, CheckOutcome>('checkPlannedFailover'),
  lockSource: activity<JobWorkflowInput, ItemOutcome>('lockSource'),
  /** `applied`: everything that the source wrote is a recovery point. */
  readFinalCycle: activity<
    JobWorkflowInput,
    | { kind: 'waiting' | 'cancelled' }
    | { kind: 'applied'; cycle: number }
    | { kind: 'failed'; failures: WorkflowFailure[] }
  >('readFinalCycle'),
  /** `failures`: what the job failed by. From here on it does nothing else, however often it is begun again. */
  giveBackPlannedFailover: activity<JobWorkflowInput & { failures: WorkflowFailure[] }, ItemOutcome>(
    'giveBackPlannedFailover',
  ),
  checkFailover: activity<JobWorkflowInput & { recoveryPoint: RecoveryPointChoice }, CheckOutcome>('checkFailover'),
  readReceived: activity<ItemWorkflowInput, { receivedCycle: number; receivedTakenAt: string | null; now: string }>(
    'readReceived',
  ),
  /** Takes a new epoch and with it the ownership of the disks; what was received before is the received set. */
  beginFailover: activity<JobWorkflowInput, { kind: 'begun'; epoch: number } | { kind: 'superseded' }>('beginFailover'),
  /** Pins the point and names the failover's disks. */
  chooseRecoveryPoint: activity<
    JobWorkflowInput & { epoch: number; recoveryPoint: RecoveryPointChoice },
    { kind: 'chosen'; slices: CopySlice[] } | { kind: 'superseded' }
  >('chooseRecoveryPoint'),
  copyFailoverDisk: activity<JobWorkflowInput & { slice: CopySlice }, { finished: boolean }>('copyFailoverDisk'),
  createFailoverVm: activity<JobWorkflowInput, ItemOutcome>('createFailoverVm'),
  startFailoverVm: activity<JobWorkflowInput, Record<string, never>>('startFailoverVm'),
  /** Deletes what a failover made, lets go of its point, and says how the item's state takes it. */
  undoFailover: activity<
    JobWorkflowInput & { failures: WorkflowFailure[] },
    { event: Extract<ProtectionEvent, 'unplannedFailoverRefused' | 'unplannedFailoverFailed'> }
  >('undoFailover'),
  /** Change of the recovery point before commit. */
  beginPointChange: activity<
    JobWorkflowInput & { recoveryPoint: RecoveryPointChoice },
    { kind: 'chosen'; slices: CopySlice[] } | { kind: 'superseded' }
  >('beginPointChange'),
  copyChangedDisk: activity<JobWorkflowInput & { slice: CopySlice }, { finished: boolean }>('copyChangedDisk'),
  switchPoint: activity<JobWorkflowInput, ItemOutcome>('switchPoint'),
  dropPointChange: activity<JobWorkflowInput, ItemOutcome>('dropPointChange'),

  /** Test failover. It moves no state and takes no epoch. */
  checkTestFailover: activity<JobWorkflowInput & { recoveryPoint: RecoveryPointChoice }, CheckOutcome>(
    'checkTestFailover',
  ),
  /** `waiting`: Latest, and what was received through `receivedCycle` is not applied yet. */
  chooseTestPoint: activity<
    JobWorkflowInput & { recoveryPoint: RecoveryPointChoice; receivedCycle: number },
    { kind: 'chosen'; slices: CopySlice[] } | { kind: 'waiting' } | { kind: 'superseded' }
  >('chooseTestPoint'),
  copyTestDisk: activity<JobWorkflowInput & { slice: CopySlice }, { finished: boolean }>('copyTestDisk'),
  startTestVm: activity<JobWorkflowInput, ItemOutcome>('startTestVm'),
  awaitCleanUp: activity<JobWorkflowInput, ItemOutcome>('awaitCleanUp'),
  takeBackTest: activity<JobWorkflowInput, ItemOutcome>('takeBackTest'),
  /** Ends the test that names this clean-up, and its job. */
  cleanUpTest: activity<JobWorkflowInput & { comments: string }, ItemOutcome>('cleanUpTest'),
  giveUpCleanUp: activity<JobWorkflowInput, ItemOutcome>('giveUpCleanUp'),

  /** Failback. */
  checkFailback: activity<JobWorkflowInput & { createOnHostId?: string }, CheckOutcome>('checkFailback'),
  /** From here on the relay readies the VM at the site. */
  beginFailback: activity<JobWorkflowInput & { createOnHostId?: string }, ItemOutcome>('beginFailback'),
  stopFailedOverVm: activity<JobWorkflowInput, ItemOutcome>('stopFailedOverVm'),
  /** Takes a new epoch, in which what the VM's disks hold now is brought to the site. `exporting`: they do not hold still yet. */
  beginFailbackRound: activity<
    JobWorkflowInput & { isFinal: boolean },
    { kind: 'begun' | 'exporting' | 'cancelled' | 'superseded' } | { kind: 'failed'; failures: WorkflowFailure[] }
  >('beginFailbackRound'),
  readFailback: activity<JobWorkflowInput & { awaited: 'prepared' | 'copied' | 'replaced' }, FailbackProgress>(
    'readFailback',
  ),
  /** The job waits until an operator completes the failback. */
  suspendFailback: activity<JobWorkflowInput, ItemOutcome>('suspendFailback'),
  readCompletion: activity<{ vaultId: VaultId; jobName: JobName }, { kind: 'waiting' | 'completed' | 'cancelled' }>(
    'readCompletion',
  ),
  orderReplacement: activity<JobWorkflowInput, ItemOutcome>('orderReplacement'),
  /** The VM is the site's again: from here on it may start there, and nothing is taken back. */
  handOver: activity<JobWorkflowInput, ItemOutcome>('handOver'),
  readSiteStart: activity<JobWorkflowInput, { kind: 'started' | 'waiting' | 'late' }>('readSiteStart'),
  /** Starts the VM in Azure again; `handedOver`: too late for that, the failback stands. `superseded`: not this job's to do. */
  giveBackFailback: activity<
    JobWorkflowInput & { failures: WorkflowFailure[] },
    { kind: 'givenBack' | 'handedOver' | 'superseded' }
  >('giveBackFailback'),
  checkFailbackCommit: activity<JobWorkflowInput, CheckOutcome>('checkFailbackCommit'),
  /** Takes a new epoch and names the new replica's blobs. */
  beginReplicaRenewal: activity<JobWorkflowInput, { kind: 'begun'; slices: CopySlice[] } | { kind: 'superseded' }>(
    'beginReplicaRenewal',
  ),
  copyRenewedDisk: activity<JobWorkflowInput & { slice: CopySlice }, { finished: boolean }>('copyRenewedDisk'),
  /** The new blobs are the replica, and the earlier ones go. */
  adoptRenewedReplica: activity<JobWorkflowInput, ItemOutcome>('adoptRenewedReplica'),
  deleteFailedOverVm: activity<JobWorkflowInput, ItemOutcome>('deleteFailedOverVm'),
  checkReverseReplication: activity<JobWorkflowInput, CheckOutcome>('checkReverseReplication'),
  beginReverseReplication: activity<JobWorkflowInput, ItemOutcome>('beginReverseReplication'),

  /** Recovery plans. */
  beginPlanItem: activity<PlanItemInput, BegunPlanItem>('beginPlanItem'),
  callRunbook: activity<
    {
      vaultId: VaultId;
      jobName: JobName;
      planName: string;
      groupId: string;
      actionName: string;
      timeoutSeconds: number;
      failoverType: PlanFailoverType;
      direction: PlanDirection;
      itemIds: ItemId[];
    },
    CheckOutcome
  >('callRunbook'),
  sendScript: activity<
    {
      vaultId: VaultId;
      fabricName: string;
      command: Extract<RelayCommand, { kind: 'runScript' }>;
      instanceId: string;
    },
    { kind: 'sent'; relayId: RelayId } | { kind: 'failed'; failures: WorkflowFailure[] }
  >('sendScript'),
  suspendForOperator: activity<AwaitOperatorInput & { waiter: string }, { kind: 'done' }>('suspendForOperator'),
  readPlanCancel: activity<{ vaultId: VaultId; jobName: JobName }, { cancelled: boolean }>('readPlanCancel'),
  concludePlan: activity<
    {
      vaultId: VaultId;
      planName: string;
      jobName: JobName;
      operation: PlanOperation;
      outcome: JobOutcome;
      comments: string;
    },
    Record<string, never>
  >('concludePlan'),

  /** Disabling. */
  stopReplication: activity<JobWorkflowInput, ItemOutcome>('stopReplication'),
  /** Deletes what replication keeps, a bounded number of rows a call, at last the item's own. */
  dropReplica: activity<JobWorkflowInput, { remaining: boolean }>('dropReplica'),
  checkCommit: activity<JobWorkflowInput, CheckOutcome>('checkCommit'),
  /** Deletes points, snapshots and what was received, a bounded number a call. */
  dropReplicationLeftovers: activity<JobWorkflowInput, { remaining: boolean }>('dropReplicationLeftovers'),
} as const;
