import type { HealthContext } from '../../core/domain/health/health-context.js';
import { asDiskId, asItemId, asProtectionId, asRelayId, asVaultId, asVmId } from '../../core/domain/ids.js';
import type {
  ProtectedItem,
  ReplicaDisk,
  ReplicationProgress,
} from '../../core/domain/protected-item/protected-item.js';
import type { CycleManifest, SegmentAnnouncement, TransferLogRef } from '../../core/domain/relay-protocol/wire.js';
import { replicaBlob } from '../../core/domain/replication/blob-names.js';

/** A protected item with two disks, as most tests need it, and what its relay announces. */
export const sampleVaultId = asVaultId(
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.RecoveryServices/vaults/local',
);
export const sampleProtectionId = asProtectionId('6a1f6a3e-0000-4000-8000-000000000001');
export const sampleStorageAccountId =
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.Storage/storageAccounts/replicas';

export const mebibyte = 1024 * 1024;

export const sampleDisk = (number: number, changes: Partial<ReplicaDisk> = {}): ReplicaDisk => {
  const diskId = asDiskId(`d15c0000-0000-4000-8000-00000000000${number}`);
  const sizeBytes = 4 * mebibyte;
  return {
    diskId,
    name: `disk-${number}.vhdx`,
    isOsDisk: number === 0,
    lun: number,
    sourceSizeBytes: sizeBytes,
    replicaSizeBytes: sizeBytes,
    replica: replicaBlob(sampleStorageAccountId, sampleProtectionId, diskId),
    baseReceivedThroughBytes: 0,
    baseAppliedThroughBytes: 0,
    digestedThroughBytes: 0,
    bytesReceived: 0,
    ...changes,
  };
};

export const sampleProgress = (changes: Partial<ReplicationProgress> = {}): ReplicationProgress => ({
  phase: 'initialReplication',
  paused: false,
  epoch: 1,
  baseCycle: 0,
  torn: false,
  resumedCount: 0,
  checkpointAt: '2026-01-05T10:00:00Z',
  receivedCycle: 0,
  appliedCycle: 0,
  backlogBytes: 0,
  statistics: [],
  ...changes,
});

export const sampleItem = (changes: Partial<ProtectedItem> = {}): ProtectedItem => ({
  itemId: asItemId('0123456789abcdef0123456789abcdef'),
  protectionId: sampleProtectionId,
  fabricName: 'f'.repeat(64),
  containerName: 'c10d0000-0000-4000-8000-000000000001',
  itemName: 'sql-01',
  protectableItemName: '50000000-0000-4000-8000-000000000001',
  vmId: asVmId('50000000-0000-4000-8000-000000000001'),
  vmName: 'sql-01',
  relayId: asRelayId('3e1a0000-0000-4000-8000-000000000001'),
  policyName: 'default',
  target: {
    storageAccountId: sampleStorageAccountId,
    vmName: 'sql-01',
    resourceGroupId: '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local',
    osType: 'Windows',
  },
  state: 'InitialReplicationInProgress',
  createdAt: '2026-01-05T09:59:00Z',
  disks: [sampleDisk(0), sampleDisk(1)],
  excludedDiskIds: [],
  replication: sampleProgress(),
  ...changes,
});

/** Nothing around the item that its health would suffer from. */
export const sampleHealthContext: HealthContext = {
  policy: { replicationIntervalSeconds: 300, appConsistentFrequencyHours: 1 },
  rpoThresholdSeconds: 1800,
  vm: undefined,
  relayHeardAt: undefined,
};

export const sampleLog = (changes: Partial<TransferLogRef> = {}): TransferLogRef => ({
  uploadId: 'a'.repeat(32),
  lengthBytes: 1000,
  digest: '0'.repeat(64),
  etag: '"0x1"',
  changedBytes: 512,
  frameCount: 1,
  ...changes,
});

export const sampleManifest = (cycle: number, changes: Partial<CycleManifest> = {}): CycleManifest => ({
  protectionId: sampleProtectionId,
  epoch: 1,
  cycle,
  takenAt: `2026-01-05T10:${String(cycle).padStart(2, '0')}:00Z`,
  consistency: 'crashConsistent',
  closesBase: false,
  disks: [
    { diskId: sampleDisk(0).diskId, log: sampleLog() },
    { diskId: sampleDisk(1).diskId, log: null },
  ],
  ...changes,
});

export const sampleSegment = (
  diskNumber: number,
  fromBytes: number,
  toBytes: number,
  changes: Partial<SegmentAnnouncement> = {},
): SegmentAnnouncement => ({
  protectionId: sampleProtectionId,
  epoch: 1,
  diskId: sampleDisk(diskNumber).diskId,
  fromBytes,
  toBytes,
  log: sampleLog(),
  ...changes,
});
