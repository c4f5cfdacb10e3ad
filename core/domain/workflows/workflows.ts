import type { WorkflowFailure } from './failure.js';
import type { ItemId, JobName, ProtectionId, VaultId } from '../ids.js';

/**
 * The workflows by name, with their inputs and instance ids: what a door needs to start or wake one.
 * Instances are found again by id, so starting one twice is harmless.
 */
export interface ItemWorkflowInput {
  vaultId: VaultId;
  itemId: ItemId;
  protectionId: ProtectionId;
}

/** A workflow that is a job: its instance id is the job's name. */
export interface JobWorkflowInput extends ItemWorkflowInput {
  jobName: JobName;
}

/** Disks to replicate, by id; absent means all. The OS disk must be among them. */
export interface EnableProtectionInput extends JobWorkflowInput {
  disksToInclude?: string[];
}

/** Which recovery point a failover goes to. `latest` first applies all that was received. */
export type RecoveryPointChoice =
  | { kind: 'latest' }
  | { kind: 'latestProcessed' }
  | { kind: 'latestApplicationConsistent' }
  | { kind: 'point'; recoveryPointId: string }
  /** The point of this cycle and no other: what a planned failover sent last. */
  | { kind: 'cycle'; cycle: number };

export interface UnplannedFailoverInput extends JobWorkflowInput {
  recoveryPoint: RecoveryPointChoice;
  /** Best-effort shutdown of the source VM first. */
  shutDownSource: boolean;
}

export interface ChangeRecoveryPointInput extends JobWorkflowInput {
  recoveryPoint: RecoveryPointChoice;
}

export interface FailbackInput extends JobWorkflowInput {
  /** Synchronize while the VM runs in Azure, and complete when the operator says so; else all at once, with the VM off. */
  synchronizeFirst: boolean;
  /** Where the site has the VM no more, it is made anew on this host. */
  createOnHostId?: string;
  /** How far it has come: carried over from run to run. */
  stage?: 'preparing' | 'synchronizing' | 'synchronized' | 'finalRound' | 'replacing' | 'starting';
}

/** One step of an item's failover, as its recovery plan orders it. `prepare`: all but the VM's start. */
export interface PlanItemStepInput extends JobWorkflowInput {
  operation: 'TestFailover' | 'PlannedFailover' | 'UnplannedFailover' | 'Failback';
  step: 'shutDown' | 'prepare' | 'boot' | 'giveUp';
  recoveryPoint: RecoveryPointChoice;
  shutDownSource: boolean;
  /** Of a failback. */
  synchronizeFirst: boolean;
  createOnHostId?: string;
  /** Of a planned failover's `prepare`: what its shutdown gave. */
  finalCycle?: number;
  /** Of `giveUp`: why, and how the item's job ends. */
  failures?: WorkflowFailure[];
  how?: 'failed' | 'cancelled';
  /** How far a step that waits has come: carried over from run to run. */
  stage?: NonNullable<FailbackInput['stage']>;
}

/** Items of a plan that take turns: each is a workflow of its own. */
export interface PlanLaneInput {
  turns: { workflow: string; instanceId: string; input: object }[];
}

/** Waits for what an operator has to say about a job. */
export interface AwaitOperatorInput {
  vaultId: VaultId;
  jobName: JobName;
  suspendedFor: 'failbackCompletion' | 'manualAction';
}

export interface TestFailoverInput extends JobWorkflowInput {
  recoveryPoint: RecoveryPointChoice;
  /** As the item's row has it while the test goes on: for the job, and for beginning it anew. */
  networkId?: string;
}

export interface TestFailoverCleanUpInput extends JobWorkflowInput {
  /** The operator's, for the record of the drill. */
  comments: string;
}

export interface DisableProtectionInput extends JobWorkflowInput {
  /** The site is not asked to stop tracking: it is lost, or is cleaned by hand. */
  leaveSite: boolean;
}

/** Its epoch, once it has one, and how long it waits for the relay: carried over from run to run. */
export interface ResynchronizeInput extends JobWorkflowInput {
  /** Compare every chunk, whatever the site's record of changed chunks says. */
  compareAll: boolean;
  epoch?: number;
  /** Until when the relay may take to start. ISO-8601. */
  startBy?: string;
}

/** A workflow of one epoch of one item, e.g. the replication loop. */
export interface EpochWorkflowInput extends ItemWorkflowInput {
  epoch: number;
}

/** Short long-running operations (a policy's PUT, a mapping's): their rows changed with the job's; it has one task, and ends. */
export interface RunOperationInput {
  vaultId: VaultId;
  jobName: JobName;
  taskName: string;
}

export const workflowNames = {
  enableProtection: 'enableProtection',
  initialReplication: 'initialReplication',
  finalizeProtection: 'finalizeProtection',
  replicationLoop: 'replicationLoop',
  resynchronize: 'resynchronize',
  digestReplica: 'digestReplica',
  applyResynchronization: 'applyResynchronization',
  plannedFailover: 'plannedFailover',
  unplannedFailover: 'unplannedFailover',
  applyReceived: 'applyReceived',
  commitFailover: 'commitFailover',
  failback: 'failback',
  commitFailback: 'commitFailback',
  reverseReplicate: 'reverseReplicate',
  recoveryPlan: 'recoveryPlan',
  planLane: 'planLane',
  planItemStep: 'planItemStep',
  awaitOperator: 'awaitOperator',
  disableProtection: 'disableProtection',
  changeRecoveryPoint: 'changeRecoveryPoint',
  testFailover: 'testFailover',
  testFailoverCleanUp: 'testFailoverCleanUp',
  runOperation: 'runOperation',
} as const;

export const initialReplicationInstanceId = (protectionId: ProtectionId, epoch: number): string =>
  `ir-${protectionId}-${epoch}`;
export const replicationLoopInstanceId = (protectionId: ProtectionId, epoch: number): string =>
  `loop-${protectionId}-${epoch}`;

export const digestReplicaInstanceId = (protectionId: ProtectionId, epoch: number): string =>
  `digest-${protectionId}-${epoch}`;
export const applyResynchronizationInstanceId = (protectionId: ProtectionId, epoch: number): string =>
  `resync-${protectionId}-${epoch}`;

/** Of a step within a plan's run that does not wait for the relay. */
export const planItemStepInstanceId = (jobName: JobName, step: PlanItemStepInput['step']): string =>
  `${jobName}-${step}`;

/** Raised when rows that a workflow reads have changed. Carries nothing: rows are the truth. Names are case-sensitive. */
export const doorbellEvent = 'doorbell';
/** Raised when an operator resumed replication: it ends a wait after a failure at once. */
export const resumedEvent = 'resumed';
