import assert from 'node:assert/strict';
import { asVaultId } from '../../../core/domain/ids.js';
import type { ProtectedItem, ReplicationProgress } from '../../../core/domain/protected-item/protected-item.js';
import { insert, list, read, upsert } from '../../../core/records/access.js';
import { itemIdOf, rows, vaultPartition } from '../../../core/records/rows.js';
import { sampleDisk, sampleItem, sampleProgress } from '../sample-item.js';
import { sampleInventory, vaultPath, type Harness, type TestRelay } from './harness.js';

/** Items as they are once protection has been enabled: of the site that the harness's relay reports, in step, a minute old. */
export const vaultId = asVaultId(vaultPath);

export class ReplicatedItem {
  private constructor(
    private readonly harness: Harness,
    readonly first: ProtectedItem,
  ) {}

  static async put(
    harness: Harness,
    relay: TestRelay,
    changes: Partial<ProtectedItem> = {},
    progress: Partial<ReplicationProgress> = {},
  ): Promise<ReplicatedItem> {
    const vm = sampleInventory().vms.find(({ name }) => name === (changes.itemName ?? 'sql-01'));
    assert(vm);
    const names = { fabricName: relay.fabricName, containerName: vm.cloudId, itemName: vm.name };
    const ago = (seconds: number): string => harness.now.subtract({ seconds }).toString();
    const item = sampleItem({
      ...names,
      itemId: itemIdOf(vaultId, names.fabricName, names.containerName, names.itemName),
      vmId: vm.vmId as never,
      vmName: vm.name,
      relayId: relay.relayId as never,
      state: 'Protected',
      createdAt: ago(3600),
      disks: vm.disks.map(({ diskId, name, sizeBytes }, index) =>
        sampleDisk(index, { diskId: diskId as never, name, sourceSizeBytes: sizeBytes }),
      ),
      replication: sampleProgress({
        phase: 'delta',
        receivedCycle: 3,
        appliedCycle: 3,
        receivedTakenAt: ago(60),
        receivedAt: ago(58),
        appliedTakenAt: ago(60),
        ...progress,
      }),
      ...changes,
    });
    await harness.table.transact(vaultPartition(vaultId), [insert(rows.item(vaultId, item.itemId), item)]);
    return new ReplicatedItem(harness, item);
  }

  get armId(): string {
    const { fabricName, containerName, itemName } = this.first;
    return `${vaultPath}/replicationFabrics/${fabricName}/replicationProtectionContainers/${containerName}/replicationProtectedItems/${itemName}`;
  }

  async now(): Promise<ProtectedItem> {
    const stored = await read(this.harness.table, rows.item(vaultId, this.first.itemId));
    assert(stored);
    return stored.value;
  }

  /** `undefined` takes a property away. */
  async progress(changes: {
    [Key in keyof ReplicationProgress]?: ReplicationProgress[Key] | undefined;
  }): Promise<void> {
    const item = await this.now();
    const ref = rows.item(vaultId, item.itemId);
    const replication = { ...item.replication, ...changes } as ReplicationProgress;
    await this.harness.table.transact(ref.partition, [upsert(ref, { ...item, replication })]);
  }

  /** What the events tell, newest first. */
  async told(): Promise<string[]> {
    const events = await list(this.harness.table, rows.events(vaultId));
    return events.map(({ value: { kind, code, severity } }) => `${kind} ${code} ${severity}`);
  }
}
