import type { JobName } from '../ids.js';
import type { ProtectedItem, TestFailover } from '../protected-item/protected-item.js';

const vmNameMaxChars = 64;
const suffix = '-test';

/** The VM of a test failover: beside the one that a real failover makes. Azure takes names of 64 characters. */
export const testVmName = ({ target }: Pick<ProtectedItem, 'target'>): string =>
  `${target.vmName.slice(0, vmNameMaxChars - suffix.length)}${suffix}`;
export const testVmId = (item: Pick<ProtectedItem, 'target'>): string =>
  `${item.target.resourceGroupId}/providers/Microsoft.Compute/virtualMachines/${testVmName(item)}`;

/** The item's test failover, if this job runs it and goes on with it. */
export const runningTest = (item: ProtectedItem, jobName: JobName): TestFailover | undefined =>
  item.testFailover?.jobName === jobName && item.testFailover.state === 'inProgress' ? item.testFailover : undefined;

/** Begun; without a network the test VM is connected to none. */
export const withNewTest = (
  item: ProtectedItem,
  jobName: JobName,
  startedAt: string,
  networkId: string | undefined,
): ProtectedItem => ({
  ...item,
  testFailover: {
    jobName,
    state: 'inProgress',
    startedAt,
    disks: [],
    ...(networkId === undefined ? {} : { networkId }),
  },
});

export const withTest = (item: ProtectedItem, changes: Partial<TestFailover>): ProtectedItem =>
  item.testFailover === undefined ? item : { ...item, testFailover: { ...item.testFailover, ...changes } };

export function withoutTest(item: ProtectedItem): ProtectedItem {
  const { testFailover: _, ...rest } = item;
  return rest;
}
