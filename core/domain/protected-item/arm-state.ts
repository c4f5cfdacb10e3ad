import type { ProtectedItem } from './protected-item.js';

/** What the ARM surface says of an item: names as recorded from Site Recovery; those marked "ours" follow their style. */
export interface ArmState {
  protectionState: string;
  protectionStateDescription: string;
  /** `properties.providerSpecificDetails.vmProtectionState` and its description. */
  vmProtectionState: string;
  vmProtectionStateDescription: string;
  activeLocation: 'Primary' | 'Recovery';
}

const state = (
  name: string,
  description: string,
  activeLocation: ArmState['activeLocation'],
  vmState = name,
): ArmState => ({
  protectionState: name,
  protectionStateDescription: description,
  vmProtectionState: vmState,
  vmProtectionStateDescription: description,
  activeLocation,
});

/** A failover's virtual machine stays where it runs. */
const locationOf = ({
  failover,
  failback,
}: Pick<ProtectedItem, 'failover' | 'failback'>): ArmState['activeLocation'] =>
  failover?.vmArmId === undefined || failback?.swap === 'done' ? 'Primary' : 'Recovery';

export function armState(
  item: Pick<ProtectedItem, 'state' | 'disks' | 'failover' | 'failback' | 'replication'>,
): ArmState {
  switch (item.state) {
    case 'EnablingProtection':
      // The second is ours.
      return item.replication.startAt === undefined
        ? state('UnprotectedStatesBegin', 'Enabling protection', 'Primary')
        : state('UnprotectedStatesBegin', `Initial replication starts at ${item.replication.startAt.at}`, 'Primary');
    case 'EnablingFailed': // ours
      return state('EnableProtectionFailed', 'Enabling protection failed', 'Primary');
    case 'InitialReplicationInProgress':
      return item.disks.every((disk) => disk.baseReceivedThroughBytes >= disk.sourceSizeBytes)
        ? state('InitialReplicationRecoveryCompletionPending', 'Waiting for first recovery point', 'Primary')
        : state('InitialReplicationInProgress', 'Initial replication is in progress', 'Primary');
    case 'FinalizingProtection':
      return state('Protected', 'Protected', 'Primary', 'ReplicaConfigurationInProgress');
    case 'Protected':
      return state('Protected', 'Protected', 'Primary');
    case 'Resynchronizing': // ours; Site Recovery's own items stay Protected, and say it in their health
      return state('Protected', 'Resynchronization in progress', 'Primary', 'ResynchronizationInProgress');
    case 'PlannedFailoverInProgress': // ours
      return state('PlannedFailoverInProgress', 'Planned failover is in progress', 'Primary');
    case 'UnplannedFailoverInProgress': // ours
      return state('UnplannedFailoverInProgress', 'Failover is in progress', 'Primary');
    case 'UnplannedFailoverFailed': // ours
      return state('UnplannedFailoverFailed', 'Failover failed', 'Primary');
    case 'FailoverCommitPending':
      return item.failover?.kind === 'planned'
        ? state('PlannedFailoverCommitRequired', 'Planned failover finished', 'Recovery')
        : state('UnplannedFailoverCommitPendingStatesBegin', 'Failover completed', 'Recovery');
    case 'PointChangeInProgress': // ours
      return state('ChangeRecoveryPointInProgress', 'Changing the recovery point', 'Recovery');
    case 'CommitInProgress': // ours
      return state('CommitFailoverInProgress', 'Commit is in progress', 'Recovery');
    case 'DisablingProtection': // ours
      return state('DisablingProtection', 'Disabling replication', locationOf(item));
    case 'DisablingFailed': // ours
      return state('DisableProtectionFailed', 'Disabling replication failed', locationOf(item));
    case 'FailbackInProgress': // ours
      return state('FailbackInProgress', failbackWords(item), locationOf(item));
    case 'FailbackCommitPending': // ours
      return state('FailbackCommitRequired', 'Failback finished', 'Primary');
    case 'FailbackCommitInProgress': // ours
      return state('CommitFailbackInProgress', 'Commit is in progress', 'Primary');
    case 'FailbackCommitted': // ours
      return state('FailbackCommitted', 'Failback committed', 'Primary');
    case 'ReverseReplicationInProgress': // ours
      return state('ReverseReplicationInProgress', 'Reverse replication is in progress', 'Primary');
    case 'FailoverCommitted': // recorded after a planned failover; an unplanned one's name was seen for Azure to Azure
      return item.failover?.kind === 'planned'
        ? state('PlannedFailoverStatesBegin', 'Planned failover committed', 'Recovery')
        : state('UnplannedFailoverCommitted', 'Failover committed', 'Recovery');
  }
}

/** While the data is synchronized the VM goes on in Azure: whoever asks wants to know which of the two it is. */
const failbackWords = ({ failback }: Pick<ProtectedItem, 'failback'>): string => {
  if (failback?.round?.isFinal === true) return 'Failback is in progress';
  return failback?.round?.copied === undefined
    ? 'Data is being synchronized for failback'
    : 'Data is synchronized; waiting for the failback to be completed';
};
