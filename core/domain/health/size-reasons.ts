import { exceedsLargestSize, largestSize } from '../failover/placement.js';
import type { ProtectedItem } from '../protected-item/protected-item.js';
import type { HealthContext } from './health-context.js';
import type { HealthReason } from './health-reason.js';

/** Where no size was chosen and the source is larger than the largest that is chosen by itself. */
export function sizeReasons(item: ProtectedItem, { vm }: Pick<HealthContext, 'vm'>): HealthReason[] {
  if (vm === undefined || item.target.vmSize !== undefined || !exceedsLargestSize(vm)) return [];
  const { name, cpuCount, memoryMegabytes } = largestSize;
  return [
    {
      level: 'Warning',
      code: 'US3076',
      summary: 'The virtual machine in Azure would be smaller than its source',
      message: `the source has ${vm.cpuCount} cores and ${vm.memoryMegabytes} MiB of memory; a failover makes a ${name}, with ${cpuCount} and ${memoryMegabytes}`,
      possibleCauses: 'No size was chosen, and none that is chosen by itself is as large.',
      recommendedAction:
        'Choose a size of virtual machines that your subscription has in the region (recoveryAzureVMSize).',
      at: item.replication.lastHeartbeatAt ?? item.createdAt,
    },
  ];
}
