import type { InconsistentVm } from '../health/consistency.js';
import type { ItemId, JobName } from '../ids.js';

/** ARM's job states. */
export type JobState = 'NotStarted' | 'InProgress' | 'Succeeded' | 'Failed' | 'Cancelled' | 'Suspended';

export interface JobTask {
  taskId: string;
  name: string;
  friendlyName: string;
  state: JobState;
  startedAt?: string;
  endedAt?: string;
}

export interface JobError {
  taskId?: string;
  code: string;
  message: string;
  possibleCauses: string;
  recommendedAction: string;
  at: string;
}

/**
 * A long-running operation as operators see it. The row also is the intent: a sweep starts the orchestration of a job
 * that has none (docs/architecture.md, rule 12).
 */
export interface Job {
  jobName: JobName;
  scenarioName: string;
  friendlyName: string;
  state: JobState;
  tasks: JobTask[];
  errors: JobError[];
  createdAt: string;
  startedAt?: string;
  endedAt?: string;
  /** ARM id of the resource that the operation was called on; the LRO's Location is under it. */
  targetResourceId: string;
  targetObjectName: string;
  itemId?: ItemId;
  /** What a suspended job waits for: a test failover for its clean-up, a failback for its completion, a plan for a manual action. */
  suspendedFor?: 'testFailover' | 'failbackCompletion' | 'manualAction';
  /** The workflow that is to hear of the operator's answer, where it is not the job's own. */
  waiter?: string;
  /** The run of a recovery plan that this job is a part of, and that drives it. */
  planJobName?: JobName;
  /** An operator wants it to end: it takes back what it did at its next look. */
  cancelRequestedAt?: string;
  /** The operator's, of the clean-up that ended it. */
  comments?: string;
  /** Of a consistency check: what it found. */
  inconsistentVms?: InconsistentVm[];
  /** Of an export of jobs: the file's name in the report store, and its format. */
  exported?: { fileName: string };
  /** The job that this one begins anew. */
  restartOf?: JobName;
  /** What the client gets at the end: GET on Location answers 200 with the resource, or 204. */
  intent: { orchestrator: string; input: unknown };
}

/** A task list as its job shows it up front. */
export interface JobKind {
  scenarioName: string;
  friendlyName: string;
  tasks: readonly { name: string; friendlyName: string }[];
}

