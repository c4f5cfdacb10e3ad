import { createHash } from 'node:crypto';
import type { Temporal } from 'temporal-polyfill';
import { asItemId, type ItemId, type JobName, type RelayId, type VaultId } from '../domain/ids.js';
import type { Job } from '../domain/jobs/job.js';
import type { AlertState } from '../domain/alerts/alerts.js';
import type { AlertSettings } from '../domain/alerts/alert-settings.js';
import type { NetworkMapping } from '../domain/failover/target-network.js';
import type { ReplicationEvent } from '../domain/health/health-events.js';
import type { StatisticsBucket } from '../domain/health/statistics-bucket.js';
import type { ReplicationPolicy } from '../domain/policy/replication-policy.js';
import type { ReplicationSettings } from '../domain/policy/replication-settings.js';
import type { ProtectedItem, ReplicaDisk, ReplicationProgress } from '../domain/protected-item/protected-item.js';
import type { RecoveryPlan } from '../domain/recovery-plan/recovery-plan.js';
import type { RecoveryPoint } from '../domain/recovery-point/recovery-point.js';
import type { CommandResult, CycleManifest, RelayCommand, SegmentAnnouncement } from '../domain/relay-protocol/wire.js';
import type { SiteInventory } from '../domain/site/inventory.js';
import { packJson, unpackJson } from './packed-json.js';

/**
 * The rows of the state table. A vault and all that belongs to it share one partition, so that the hot reads (item by id,
 * jobs, latest recovery points, items of a vault) touch one partition and a state change commits together with its job
 * row (docs/decisions/one-partition-a-vault.md). What a relay owns has a partition of its own.
 */

/** How a value lies in its row, where that is not the value itself. */
export interface RowCodec<T> {
  encode(value: T): unknown;
  decode(stored: unknown): T;
}

/** Names one row and the type of its value. */
export interface RowRef<T> {
  partition: string;
  rowKey: string;
  codec?: RowCodec<T>;
  /** Never set: carries T. */
  readonly valueType?: T;
}
/** Names all rows with a common key prefix. */
export interface RowsRef<T> {
  partition: string;
  prefix: string;
  codec?: RowCodec<T>;
  readonly valueType?: T;
}

/** Forbidden in row keys: / \ # ? and control characters; names from ARM paths pass through here. */
const part = (name: string): string => encodeURIComponent(name.toLowerCase()).replaceAll('%', '=');

/** Zero-padded, so that rows sort by number. */
const ascending = (value: number): string => String(value).padStart(16, '0');
const descending = (value: number): string => String(Number.MAX_SAFE_INTEGER - value).padStart(16, '0');

/** Names of events sort newest first, as their rows do; `unique` keeps those of one instant apart and in order. */
export const eventNameOf = (at: Temporal.Instant, unique: string): string =>
  `${descending(at.epochMilliseconds)}-${unique.toLowerCase()}`;

/** Leading digits of an event's name that stand for 10^8 ms: a little more than a day. */
const eventDayDigits = 8;
/** Event names hold what is left of 2^53 - 1 after the milliseconds of an instant: from 1970 to 2197 all begin alike. */
const eventEraDigits = 3;

/** Prefixes that together stand for every number whose digits, as many as given, are greater. */
function prefixesAfter(digits: string): string[] {
  const prefixes: string[] = [];
  for (let length = digits.length; length > eventEraDigits; length--) {
    for (let digit = Number(digits[length - 1]) + 1; digit <= 9; digit++) {
      prefixes.push(`${digits.slice(0, length - 1)}${digit}`);
    }
  }
  return prefixes;
}

export const vaultPartition = (vaultId: VaultId): string =>
  `v-${createHash('sha256').update(vaultId).digest('hex').slice(0, 32)}`;
const relayPartition = (relayId: RelayId): string => `r-${part(relayId)}`;

/** The same for every PUT of the same ARM path. */
export function itemIdOf(vaultId: VaultId, fabricName: string, containerName: string, itemName: string): ItemId {
  const path = [vaultId, fabricName, containerName, itemName].map((name) => name.toLowerCase()).join('\n');
  return asItemId(createHash('sha256').update(path).digest('hex').slice(0, 32));
}

