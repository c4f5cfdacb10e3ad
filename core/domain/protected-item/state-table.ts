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
  'UnplannedFailoverInProgress',
  'UnplannedFailoverFailed',
  'FailoverCommitPending',
  'CommitInProgress',
  'FailoverCommitted',
] as const;
export type ProtectionState = (typeof protectionStates)[number];

export const protectionEvents = [
  'enablingStarted',
  'protectionEnabled',
  'enablingFailed',
  'initialReplicationFinished',
  'protectionFinalized',
  'unplannedFailoverStarted',
  'unplannedFailoverFinished',
  /** Stopped before it took anything away from replication, which goes on. */
  'unplannedFailoverRefused',
  'unplannedFailoverFailed',
  'commitStarted',
  'commitFinished',
  'commitFailed',
] as const;
export type ProtectionEvent = (typeof protectionEvents)[number];

/** Names as ARM's `allowedOperations` spells them: those that there is a workflow for. */
export type ProtectionOperation = 'EnableProtection' | 'UnplannedFailover' | 'Commit';

/** An operation is allowed where the event that it begins with is. */
export const operationStarts: Readonly<Record<ProtectionOperation, ProtectionEvent>> = {
  EnableProtection: 'enablingStarted',
  UnplannedFailover: 'unplannedFailoverStarted',
  Commit: 'commitStarted',
};
const operations = Object.keys(operationStarts) as ProtectionOperation[];

const transitions: Readonly<Record<ProtectionState, Partial<Record<ProtectionEvent, ProtectionState>>>> = {
  EnablingProtection: { protectionEnabled: 'InitialReplicationInProgress', enablingFailed: 'EnablingFailed' },
  EnablingFailed: { enablingStarted: 'EnablingProtection' },
  InitialReplicationInProgress: {
    initialReplicationFinished: 'FinalizingProtection',
  },
  FinalizingProtection: { protectionFinalized: 'Protected' },
  Protected: { unplannedFailoverStarted: 'UnplannedFailoverInProgress' },
  UnplannedFailoverInProgress: {
    unplannedFailoverFinished: 'FailoverCommitPending',
    unplannedFailoverRefused: 'Protected',
    unplannedFailoverFailed: 'UnplannedFailoverFailed',
  },
  UnplannedFailoverFailed: {
    unplannedFailoverStarted: 'UnplannedFailoverInProgress',
  },
  FailoverCommitPending: { commitStarted: 'CommitInProgress' },
  CommitInProgress: { commitFinished: 'FailoverCommitted', commitFailed: 'FailoverCommitPending' },
  FailoverCommitted: {},
};

/** The state after `event`, or undefined where the table forbids it. */
export function nextState(from: ProtectionState, event: ProtectionEvent): ProtectionState | undefined {
  return transitions[from][event];
}

/** What an operator may begin now. While a job runs on the item, nothing. */
export function allowedOperations(item: { state: ProtectionState; activeJob?: unknown }): ProtectionOperation[] {
  if (item.activeJob !== undefined) return [];
  return operations.filter((operation) => nextState(item.state, operationStarts[operation]) !== undefined);
}
