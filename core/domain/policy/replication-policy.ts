/** How often changes travel and how long recovery points are kept. Ranges: docs/limits in the operations table. */
export interface ReplicationPolicy {
  name: string;
  /** 30, 300 or 900. */
  replicationIntervalSeconds: number;
  /** Business time since which this interval holds; absent where it was never edited. ISO-8601. */
  intervalEditedAt?: string;
  /** 0 … 24. */
  recoveryPointHistoryHours: number;
  /** 0 (off) … 12. */
  appConsistentFrequencyHours: number;
  /** Time of day at the site at which initial replication starts; absent is at once. */
  onlineReplicationStartTime?: string;
  /** ARM ids of the storage accounts that items of this policy replicate to. */
  storageAccountIds: string[];
}

export const replicationIntervalsSeconds = [30, 300, 900] as const;
export const defaultReplicationIntervalSeconds = 300;
export const defaultRecoveryPointHistoryHours = 2;
export const defaultAppConsistentFrequencyHours = 1;