export interface Vault {
  vaultId: VaultId;
  /** As the creator spelled it. */
  armId: string;
  name: string;
  location: string;
  tags: Record<string, string>;
  createdAt: string;
  /** A deletion has begun: nothing is written into the vault any more, and it can only be carried to its end. */
  deleting?: true;
}

/** ARM's vault settings: of other scenarios than ours. */
export interface VaultSettings {
  migrationSolutionId?: string;
  vmwareToAzureProviderType?: string;
}

/** A VMM server that a relay registered, or a Hyper-V site without one, with the inventory that its relay last reported. */
export interface Fabric {
  fabricName: string;
  /** An operator created it as a site, by this name: a relay registers into it by a key that was made for it. */
  isSite?: true;
  /** Absent: a site that no relay was registered into yet. */
  relayId?: RelayId;
  /** Relays that it spoke through before, until they are forgotten. */
  replacedRelayIds?: RelayId[];
  inventory: SiteInventory;
  inventoryAt: string;
  inventorySigned?: Signed;
  heartbeatSigned?: Signed;
  /** Business time of the relay's last signed request; written at most once a heartbeat. */
  lastHeartbeatAt: string;
  /** An event told that its relay is silent, and none yet that it is heard of again. */
  silenceTold?: true;
  relayVersion: string;
  registeredAt: string;
  /** Of its VM networks, at most one each: they are read wherever the inventory is. */
  networkMappings: NetworkMapping[];
}

/** The relay's request that something was last taken from: an older one, or the same again, changes it no more. */
export interface Signed {
  /** System time of the relay. */
  at: string;
  nonce: string;
}

/** A VM takes about a kilobyte in the inventory: packed, thousands fit the row. */
const packedFabric: RowCodec<Fabric> = {
  encode: (fabric) => ({ ...fabric, inventory: packJson(fabric.inventory) }),
  decode: (stored) => {
    const fabric = stored as Omit<Fabric, 'inventory' | 'networkMappings'> & {
      inventory: string;
      networkMappings?: NetworkMapping[];
    };
    return { networkMappings: [], ...fabric, inventory: unpackInventory(fabric.inventory) };
  },
};

/** The last ones that were read: a request for an item reads its site's, which changes seldom. Nobody changes what he reads. */
const unpacked = new Map<string, SiteInventory>();
const unpackedMax = 4;

function unpackInventory(packed: string): SiteInventory {
  const inventory = unpacked.get(packed) ?? (unpackJson(packed) as SiteInventory);
  unpacked.delete(packed);
  unpacked.set(packed, inventory);
  const [oldest] = unpacked.keys();
  if (unpacked.size > unpackedMax && oldest !== undefined) unpacked.delete(oldest);
  return inventory;
}

/** Items that were stored before a property was there have its first value. Statistics lie packed: the row is written often. */
const itemRow: RowCodec<ProtectedItem> = {
  encode: (item): StoredItem => {
    const { statistics, ...replication } = item.replication;
    return { ...item, replication: { ...replication, statistics: statistics.map(packBucket) } };
  },
  decode: (stored) => {
    const item = stored as StoredItem;
    const { statistics = [], ...replication } = item.replication;
    return {
      ...item,
      excludedDiskIds: item.excludedDiskIds ?? [],
      disks: item.disks.map((disk) => ({ ...firstDiskValues, ...disk })),
      replication: { ...firstReplicationValues, ...replication, statistics: statistics.map(unpackBucket) },
    };
  },
};
type PackedBucket = [number, number, number, number, number, number, number, number];
type StoredItem = Omit<ProtectedItem, 'excludedDiskIds' | 'replication'> & {
  excludedDiskIds?: string[];
  replication: Omit<ReplicationProgress, 'statistics'> & { statistics?: PackedBucket[] };
};
const packBucket = (bucket: StatisticsBucket): PackedBucket => [
  bucket.slot,
  bucket.receivedCount,
  bucket.missedCount,
  bucket.bytesSum,
  bucket.bytesMax,
  bucket.latencySumMilliseconds,
  bucket.latencyMaxMilliseconds,
  bucket.freezeFailureCount,
];
const unpackBucket = ([
  slot,
  receivedCount,
  missedCount,
  bytesSum,
  bytesMax,
  latencySumMilliseconds,
  latencyMaxMilliseconds,
  freezeFailureCount,
]: PackedBucket): StatisticsBucket => ({
  slot,
  receivedCount,
  missedCount,
  bytesSum,
  bytesMax,
  latencySumMilliseconds,
  latencyMaxMilliseconds,
  freezeFailureCount,
});
const firstDiskValues = { digestedThroughBytes: 0 } satisfies Partial<ReplicaDisk>;
const firstReplicationValues = { baseCycle: 0, torn: false, resumedCount: 0 } satisfies Partial<ReplicationProgress>;

