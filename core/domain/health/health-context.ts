import type { ReplicationPolicy } from '../policy/replication-policy.js';
import type { SiteVm } from '../site/inventory.js';

/** What an item's health is judged by, beside its own row. */
export interface HealthContext {
  policy: Pick<ReplicationPolicy, 'replicationIntervalSeconds' | 'intervalEditedAt' | 'appConsistentFrequencyHours'>;
  rpoThresholdSeconds: number;
  /** The source as the site's inventory describes it now; undefined where that does not name it. */
  vm: Pick<SiteVm, 'disks' | 'nics' | 'cpuCount' | 'memoryMegabytes'> | undefined;
  /** When the item's relay was last heard of at all. */
  relayHeardAt: string | undefined;
}
