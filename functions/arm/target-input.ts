import type {
  HyperVReplicaAzureEnableProtectionInput,
  HyperVReplicaAzureUpdateReplicationProtectedItemInput,
} from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { isVmSize } from '../../core/domain/failover/placement.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { ApiError } from '../http/api-error.js';
import { unsupported } from './unsupported.js';
import type { ShapeOf } from './wire.js';

/** What is asked of the virtual machine of a failover, when protection is enabled and later. */
type Target = ProtectedItem['target'];

const armId = z.string().startsWith('/subscriptions/');
/** Azure's rule for names of resource groups; resources are made by this id, and found again by it. */
export const resourceGroupId = z
  .string()
  .regex(
    /^\/subscriptions\/[^/]+\/resourceGroups\/[-\p{L}\p{N}_.()]{0,89}[-\p{L}\p{N}_()]$/iu,
    'the id of a resource group: /subscriptions/…/resourceGroups/…',
  )
  .nullish();
/** Empty: the smallest that fits. */
export const vmSize = z
  .string()
  .refine((name) => name === '' || isVmSize(name), {
    error: 'the name of a size of virtual machines, like Standard_D2s_v5',
  })
  .nullish();
export const licenseType = z.enum(['NotSpecified', 'NoLicenseType', 'WindowsServer']).nullish();
/** Empty takes the item's own choice away. */
export const armIdOrNone = z.union([armId, z.literal('')]).nullish();
export const availabilitySetIdOrNone = z
  .string()
  .regex(
    /^$|^\/subscriptions\/[^/]+\/resourceGroups\/[^/]+\/providers\/Microsoft\.Compute\/availabilitySets\/[^/]+$/i,
    'the id of an availability set: /subscriptions/…/providers/Microsoft.Compute/availabilitySets/…',
  )
  .nullish();
/** Remote Desktop is opened by the guest's own settings and the subnet's rules, which a copy of a disk keeps. */
export const enableRdpOnTargetOption = unsupported(
  'nothing is opened in the guest; allow Remote Desktop at the source, and in the subnet',
  ['Never'],
);

/** Azure takes 50 tags a resource; the rest are those by which Understudy knows its own, with the whole specification in them. */
const tagCountMax = 15;
const tagTextMaxBytes = 3000;
/** Azure's own rules, and ours: by tags of that beginning resources are known as Understudy's. */
const tagName = z
  .string()
  .max(512)
  .regex(/^[^<>%&\\?/]+$/, 'without < > % & \\ ? /')
  .regex(
    /^(?!understudy-|microsoft|azure|windows)/i,
    'a name that nobody keeps for himself: understudy-, microsoft, azure, windows',
  );
const tags = z
  .record(tagName, z.string().max(256))
  .refine((given) => Object.keys(given).length <= tagCountMax, { error: `at most ${tagCountMax} tags` })
  .nullish();

const storageDecides = 'the kind of disk is that of the storage account';
const noPlacementGroup = 'virtual machines are made in no proximity placement group';

/** Of the provider's details in PUT and PATCH alike. */
export const targetDetails = {
  targetAvailabilityZone: z
    .string()
    .regex(/^[1-3]?$/, 'a zone: 1, 2 or 3')
    .nullish(),
  targetVmTags: tags,
  targetNicTags: tags,
  targetManagedDiskTags: tags,
  sqlServerLicenseType: unsupported('licences of SQL Server are set on its virtual machine in Azure', [
    'NotSpecified',
    'NoLicenseType',
  ]),
  /** Virtual machines in Azure run on managed disks, whatever is asked for; the item's GET says so. */
  useManagedDisks: z.string().nullish(),
  targetProximityPlacementGroupId: unsupported(noPlacementGroup),
} satisfies ShapeOf<HyperVReplicaAzureEnableProtectionInput & HyperVReplicaAzureUpdateReplicationProtectedItemInput>;