/** Policy ↔ cloud. */
export interface ContainerMapping {
  mappingName: string;
  fabricName: string;
  containerName: string;
  policyName: string;
  createdAt: string;
}

export interface StoredPolicy extends ReplicationPolicy {
  createdAt: string;
}

/** An announced cycle that waits to be applied, or the last applied one (kept to recognise a repeat). */
export interface ReceivedCycle {
  manifest: CycleManifest;
  /** SHA-256 of the manifest's canonical JSON: the same number with another digest is refused. */
  manifestDigest: string;
  receivedAt: string;
}

export interface ReceivedSegment {
  announcement: SegmentAnnouncement;
  receivedAt: string;
}

/** What of one disk a resynchronization looks at (wire.ts, ResyncScope); of an earlier epoch it says nothing. */
export interface StoredResyncScope {
  epoch: number;
  groupBytes: number;
  /** Base64. */
  bitmap: string;
}

/** Which groups of a disk were written since the base of `epoch` (docs/decisions/kept-checksums.md). */
export interface StoredWrittenGroups {
  epoch: number;
  groupBytes: number;
  /** Base64. */
  bitmap: string;
}

export interface RegisteredRelay {
  relayId: RelayId;
  vaultId: VaultId;
  fabricName: string;
  /** SubjectPublicKeyInfo, DER, base64. */
  publicKey: string;
  machineName: string;
  registeredAt: string;
}

/** Lives in its relay's partition until its workflow has read the result. */
export interface PendingCommand {
  command: RelayCommand;
  /** Orchestration to wake. */
  instanceId: string;
  createdAt: string;
  result?: CommandResult;
}

export interface RegistrationKey {
  vaultId: VaultId;
  /** Tells the vault from a later one of the same name. */
  /** Absent in keys that an earlier version made. */
  vaultCreatedAt: string | undefined;
  /** The Hyper-V site that its relay registers into; absent: the fabric is the VMM server that the relay speaks for. */
  siteName?: string;
  /** System time: registration keys are a matter of security. */
  expiresAt: string;
  /** Set at first use: only the same public key may repeat it. `completed` once the relay's and the fabric's rows stand. */
  usedBy?: { publicKey: string; relayId: RelayId; completed: boolean };
}

/** A recovery point that an operator downloads: it stays pinned until then. */
export interface PointExport {
  exportId: string;
  itemId: ItemId;
  cycle: number;
  recoveryPointId: string;
  /** System time: as long as the SAS tokens that were given out. */
  expiresAt: string;
}

type OfLife = Pick<ProtectedItem, 'itemId' | 'protectionId'>;