export const jobKinds = {
  enableProtection: {
    scenarioName: 'EnableDr',
    friendlyName: 'Enable replication',
    tasks: [
      { name: 'EnableProtectionPrerequisitesCheck', friendlyName: 'Prerequisites check for enabling protection' },
      { name: 'CreateProtectionTarget', friendlyName: 'Identifying the replication target' },
      { name: 'EnableProtection', friendlyName: 'Enable replication' },
      { name: 'VmStartInitialReplication', friendlyName: 'Starting initial replication' },
      { name: 'UpdateDraState', friendlyName: 'Updating the provider states' },
    ],
  },
  finalizeProtection: {
    scenarioName: 'IrCompletion',
    friendlyName: 'Finalize protection on the virtual machine',
    tasks: [
      { name: 'FinalizeOnPrimary', friendlyName: 'Finalize protection on the primary virtual machine' },
      { name: 'FinalizeOnRecovery', friendlyName: 'Finalize protection on the recovery site' },
    ],
  },
  /** Task names of this one are ours. */
  resynchronize: {
    scenarioName: 'Resynchronize',
    friendlyName: 'Resynchronize',
    tasks: [
      { name: 'ResyncPrerequisitesCheck', friendlyName: 'Prerequisites check for resynchronization' },
      { name: 'ResyncStart', friendlyName: 'Starting resynchronization at the primary site' },
      { name: 'ResyncCompare', friendlyName: 'Comparing disks and sending what differs' },
      { name: 'ResyncComplete', friendlyName: 'Making the first recovery point' },
    ],
  },
  plannedFailover: {
    scenarioName: 'PlannedFailover',
    friendlyName: 'Planned failover',
    tasks: [
      { name: 'VmPfoPrerequisitesCheck', friendlyName: 'Prerequisites check for planned failover' },
      { name: 'VmShutdownVmOnPrimary', friendlyName: 'Shut down the virtual machine' },
      { name: 'VmPrepareForFailover', friendlyName: 'Preparing for failover' },
      { name: 'VmFailover', friendlyName: 'Start failover' },
      { name: 'VmFoStartVmOnSecondary', friendlyName: 'Start the replica virtual machine' },
    ],
  },
  unplannedFailover: {
    scenarioName: 'UnplannedFailover',
    friendlyName: 'Failover',
    tasks: [
      { name: 'VmUfoPrerequisitesCheck', friendlyName: 'Prerequisites check for failover' },
      { name: 'VmUfoShutdownVmOnPrimary', friendlyName: 'Shut down the virtual machine' },
      { name: 'VmPrepareForFailover', friendlyName: 'Preparing for failover' },
      { name: 'VmFailover', friendlyName: 'Start failover' },
      { name: 'VmFoStartVmOnSecondary', friendlyName: 'Start the replica virtual machine' },
    ],
  },
  commitFailover: {
    scenarioName: 'CommitFailover',
    friendlyName: 'Commit',
    tasks: [
      { name: 'VmCommitPrerequisitesCheck', friendlyName: 'Prerequisites check for commit' },
      { name: 'VmCommitFailover', friendlyName: 'Commit failover' },
    ],
  },
  /** Task names of this one are ours, but for the last. */
  changeRecoveryPoint: {
    scenarioName: 'ChangePit',
    friendlyName: 'Change recovery point',
    tasks: [
      { name: 'VmPitPrepare', friendlyName: 'Copying the recovery point' },
      { name: 'VmPitReplace', friendlyName: 'Replacing the virtual machine' },
      { name: 'VmFoStartVmOnSecondary', friendlyName: 'Start the replica virtual machine' },
    ],
  },
  /** Task names of failbacks, their commit and reverse replication are ours. */
  failback: {
    scenarioName: 'PlannedFailover',
    friendlyName: 'Planned failover to the primary site',
    tasks: [
      { name: 'VmFailbackPrerequisitesCheck', friendlyName: 'Prerequisites check for failback' },
      { name: 'VmFailbackPreparePrimary', friendlyName: 'Preparing the virtual machine at the primary site' },
      { name: 'VmFailbackShutdownVmOnRecovery', friendlyName: 'Shut down the virtual machine in Azure' },
      { name: 'VmFailbackFinalSync', friendlyName: 'Bringing the last changes to the primary site' },
      { name: 'VmFailbackReplaceDisks', friendlyName: 'Replacing the disks at the primary site' },
      { name: 'VmFailbackStartVmOnPrimary', friendlyName: 'Start the virtual machine at the primary site' },
    ],
  },
  failbackAfterSynchronization: {
    scenarioName: 'PlannedFailover',
    friendlyName: 'Planned failover to the primary site, with data synchronized before',
    tasks: [
      { name: 'VmFailbackPrerequisitesCheck', friendlyName: 'Prerequisites check for failback' },
      { name: 'VmFailbackPreparePrimary', friendlyName: 'Preparing the virtual machine at the primary site' },
      { name: 'VmFailbackSynchronize', friendlyName: 'Synchronizing data while the virtual machine runs in Azure' },
      { name: 'VmFailbackShutdownVmOnRecovery', friendlyName: 'Shut down the virtual machine in Azure' },
      { name: 'VmFailbackFinalSync', friendlyName: 'Bringing the last changes to the primary site' },
      { name: 'VmFailbackReplaceDisks', friendlyName: 'Replacing the disks at the primary site' },
      { name: 'VmFailbackStartVmOnPrimary', friendlyName: 'Start the virtual machine at the primary site' },
    ],
  },
  commitFailback: {
    scenarioName: 'CommitFailover',
    friendlyName: 'Commit',
    tasks: [
      { name: 'VmCommitPrerequisitesCheck', friendlyName: 'Prerequisites check for commit' },
      {
        name: 'VmCommitRenewReplica',
        friendlyName: 'Bringing the replica to the virtual machine’s last state in Azure',
      },
      { name: 'VmCommitDeleteRecoveryVm', friendlyName: 'Deleting the virtual machine in Azure' },
    ],
  },
  reverseReplicate: {
    scenarioName: 'ReverseReplicate',
    friendlyName: 'Reverse replicate',
    tasks: [
      { name: 'VmReverseReplicate', friendlyName: 'Replicating the virtual machine from the primary site again' },
    ],
  },
  testFailover: {
    scenarioName: 'TestFailover',
    friendlyName: 'Test failover',
    tasks: [
      { name: 'VmTfoPrerequisitesCheck', friendlyName: 'Prerequisites check for test failover' },
      { name: 'VmTfoInitiateFailover', friendlyName: 'Starting test failover' },
      { name: 'VmTfoPrepareTestVm', friendlyName: 'Creating test virtual machine' },
      { name: 'VmTfoBootTestVm', friendlyName: 'Start the virtual machine' },
    ],
  },
  testFailoverCleanUp: {
    scenarioName: 'TestFailoverCleanup',
    friendlyName: 'Test failover cleanup',
    tasks: [
      { name: 'VmTfoCleanupPreflightsCheck', friendlyName: 'Prerequisites check for cleanup' },
      { name: 'VmTfoEndFailover', friendlyName: 'Ending test failover' },
      { name: 'VmTfoDeleteTestVm', friendlyName: 'Clean up the test virtual machine' },
    ],
  },
  /** Task names of this one are ours. */
  disableProtection: {
    scenarioName: 'DisableDr',
    friendlyName: 'Disable replication',
    tasks: [
      { name: 'DisableProtectionOnPrimary', friendlyName: 'Disabling replication at the primary site' },
      { name: 'DisableProtectionOnRecovery', friendlyName: 'Removing the replica' },
    ],
  },
  /** Task names of these two are ours. */
  savePlan: {
    scenarioName: 'SaveRecoveryPlan',
    friendlyName: 'Save recovery plan',
    tasks: [{ name: 'SaveRecoveryPlan', friendlyName: 'Save recovery plan' }],
  },
  deletePlan: {
    scenarioName: 'DeleteRecoveryPlan',
    friendlyName: 'Delete recovery plan',
    tasks: [{ name: 'DeleteRecoveryPlan', friendlyName: 'Delete recovery plan' }],
  },
  createPolicy: {
    scenarioName: 'AddProtectionProfile',
    friendlyName: 'Create replication policy',
    tasks: [{ name: 'AddProtectionProfile', friendlyName: 'Create replication policy' }],
  },
  createMapping: {
    scenarioName: 'AssociateProtectionProfile',
    friendlyName: 'Associate replication policy',
    tasks: [{ name: 'AssociateProtectionProfile', friendlyName: 'Associate replication policy' }],
  },
  /** Scenario and task names from here on are ours. */
  updatePolicy: {
    scenarioName: 'UpdateProtectionProfile',
    friendlyName: 'Edit replication policy',
    tasks: [{ name: 'UpdateProtectionProfile', friendlyName: 'Edit replication policy' }],
  },
  deletePolicy: {
    scenarioName: 'DeleteProtectionProfile',
    friendlyName: 'Delete replication policy',
    tasks: [{ name: 'DeleteProtectionProfile', friendlyName: 'Delete replication policy' }],
  },
  updateMapping: {
    scenarioName: 'UpdateProtectionProfileAssociation',
    friendlyName: 'Edit association of replication policy',
    tasks: [{ name: 'UpdateProtectionProfileAssociation', friendlyName: 'Edit association of replication policy' }],
  },
  deleteMapping: {
    scenarioName: 'DisassociateProtectionProfile',
    friendlyName: 'Disassociate replication policy',
    tasks: [{ name: 'DisassociateProtectionProfile', friendlyName: 'Disassociate replication policy' }],
  },
  saveNetworkMapping: {
    scenarioName: 'MapNetwork',
    friendlyName: 'Map network',
    tasks: [{ name: 'MapNetwork', friendlyName: 'Map network' }],
  },
  deleteNetworkMapping: {
    scenarioName: 'UnmapNetwork',
    friendlyName: 'Remove network mapping',
    tasks: [{ name: 'UnmapNetwork', friendlyName: 'Remove network mapping' }],
  },
  updateItem: {
    scenarioName: 'UpdateVmProperties',
    friendlyName: 'Update virtual machine settings',
    tasks: [{ name: 'UpdateVmProperties', friendlyName: 'Update virtual machine settings' }],
  },
  /** The task's name is ours. Its work is done in the registration itself: it has succeeded from the start. */
  registerProvider: {
    scenarioName: 'RegisterDra',
    friendlyName: 'Register the Azure Site Recovery Provider',
    tasks: [{ name: 'RegisterDra', friendlyName: 'Register the Azure Site Recovery Provider' }],
  },
  /** The task's name is ours. */
  createSite: {
    scenarioName: 'CreateSite',
    friendlyName: 'Create site',
    tasks: [{ name: 'CreateSite', friendlyName: 'Create site' }],
  },
  removeFabric: {
    scenarioName: 'DeleteServer',
    friendlyName: 'Delete server',
    tasks: [{ name: 'DeleteServer', friendlyName: 'Delete server' }],
  },
  refreshProvider: {
    scenarioName: 'RefreshProvider',
    friendlyName: 'Refresh provider',
    tasks: [{ name: 'RefreshProvider', friendlyName: 'Refresh provider' }],
  },
  checkConsistency: {
    scenarioName: 'ConfigurationCheck',
    friendlyName: 'Check consistency',
    tasks: [{ name: 'ConfigurationCheck', friendlyName: 'Check consistency' }],
  },
  exportJobs: {
    scenarioName: 'ExportJobs',
    friendlyName: 'Export jobs',
    tasks: [{ name: 'ExportJobs', friendlyName: 'Export jobs' }],
  },
  refreshVaultHealth: {
    scenarioName: 'RefreshVaultHealth',
    friendlyName: 'Refresh vault health',
    tasks: [{ name: 'RefreshVaultHealth', friendlyName: 'Refresh vault health' }],
  },
  saveVaultSettings: {
    scenarioName: 'SaveVaultSettings',
    friendlyName: 'Save vault settings',
    tasks: [{ name: 'SaveVaultSettings', friendlyName: 'Save vault settings' }],
  },
  resolveHealthErrors: {
    scenarioName: 'ResolveHealthErrors',
    friendlyName: 'Resolve health errors',
    tasks: [{ name: 'ResolveHealthErrors', friendlyName: 'Resolve health errors' }],
  },
} as const satisfies Record<string, JobKind>;
