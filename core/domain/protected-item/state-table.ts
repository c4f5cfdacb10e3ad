/**
 * The protected item's states, events and operations as one table (docs/architecture.md, "State table").
 * States are named for what the ARM surface calls them, where it has a name.
 */
export const protectionStates = [
  'EnablingProtection',
  'EnablingFailed',
  'InitialReplicationInProgress',
  'FinalizingProtection',
  'Protected',
  'Resynchronizing',
  'PlannedFailoverInProgress',
  'UnplannedFailoverInProgress',
  'UnplannedFailoverFailed',
  'FailoverCommitPending',
  'PointChangeInProgress',
  'CommitInProgress',
  'FailoverCommitted',
  'FailbackInProgress',
  'FailbackCommitPending',
  'FailbackCommitInProgress',
  'FailbackCommitted',
  'ReverseReplicationInProgress',
  'DisablingProtection',
  'DisablingFailed',
] as const;
export type ProtectionState = (typeof protectionStates)[number];

export const protectionEvents = [
  'enablingStarted',
  'protectionEnabled',
  'enablingFailed',
  'initialReplicationFinished',
  'protectionFinalized',
  'resyncStarted',
  'resyncFinished',
  /** Given up: the item goes on waiting for a resynchronization. */
  'resyncFailed',
  'plannedFailoverStarted',
  'plannedFailoverFinished',
  /** Given back: the source runs again, and replication goes on from where it was. */
  'plannedFailoverGivenBack',
  'unplannedFailoverStarted',
  'unplannedFailoverFinished',
  /** Stopped before it took anything away from replication, which goes on. */
  'unplannedFailoverRefused',
  /** The same, while a resynchronization goes on. */
  'unplannedFailoverRefusedInResync',
  'unplannedFailoverFailed',
  /** These two move nothing: a test failover goes on beside replication, and may outlive a failover. */
  'testFailoverStarted',
  'testFailoverCleanUpStarted',
  'pointChangeStarted',
  /** Done, or failed: then the VM that ran goes on, or the change is to be run again. */
  'pointChangeEnded',
  'commitStarted',
  'commitFinished',
  'commitFailed',
  'failbackStarted',
  'failbackFinished',
  /** Given up: the VM goes on in Azure, and the site's disks are as they were. */
  'failbackGivenBack',
  'reverseReplicationStarted',
  'reverseReplicationFinished',
  'reverseReplicationFailed',
  /** Its end is that the item is no more. */
  'disablingStarted',
  'migrationCompletionStarted',
  'disablingFailed',
] as const;
export type ProtectionEvent = (typeof protectionEvents)[number];

/** Names as ARM's `allowedOperations` spells them: those that there is a workflow for. */
export type ProtectionOperation =
  | 'EnableProtection'
  | 'TestFailover'
  | 'TestFailoverCleanup'
  | 'PlannedFailover'
  | 'UnplannedFailover'
  | 'Commit'
  | 'ChangePit'
  | 'Failback'
  | 'ReverseReplicate'
  | 'RepairReplication'
  | 'CompleteMigration'
  | 'DisableProtection';

/** An operation is allowed where the event that it begins with is. */
export const operationStarts: Readonly<Record<ProtectionOperation, ProtectionEvent>> = {
  EnableProtection: 'enablingStarted',
  TestFailover: 'testFailoverStarted',
  TestFailoverCleanup: 'testFailoverCleanUpStarted',
  PlannedFailover: 'plannedFailoverStarted',
  UnplannedFailover: 'unplannedFailoverStarted',
  Commit: 'commitStarted',
  ChangePit: 'pointChangeStarted',
  Failback: 'failbackStarted',
  ReverseReplicate: 'reverseReplicationStarted',
  RepairReplication: 'resyncStarted',
  CompleteMigration: 'migrationCompletionStarted',
  DisableProtection: 'disablingStarted',
};
const operations = Object.keys(operationStarts) as ProtectionOperation[];

