/**
 * The protected item's states, events and operations as one table (docs/architecture.md, "State table").
 * States are named for what the ARM surface calls them, where it has a name.
 */
export type ProtectionState =
  | 'EnablingProtection'
  | 'EnablingFailed'
  | 'InitialReplicationInProgress'
  | 'FinalizingProtection'
  | 'Protected'
  | 'UnplannedFailoverInProgress'
  | 'UnplannedFailoverFailed'
  | 'FailoverCommitPending'
  | 'CommitInProgress'
  | 'FailoverCommitted'
  | 'DisablingProtection';

export type ProtectionEvent =
  | 'protectionEnabled'
  | 'enablingFailed'
  | 'initialReplicationFinished'
  | 'protectionFinalized'
  | 'unplannedFailoverStarted'
  | 'unplannedFailoverFinished'
  | 'unplannedFailoverFailed'
  | 'commitStarted'
  | 'commitFinished'
  | 'commitFailed'
  | 'disableStarted';

/** Names as ARM's `allowedOperations` spells them. */
export type ProtectionOperation = 'EnableProtection' | 'UnplannedFailover' | 'Commit' | 'DisableProtection';

const transitions: Readonly<Record<ProtectionState, Partial<Record<ProtectionEvent, ProtectionState>>>> = {
  EnablingProtection: { protectionEnabled: 'InitialReplicationInProgress', enablingFailed: 'EnablingFailed' },
  EnablingFailed: { disableStarted: 'DisablingProtection' },
  InitialReplicationInProgress: {
    initialReplicationFinished: 'FinalizingProtection',
    disableStarted: 'DisablingProtection',
  },
  FinalizingProtection: { protectionFinalized: 'Protected' },
  Protected: { unplannedFailoverStarted: 'UnplannedFailoverInProgress', disableStarted: 'DisablingProtection' },
  UnplannedFailoverInProgress: {
    unplannedFailoverFinished: 'FailoverCommitPending',
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