/** Of PUT alone. */
export const enableDetails = {
  targetAvailabilitySetId: availabilitySetIdOrNone,
  licenseType,
  enableRdpOnTargetOption,
  useManagedDisksForReplication: unsupported('replica disks are page blobs of the storage account'),
  disksToIncludeForManagedDisks: unsupported('replica disks are page blobs: name them in disksToInclude'),
  seedManagedDiskTags: unsupported('replica disks are page blobs, which have no tags'),
  diskType: unsupported(storageDecides),
  diskEncryptionSetId: unsupported('disks are encrypted by keys of the platform'),
} satisfies ShapeOf<HyperVReplicaAzureEnableProtectionInput>;

export function invalid(target: string, message: string, recommendedAction: string): ApiError {
  return new ApiError({
    code: 'US1005',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    target,
    message: `${target}: ${message}`,
    recommendedAction,
  });
}

/** What PUT and PATCH say of it, each under its own names. */
interface Given {
  vmSize?: string | null | undefined;
  availabilitySetId?: string | null | undefined;
  availabilityZone?: string | null | undefined;
  licenseType?: z.output<typeof licenseType>;
  targetVmTags?: z.output<typeof tags>;
  targetNicTags?: z.output<typeof tags>;
  targetManagedDiskTags?: z.output<typeof tags>;
}

/** What is given, else what was there; an empty text takes it away. */
export function textOf(given: string | null | undefined, before: string | undefined): string | undefined {
  const text = given ?? before;
  return text === '' ? undefined : text;
}

/** All of that, of each property. */
export function choicesOf(
  given: Given,
  before: Partial<Target>,
  osType: string,
): Pick<Target, 'vmSize' | 'availabilitySetId' | 'availabilityZone' | 'licenseType' | 'tags' | 'nicTags' | 'diskTags'> {
  const availabilitySetId = textOf(given.availabilitySetId, before.availabilitySetId);
  const availabilityZone = textOf(given.availabilityZone, before.availabilityZone);
  if (availabilitySetId !== undefined && availabilityZone !== undefined) {
    throw invalid(
      '$.properties',
      'a virtual machine is in an availability set or in a zone, not in both',
      'Send the other one as an empty text.',
    );
  }
  const size = textOf(given.vmSize, before.vmSize);
  const vmTags = given.targetVmTags ?? before.tags;
  const nicTags = given.targetNicTags ?? before.nicTags;
  const diskTags = given.targetManagedDiskTags ?? before.diskTags;
  checkTagText([vmTags, nicTags, diskTags]);
  if (given.licenseType === 'WindowsServer' && osType.toLowerCase() !== 'windows') {
    throw invalid('$.properties', `licenseType WindowsServer is for Windows; its system is ${osType}`, 'Leave it out.');
  }
  const hasLicence = (given.licenseType ?? before.licenseType) === 'WindowsServer';
  return {
    ...(size === undefined ? {} : { vmSize: size }),
    ...(availabilitySetId === undefined ? {} : { availabilitySetId }),
    ...(availabilityZone === undefined ? {} : { availabilityZone }),
    ...(hasLicence ? { licenseType: 'WindowsServer' } : {}),
    ...(vmTags === undefined ? {} : { tags: vmTags }),
    ...(nicTags === undefined ? {} : { nicTags }),
    ...(diskTags === undefined ? {} : { diskTags }),
  };
}

function checkTagText(sets: readonly (Record<string, string> | undefined)[]): void {
  const length = sets
    .flatMap((set) => Object.entries(set ?? {}))
    .reduce((sum, pair) => sum + Buffer.byteLength(pair.join('')), 0);
  if (length <= tagTextMaxBytes) return;
  throw invalid(
    '$.properties.providerSpecificDetails.targetVmTags',
    `tags of virtual machine, interfaces and disks have ${length} bytes together; at most ${tagTextMaxBytes} are taken`,
    'Leave some out, or shorten them.',
  );
}
