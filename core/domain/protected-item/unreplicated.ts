import type { ProtectedItem } from './protected-item.js';

/** An item of which nothing is replicated yet: what it is, and where it is to go to, and nothing else. */
export function unreplicated(item: Omit<ProtectedItem, 'disks' | 'excludedDiskIds' | 'replication'>): ProtectedItem {
  const { itemId, protectionId, fabricName, containerName, itemName, protectableItemName } = item;
  const { vmId, vmName, relayId, policyName, target, source, state, createdAt } = item;
  return {
    ...{ itemId, protectionId, fabricName, containerName, itemName, protectableItemName },
    ...{ vmId, vmName, relayId, policyName, target, state, createdAt },
    ...(source === undefined ? {} : { source }),
    disks: [],
    excludedDiskIds: [],
    replication: {
      phase: 'none',
      paused: false,
      epoch: 1,
      baseCycle: 0,
      torn: false,
      resumedCount: 0,
      receivedCycle: 0,
      appliedCycle: 0,
      backlogBytes: 0,
      statistics: [],
    },
  };
}
