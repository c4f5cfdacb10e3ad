import { UnderstudyError } from '../errors.js';
import type { DiskId, JobName, ProtectionId } from '../ids.js';
import type { ProtectedItem, ReplicaBlob } from '../protected-item/protected-item.js';
import type { UploadTarget } from '../relay-protocol/wire.js';

/**
 * Names of the blobs that belong to a protected item. The app derives every name itself; what a relay sends is only ever a
 * checked part of one (docs/architecture.md, rule 14).
 */

/** What the app draws for each attempt of an upload: unguessable, and safe as part of a blob's name. */
const uploadIdPattern = /^[0-9a-z-]{32,64}$/;
const diskIdPattern = /^[0-9a-z-]{1,64}$/;

const ordered = (value: number): string => String(value).padStart(16, '0');

function checked(value: string, pattern: RegExp, what: string): string {
  if (pattern.test(value)) return value;
  throw new UnderstudyError({
    code: 'US3014',
    message: `${what} ${JSON.stringify(value.slice(0, 80))} cannot be part of a blob's name`,
    possibleCauses: 'The relay sent an id that this app did not give it.',
    recommendedAction: 'Ask for a new upload and send what it answers with, unchanged.',
    httpStatus: 400,
  });
}

const epochPrefix = (protectionId: ProtectionId, epoch: number): string => `${protectionId}/${epoch}/`;

/** All transfer logs of one life of an item, whatever the epoch. */
export const transferPrefixOfProtection = (protectionId: ProtectionId): string => `${protectionId}/`;
/** All attempts of all logs of one cycle. */
export const transferPrefixOfCycle = (protectionId: ProtectionId, epoch: number, cycle: number): string =>
  `${epochPrefix(protectionId, epoch)}cycle/${ordered(cycle)}/`;
/** All attempts of all logs of a disk's base that start at this offset. */
export const transferPrefixOfSegment = (
  protectionId: ProtectionId,
  epoch: number,
  diskId: string,
  fromBytes: number,
): string => `${epochPrefix(protectionId, epoch)}base/${checked(diskId, diskIdPattern, 'disk')}/${ordered(fromBytes)}/`;

/** Checksums of the replica disks, from one region's first byte on. */
export const digestBlobName = (protectionId: ProtectionId, epoch: number, diskId: string, fromBytes: number): string =>
  `${epochPrefix(protectionId, epoch)}digest/${checked(diskId, diskIdPattern, 'disk')}/${ordered(fromBytes)}`;
/** The blob of one attempt to upload one transfer log, in the item's transfer container. */
export function transferBlobName(
  protectionId: ProtectionId,
  epoch: number,
  target: UploadTarget,
  uploadId: string,
): string {
  const attempt = checked(uploadId, uploadIdPattern, 'upload id');
  switch (target.kind) {
    case 'cycle':
      return `${transferPrefixOfCycle(protectionId, epoch, target.cycle)}${checked(target.diskId, diskIdPattern, 'disk')}/${attempt}`;
    case 'segment':
      return `${transferPrefixOfSegment(protectionId, epoch, target.diskId, target.fromBytes)}${attempt}`;
  }
}

/** What a blob of the transfer container is, by its name. */
export type TransferPlace = { epoch: number } & (
  { kind: 'cycle'; cycle: number } | { kind: 'base' | 'digest'; diskId: string; fromBytes: number }
);

/** Undefined for a name that is none of this protection's. */
export function placeOfTransferBlob(protectionId: ProtectionId, blobName: string): TransferPlace | undefined {
  const [protection, epochText = '', kind, first = '', second = ''] = blobName.split('/');
  const epoch = Number(epochText);
  if (protection !== protectionId || !Number.isInteger(epoch) || epoch < 1) return undefined;
  if (kind === 'cycle' && /^\d{16}$/.test(first)) return { epoch, kind, cycle: Number(first) };
  if ((kind === 'base' || kind === 'digest') && /^\d{16}$/.test(second)) {
    return { epoch, kind, diskId: first, fromBytes: Number(second) };
  }
  return undefined;
}

/** Premium accounts hold page blobs only: their items name an account beside it for the logs. */
export const transferStorageAccountId = (item: ProtectedItem): string =>
  item.target.logStorageAccountId ?? item.target.storageAccountId;

export const replicaContainer = 'understudy-replicas';
const failoverContainer = 'understudy-vms';

/** `epoch`: of a failback's commit, which makes the replica anew from the VM's disks; the first one has none in its name. */
export const replicaBlob = (
  storageAccountId: string,
  protectionId: ProtectionId,
  diskId: DiskId,
  epoch?: number,
): ReplicaBlob => ({
  storageAccountId,
  container: replicaContainer,
  blobName: `${protectionId}/${checked(diskId, diskIdPattern, 'disk')}${epoch === undefined ? '' : `.${epoch}`}.vhd`,
});

/** The kept checksums of a replica disk: never in a premium account, where each page blob costs as much as a whole disk. */
export const checksumTableBlob = (
  logStorageAccountId: string,
  protectionId: ProtectionId,
  diskId: DiskId,
): ReplicaBlob => ({
  storageAccountId: logStorageAccountId,
  container: replicaContainer,
  blobName: `${protectionId}/${checked(diskId, diskIdPattern, 'disk')}.checksums`,
});

/** A disk of the VM that a failover makes. Each failover has names of its own, so that a late copier never meets the next one. */
export const failoverBlob = (
  storageAccountId: string,
  protectionId: ProtectionId,
  jobName: JobName,
  diskId: DiskId,
): ReplicaBlob => vmDiskBlob(storageAccountId, protectionId, jobName, diskId);
/** Where a failback copies a VM's disk to, if the cloud cannot have it read in its own place. */
export const exportBlob = (
  storageAccountId: string,
  protectionId: ProtectionId,
  exportName: string,
  diskId: DiskId,
): ReplicaBlob => vmDiskBlob(storageAccountId, protectionId, exportName, diskId);

const vmDiskBlob = (
  storageAccountId: string,
  protectionId: ProtectionId,
  folder: string,
  diskId: DiskId,
): ReplicaBlob => ({
  storageAccountId,
  container: failoverContainer,
  blobName: `${protectionId}/${folder}/${checked(diskId, diskIdPattern, 'disk')}.vhd`,
});
