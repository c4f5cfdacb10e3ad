import { createHash } from 'node:crypto';
import type { CloudVmSpecification } from '../../core/ports/cloud-compute.js';
import { cloudVmSpecificationSchema } from '../../core/records/cloud-vm-specification.js';
import { packJson, unpackJson } from '../../core/records/packed-json.js';
import type { VmPlace } from './vm-place.js';

/**
 * What Azure keeps of a specification: tags on every resource of a VM.
 *
 * | tag | value |
 * |---|---|
 * | those of the specification, for the kind of resource | |
 * | understudy-vm | the VM's name |
 * | understudy-specification | SHA-256 of the specification, hex |
 * | understudy-record-0, -1, … | the specification, packed and cut to the length of a tag |
 */
const vmTag = 'understudy-vm';
const digestTag = 'understudy-specification';
const recordTag = (index: number): string => `understudy-record-${index}`;
// Azure Resource Manager, "Tag limitations": 50 tags a resource, 256 characters a value.
const tagCountMax = 50;
const tagLengthMax = 256;

type Tags = Record<string, string>;

export interface VmRecord {
  specification: CloudVmSpecification;
  digest: string;
}

/** The same for the same VM, whatever the order of its properties and the case of its id. */
export function digestOf(specification: CloudVmSpecification): string {
  const comparable = { ...specification, vmArmId: specification.vmArmId.toLowerCase() };
  return sha256(JSON.stringify(comparable, (_key, value: unknown) => (isObject(value) ? sorted(value) : value)));
}

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const sorted = (value: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Enough for what is not a part that the VM is made of. */
export const ownerTags = (specification: CloudVmSpecification, { vmName }: VmPlace): Tags => ({
  [vmTag]: vmName,
  [digestTag]: digestOf(specification),
});

/** `own`: those of the resource, where they are not the VM's. */
export function tagsOf(specification: CloudVmSpecification, place: VmPlace, own = specification.tags): Tags {
  const packed = packJson(specification);
  const tags: Tags = { ...own, ...ownerTags(specification, place) };
  for (let index = 0; index * tagLengthMax < packed.length; index++) {
    tags[recordTag(index)] = packed.slice(index * tagLengthMax, (index + 1) * tagLengthMax);
  }
  if (Object.keys(tags).length > tagCountMax) {
    throw new Error(`the specification of ${specification.vmArmId} needs more than ${tagCountMax} tags`);
  }
  return tags;
}

/** Whether Understudy made the resource for this VM. */
export const belongsTo = (tags: Tags | undefined, { vmName }: VmPlace): boolean =>
  tags?.[vmTag]?.toLowerCase() === vmName.toLowerCase();

export const digestIn = (tags: Tags | undefined): string | undefined => tags?.[digestTag];

/** Undefined where the tags are not of this VM, or were changed by someone: nothing is built on them then. */
export function recordIn(tags: Tags | undefined, place: VmPlace): VmRecord | undefined {
  const digest = digestIn(tags);
  if (!tags || digest === undefined || !belongsTo(tags, place)) return undefined;
  let packed = '';
  for (let index = 0; tags[recordTag(index)] !== undefined; index++) packed += tags[recordTag(index)] ?? '';
  const specification = specificationIn(packed);
  return specification && digestOf(specification) === digest ? { specification, digest } : undefined;
}

function specificationIn(packed: string): CloudVmSpecification | undefined {
  try {
    return cloudVmSpecificationSchema.parse(unpackJson(packed));
  } catch {
    // Not what was written: the digest would not fit either.
    return undefined;
  }
}

/** Tags of a disk that stays when its VM goes: it belongs to no VM of ours any more. */
export const releasedTags = (tags: Tags): Tags =>
  Object.fromEntries(
    Object.entries(tags).filter(
      ([name]) => name !== vmTag && name !== digestTag && !/^understudy-record-\d+$/.test(name),
    ),
  );