export const rows = {
  vault: (vaultId: VaultId): RowRef<Vault> => ({ partition: vaultPartition(vaultId), rowKey: 'vault' }),
  fabric: (vaultId: VaultId, fabricName: string): RowRef<Fabric> => ({
    partition: vaultPartition(vaultId),
    rowKey: `fabric!${part(fabricName)}`,
    codec: packedFabric,
  }),
  fabrics: (vaultId: VaultId): RowsRef<Fabric> => ({
    partition: vaultPartition(vaultId),
    prefix: 'fabric!',
    codec: packedFabric,
  }),
  policy: (vaultId: VaultId, policyName: string): RowRef<StoredPolicy> => ({
    partition: vaultPartition(vaultId),
    rowKey: `policy!${part(policyName)}`,
  }),
  policies: (vaultId: VaultId): RowsRef<StoredPolicy> => ({ partition: vaultPartition(vaultId), prefix: 'policy!' }),
  mapping: (vaultId: VaultId, fabric: string, container: string, name: string): RowRef<ContainerMapping> => ({
    partition: vaultPartition(vaultId),
    rowKey: `mapping!${part(fabric)}!${part(container)}!${part(name)}`,
  }),
  mappings: (vaultId: VaultId): RowsRef<ContainerMapping> => ({
    partition: vaultPartition(vaultId),
    prefix: 'mapping!',
  }),
  item: (vaultId: VaultId, itemId: ItemId): RowRef<ProtectedItem> => ({
    partition: vaultPartition(vaultId),
    rowKey: `item!${itemId}`,
    codec: itemRow,
  }),
  items: (vaultId: VaultId): RowsRef<ProtectedItem> => ({
    partition: vaultPartition(vaultId),
    prefix: 'item!',
    codec: itemRow,
  }),
  job: (vaultId: VaultId, jobName: JobName): RowRef<Job> => ({
    partition: vaultPartition(vaultId),
    rowKey: `job!${part(jobName)}`,
  }),
  /** Oldest first: job names are time-ordered. */
  jobs: (vaultId: VaultId): RowsRef<Job> => ({ partition: vaultPartition(vaultId), prefix: 'job!' }),
  /** Ascending by cycle. */
  cycle: (vaultId: VaultId, itemId: ItemId, cycle: number): RowRef<ReceivedCycle> => ({
    partition: vaultPartition(vaultId),
    rowKey: `cycle!${itemId}!${ascending(cycle)}`,
  }),
  cycles: (vaultId: VaultId, itemId: ItemId): RowsRef<ReceivedCycle> => ({
    partition: vaultPartition(vaultId),
    prefix: `cycle!${itemId}!`,
  }),
  /** By disk index, then ascending by offset. */
  segment: (vaultId: VaultId, itemId: ItemId, diskIndex: number, fromBytes: number): RowRef<ReceivedSegment> => ({
    partition: vaultPartition(vaultId),
    rowKey: `segment!${itemId}!${ascending(diskIndex)}!${ascending(fromBytes)}`,
  }),
  segments: (vaultId: VaultId, itemId: ItemId): RowsRef<ReceivedSegment> => ({
    partition: vaultPartition(vaultId),
    prefix: `segment!${itemId}!`,
  }),
  segmentsOfDisk: (vaultId: VaultId, itemId: ItemId, diskIndex: number): RowsRef<ReceivedSegment> => ({
    partition: vaultPartition(vaultId),
    prefix: `segment!${itemId}!${ascending(diskIndex)}!`,
  }),
  resyncScope: (vaultId: VaultId, itemId: ItemId, diskIndex: number): RowRef<StoredResyncScope> => ({
    partition: vaultPartition(vaultId),
    rowKey: `scope!${itemId}!${ascending(diskIndex)}`,
  }),
  resyncScopes: (vaultId: VaultId, itemId: ItemId): RowsRef<StoredResyncScope> => ({
    partition: vaultPartition(vaultId),
    prefix: `scope!${itemId}!`,
  }),
  writtenGroups: (vaultId: VaultId, item: OfLife, diskIndex: number, epoch: number): RowRef<StoredWrittenGroups> => ({
    partition: vaultPartition(vaultId),
    rowKey: `written!${item.itemId}!${part(item.protectionId)}!${ascending(diskIndex)}!${ascending(epoch)}`,
  }),
  /** Of one life of the item. */
  writtenGroupsOf: (vaultId: VaultId, item: OfLife): RowsRef<StoredWrittenGroups> => ({
    partition: vaultPartition(vaultId),
    prefix: `written!${item.itemId}!${part(item.protectionId)}!`,
  }),
  /** Newest first. One cycle has at most one point. */
  point: (vaultId: VaultId, itemId: ItemId, cycle: number): RowRef<RecoveryPoint> => ({
    partition: vaultPartition(vaultId),
    rowKey: `point!${itemId}!${descending(cycle)}`,
  }),
  points: (vaultId: VaultId, itemId: ItemId): RowsRef<RecoveryPoint> => ({
    partition: vaultPartition(vaultId),
    prefix: `point!${itemId}!`,
  }),
  /** Those of whole days, about, before `at`: a handful of ranges, none of which holds a newer event. */
  eventsBefore: (vaultId: VaultId, at: Temporal.Instant): RowsRef<ReplicationEvent>[] =>
    prefixesAfter(descending(at.epochMilliseconds).slice(0, eventDayDigits)).map((prefix) => ({
      partition: vaultPartition(vaultId),
      prefix: `event!${prefix}`,
    })),
  pointExport: (vaultId: VaultId, exportId: string): RowRef<PointExport> => ({
    partition: vaultPartition(vaultId),
    rowKey: `export!${part(exportId)}`,
  }),
  alertSettings: (vaultId: VaultId): RowRef<AlertSettings> => ({
    partition: vaultPartition(vaultId),
    rowKey: 'alert-settings',
  }),
  alertState: (vaultId: VaultId): RowRef<AlertState> => ({
    partition: vaultPartition(vaultId),
    rowKey: 'alert-state',
  }),
  vaultSettings: (vaultId: VaultId): RowRef<VaultSettings> => ({
    partition: vaultPartition(vaultId),
    rowKey: 'vault-settings',
  }),
  settings: (vaultId: VaultId): RowRef<ReplicationSettings> => ({
    partition: vaultPartition(vaultId),
    rowKey: 'settings',
  }),
  event: (vaultId: VaultId, eventName: string): RowRef<ReplicationEvent> => ({
    partition: vaultPartition(vaultId),
    rowKey: `event!${part(eventName)}`,
  }),
  /** Newest first. */
  events: (vaultId: VaultId): RowsRef<ReplicationEvent> => ({ partition: vaultPartition(vaultId), prefix: 'event!' }),
  pointExports: (vaultId: VaultId): RowsRef<PointExport> => ({ partition: vaultPartition(vaultId), prefix: 'export!' }),
  relay: (relayId: RelayId): RowRef<RegisteredRelay> => ({ partition: relayPartition(relayId), rowKey: 'relay' }),
  command: (relayId: RelayId, commandId: string): RowRef<PendingCommand> => ({
    partition: relayPartition(relayId),
    rowKey: `command!${part(commandId)}`,
  }),
  plan: (vaultId: VaultId, planName: string): RowRef<RecoveryPlan> => ({
    partition: vaultPartition(vaultId),
    rowKey: `plan!${part(planName)}`,
  }),
  plans: (vaultId: VaultId): RowsRef<RecoveryPlan> => ({ partition: vaultPartition(vaultId), prefix: 'plan!' }),
  commands: (relayId: RelayId): RowsRef<PendingCommand> => ({ partition: relayPartition(relayId), prefix: 'command!' }),
  /** `secretHash`: SHA-256 hex of the key's secret. */
  registrationKey: (secretHash: string): RowRef<RegistrationKey> => ({ partition: 'registration', rowKey: secretHash }),
  registrationKeys: (): RowsRef<RegistrationKey> => ({ partition: 'registration', prefix: '' }),
  /** Every vault, for the sweeps. */
  vaultIndex: (vaultId: VaultId): RowRef<{ vaultId: VaultId }> => ({
    partition: 'vaults',
    rowKey: vaultPartition(vaultId),
  }),
  vaultIndexes: (): RowsRef<{ vaultId: VaultId }> => ({ partition: 'vaults', prefix: '' }),
};
