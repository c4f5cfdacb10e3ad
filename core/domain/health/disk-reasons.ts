import type { ProtectedItem } from '../protected-item/protected-item.js';
import type { HealthContext } from './health-context.js';
import type { HealthReason } from './health-reason.js';

/** Where the source's disks, as the site's inventory has them, differ from those that are replicated. */
export function diskReasons(item: ProtectedItem, { vm }: Pick<HealthContext, 'vm'>): HealthReason[] {
  if (vm === undefined || item.disks.length === 0) return [];
  const isKnown = (diskId: string): boolean =>
    item.disks.some((disk) => disk.diskId === diskId) || item.excludedDiskIds.includes(diskId);
  const added = vm.disks.filter(({ diskId }) => !isKnown(diskId)).map(({ name }) => name);
  const resized: string[] = [];
  const missing: string[] = [];
  for (const { diskId, name, sourceSizeBytes } of item.disks) {
    const found = vm.disks.find((disk) => disk.diskId === diskId);
    if (found === undefined) missing.push(name);
    else if (found.sizeBytes !== sourceSizeBytes) {
      resized.push(`${name} (${sourceSizeBytes} bytes when protection was enabled, ${found.sizeBytes} now)`);
    }
  }
  // None of these says when it came about: the inventory tells what is, and its events tell when that was first seen.
  const at = item.replication.lastHeartbeatAt ?? item.createdAt;
  const reason = (names: string[], told: Omit<HealthReason, 'at' | 'message'>, message: string): HealthReason[] =>
    names.length === 0 ? [] : [{ ...told, message: `${message}: ${names.join(', ')}`, at }];
  return [
    ...reason(
      resized,
      {
        level: 'Critical',
        code: 'US3060',
        summary: 'A disk was resized',
        possibleCauses: 'The virtual disk was expanded or shrunk at the host.',
        recommendedAction:
          'Disable replication of the virtual machine and enable it again with its present disks. Nothing is sent meanwhile.',
      },
      'the replica of a disk has another size than the disk',
    ),
    ...reason(
      missing,
      {
        level: 'Critical',
        code: 'US3061',
        summary: 'A replicated disk is missing at the source',
        possibleCauses: 'The disk was detached from the virtual machine, or replaced by another.',
        recommendedAction:
          'Attach the disk again; or disable replication of the virtual machine and enable it again with its present disks.',
      },
      'a replicated disk is no longer attached to the virtual machine',
    ),
    ...reason(
      added,
      {
        level: 'Warning',
        code: 'US3059',
        summary: 'An added disk is unprotected',
        possibleCauses: 'A disk was attached to the virtual machine after protection was enabled.',
        recommendedAction:
          'To have it after a failover, disable replication of the virtual machine and enable it again with its present disks.',
      },
      'a disk was added to the virtual machine and is not replicated',
    ),
  ];
}