const transitions: Readonly<Record<ProtectionState, Partial<Record<ProtectionEvent, ProtectionState>>>> = {
  EnablingProtection: { protectionEnabled: 'InitialReplicationInProgress', enablingFailed: 'EnablingFailed' },
  EnablingFailed: { enablingStarted: 'EnablingProtection', disablingStarted: 'DisablingProtection' },
  // A base that broke before it was whole is mended by a resynchronization, after which initial replication is finished.
  InitialReplicationInProgress: {
    initialReplicationFinished: 'FinalizingProtection',
    resyncStarted: 'InitialReplicationInProgress',
    resyncFailed: 'InitialReplicationInProgress',
    disablingStarted: 'DisablingProtection',
  },
  FinalizingProtection: { protectionFinalized: 'Protected' },
  Protected: {
    testFailoverStarted: 'Protected',
    testFailoverCleanUpStarted: 'Protected',
    plannedFailoverStarted: 'PlannedFailoverInProgress',
    unplannedFailoverStarted: 'UnplannedFailoverInProgress',
    resyncStarted: 'Resynchronizing',
    disablingStarted: 'DisablingProtection',
  },
  Resynchronizing: {
    testFailoverCleanUpStarted: 'Resynchronizing',
    resyncFinished: 'Protected',
    resyncFailed: 'Protected',
    unplannedFailoverStarted: 'UnplannedFailoverInProgress',
    disablingStarted: 'DisablingProtection',
  },
  PlannedFailoverInProgress: {
    plannedFailoverFinished: 'FailoverCommitPending',
    plannedFailoverGivenBack: 'Protected',
  },
  UnplannedFailoverInProgress: {
    unplannedFailoverFinished: 'FailoverCommitPending',
    unplannedFailoverRefused: 'Protected',
    unplannedFailoverRefusedInResync: 'Resynchronizing',
    unplannedFailoverFailed: 'UnplannedFailoverFailed',
  },
  UnplannedFailoverFailed: {
    testFailoverCleanUpStarted: 'UnplannedFailoverFailed',
    unplannedFailoverStarted: 'UnplannedFailoverInProgress',
    disablingStarted: 'DisablingProtection',
  },
  FailoverCommitPending: {
    pointChangeStarted: 'PointChangeInProgress',
    testFailoverCleanUpStarted: 'FailoverCommitPending',
    commitStarted: 'CommitInProgress',
    migrationCompletionStarted: 'DisablingProtection',
    disablingStarted: 'DisablingProtection',
  },
  PointChangeInProgress: { pointChangeEnded: 'FailoverCommitPending' },
  CommitInProgress: { commitFinished: 'FailoverCommitted', commitFailed: 'FailoverCommitPending' },
  FailoverCommitted: {
    failbackStarted: 'FailbackInProgress',
    testFailoverCleanUpStarted: 'FailoverCommitted',
    migrationCompletionStarted: 'DisablingProtection',
    disablingStarted: 'DisablingProtection',
  },
  FailbackInProgress: { failbackFinished: 'FailbackCommitPending', failbackGivenBack: 'FailoverCommitted' },
  FailbackCommitPending: { commitStarted: 'FailbackCommitInProgress', disablingStarted: 'DisablingProtection' },
  FailbackCommitInProgress: { commitFinished: 'FailbackCommitted', commitFailed: 'FailbackCommitPending' },
  FailbackCommitted: {
    reverseReplicationStarted: 'ReverseReplicationInProgress',
    disablingStarted: 'DisablingProtection',
  },
  ReverseReplicationInProgress: {
    reverseReplicationFinished: 'Protected',
    reverseReplicationFailed: 'FailbackCommitted',
  },
  DisablingProtection: { disablingFailed: 'DisablingFailed' },
  DisablingFailed: { disablingStarted: 'DisablingProtection' },
};

/** The state after `event`, or undefined where the table forbids it. */
export function nextState(from: ProtectionState, event: ProtectionEvent): ProtectionState | undefined {
  return transitions[from][event];
}

/** What an operator may begin now. While a job runs on the item, nothing. */
export function allowedOperations(item: {
  state: ProtectionState;
  activeJob?: unknown;
  replication: { resync?: unknown; resyncRequired?: unknown };
  testFailover?: { state: string };
}): ProtectionOperation[] {
  if (item.activeJob !== undefined) return [];
  return operations.filter(
    (operation) =>
      nextState(item.state, operationStarts[operation]) !== undefined &&
      (operation !== 'RepairReplication' || mayResynchronize(item)) &&
      (operation !== 'PlannedFailover' || isWhole(item)) &&
      fitsTest(operation, item.testFailover),
  );
}

/** Beside a test VM replication is mended and a disaster may strike; whatever else waits until it is cleaned up. */
function fitsTest(operation: ProtectionOperation, test: { state: string } | undefined): boolean {
  if (operation === 'TestFailoverCleanup') return test?.state === 'waiting';
  return test === undefined || operation === 'UnplannedFailover' || operation === 'RepairReplication';
}

/** A planned failover loses nothing: so it takes a replica that lacks nothing (docs/architecture.md, rule 8). */
const isWhole = ({ replication }: Parameters<typeof allowedOperations>[0]): boolean =>
  replication.resync === undefined && replication.resyncRequired === undefined;

/** One at a time; and a base that is still being sent is not begun anew as long as nothing is wrong with it. */
const mayResynchronize = ({ state, replication }: Parameters<typeof allowedOperations>[0]): boolean =>
  replication.resync === undefined && (state === 'Protected' || replication.resyncRequired !== undefined);
