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
  'DisablingProtection',
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
  'disableStarted',
] as const;
export type ProtectionEvent = (typeof protectionEvents)[number];

/** Names as ARM's `allowedOperations` spells them. */
export type ProtectionOperation = 'EnableProtection' | 'UnplannedFailover' | 'Commit' | 'DisableProtection';

/** An operation is allowed where the event that it begins with is. */
export const operationStarts: Readonly<Record<ProtectionOperation, ProtectionEvent>> = {
  EnableProtection: 'enablingStarted',
  UnplannedFailover: 'unplannedFailoverStarted',
  Commit: 'commitStarted',
  DisableProtection: 'disableStarted',
};
const operations = Object.keys(operationStarts) as ProtectionOperation[];

const transitions: Readonly<Record<ProtectionState, Partial<Record<ProtectionEvent, ProtectionState>>>> = {
  EnablingProtection: { protectionEnabled: 'InitialReplicationInProgress', enablingFailed: 'EnablingFailed' },
  EnablingFailed: { enablingStarted: 'EnablingProtection', disableStarted: 'DisablingProtection' },
  InitialReplicationInProgress: {
    initialReplicationFinished: 'FinalizingProtection',
    disableStarted: 'DisablingProtection',
  },
  FinalizingProtection: { protectionFinalized: 'Protected' },
  Protected: { unplannedFailoverStarted: 'UnplannedFailoverInProgress', disableStarted: 'DisablingProtection' },
  UnplannedFailoverInProgress: {
    unplannedFailoverFinished: 'FailoverCommitPending',
    unplannedFailoverRefused: 'Protected',
    unplannedFailoverFailed: 'UnplannedFailoverFailed',
  },
  UnplannedFailoverFailed: {
    unplannedFailoverStarted: 'UnplannedFailoverInProgress',
    disableStarted: 'DisablingProtection',
  },
  FailoverCommitPending: { commitStarted: 'CommitInProgress', disableStarted: 'DisablingProtection' },
  CommitInProgress: { commitFinished: 'FailoverCommitted', commitFailed: 'FailoverCommitPending' },
  FailoverCommitted: { disableStarted: 'DisablingProtection' },
  DisablingProtection: {},
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
