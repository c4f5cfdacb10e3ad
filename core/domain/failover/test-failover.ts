import type { DiskId, JobName } from '../ids.js';
import type { ProtectedItem, ReplicaBlob } from '../protected-item/protected-item.js';

/**
 * A test failover, from its start until its clean-up. Replication goes on beside it: it takes no epoch and moves no state.
 * `takingBack`: it failed, and its job does nothing else any more.
 */
export interface TestFailover {
  jobName: JobName;
  state: 'inProgress' | 'takingBack' | 'waiting' | 'cleaningUp';
  startedAt: string;
  /** Absent: the test VM is connected to no network. */
  networkId?: string;
  /** Once chosen; the point is pinned under the job's name. */
  point?: { recoveryPointId: string; takenAt: string; cycle: number };
  disks: { diskId: DiskId; blob: ReplicaBlob }[];
  /** The clean-up that is under way. */
  cleanUpJobName?: JobName;
}

/** The VM of a test failover: beside the one that a real failover makes. */
export const testVmName = ({ target }: Pick<ProtectedItem, 'target'>): string => `${target.vmName}-test`;
export const testVmId = (item: Pick<ProtectedItem, 'target'>): string =>
  `${item.target.resourceGroupId}/providers/Microsoft.Compute/virtualMachines/${testVmName(item)}`;

/** The item's test failover, if this job runs it and goes on with it. */
export const runningTest = (item: ProtectedItem, jobName: JobName): TestFailover | undefined =>
  item.testFailover?.jobName === jobName && item.testFailover.state === 'inProgress' ? item.testFailover : undefined;

export const withTest = (item: ProtectedItem, changes: Partial<TestFailover>): ProtectedItem =>
  item.testFailover === undefined ? item : { ...item, testFailover: { ...item.testFailover, ...changes } };

export function withoutTest(item: ProtectedItem): ProtectedItem {
  const { testFailover: _, ...rest } = item;
  return rest;
}
