import type { Temporal } from 'temporal-polyfill';
import type { HealthContext } from '../domain/health/health-context.js';
import type { Health } from '../domain/health/health-reason.js';
import { replicationHealth } from '../domain/health/health.js';
import type { VaultId } from '../domain/ids.js';
import {
  defaultAppConsistentFrequencyHours,
  defaultReplicationIntervalSeconds,
  type ReplicationPolicy,
} from '../domain/policy/replication-policy.js';
import { defaultReplicationSettings, type ReplicationSettings } from '../domain/policy/replication-settings.js';
import type { ProtectedItem } from '../domain/protected-item/protected-item.js';
import { vmIn } from '../domain/site/inventory.js';
import type { StateTable } from '../ports/state-table.js';
import { list, read, readMany } from './access.js';
import { rows, vaultPartition, type Fabric, type StoredPolicy } from './rows.js';

/** The rows that say how an item is to be replicated and by whom; a policy or fabric may be gone. */
export interface ItemSurroundings {
  fabric: Fabric | undefined;
  policy: StoredPolicy | undefined;
  settings: ReplicationSettings;
}

export async function settingsOf(table: StateTable, vaultId: VaultId): Promise<ReplicationSettings> {
  return (await read(table, rows.settings(vaultId)))?.value ?? defaultReplicationSettings;
}

export async function surroundingsOfItem(
  table: StateTable,
  vaultId: VaultId,
  { fabricName, policyName }: ProtectedItem,
): Promise<ItemSurroundings> {
  const [fabric, policy, settings] = await readMany(table, vaultPartition(vaultId), [
    rows.fabric(vaultId, fabricName),
    rows.policy(vaultId, policyName),
    rows.settings(vaultId),
  ] as const);
  return { fabric, policy, settings: settings ?? defaultReplicationSettings };
}

/** The same for all items of a vault, with every row read once. */
export async function surroundingsInVault(
  table: StateTable,
  vaultId: VaultId,
): Promise<(item: ProtectedItem) => ItemSurroundings> {
  const [fabrics, policies, settings] = await Promise.all([
    list(table, rows.fabrics(vaultId)),
    list(table, rows.policies(vaultId)),
    settingsOf(table, vaultId),
  ]);
  const fabricByName = new Map(fabrics.map(({ value }) => [value.fabricName, value]));
  const policyByName = new Map(policies.map(({ value }) => [value.name.toLowerCase(), value]));
  return ({ fabricName, policyName }) => ({
    fabric: fabricByName.get(fabricName),
    policy: policyByName.get(policyName.toLowerCase()),
    settings,
  });
}

/** An item whose policy is gone is replicated by the defaults, as its relay is told. */
export const timingOf = ({
  policy,
}: Pick<ItemSurroundings, 'policy'>): Pick<
  ReplicationPolicy,
  'replicationIntervalSeconds' | 'intervalEditedAt' | 'appConsistentFrequencyHours'
> => ({
  ...(policy?.intervalEditedAt === undefined ? {} : { intervalEditedAt: policy.intervalEditedAt }),
  replicationIntervalSeconds: policy?.replicationIntervalSeconds ?? defaultReplicationIntervalSeconds,
  appConsistentFrequencyHours: policy?.appConsistentFrequencyHours ?? defaultAppConsistentFrequencyHours,
});

export function healthOf(item: ProtectedItem, surroundings: ItemSurroundings, now: Temporal.Instant): Health {
  const { fabric, settings } = surroundings;
  const context: HealthContext = {
    policy: timingOf(surroundings),
    rpoThresholdSeconds: settings.rpoThresholdSeconds,
    vm: vmIn(fabric?.inventory, item.vmId),
    relayHeardAt: fabric?.lastHeartbeatAt,
  };
  return replicationHealth(item, context, now);
}
