import { z } from 'zod';
import type { CloudVmSpecification } from '../ports/cloud-compute.js';

const blobSchema = z.object({ storageAccountId: z.string(), container: z.string(), blobName: z.string() });

/** A cloud VM's specification as a provider keeps it. */
export const cloudVmSpecificationSchema: z.ZodType<CloudVmSpecification> = z.object({
  vmArmId: z.string(),
  name: z.string(),
  size: z.string(),
  generation: z.union([z.literal(1), z.literal(2)]),
  osType: z.string(),
  networkId: z.string().exactOptional(),
  nics: z.array(
    z.object({
      nicId: z.string().exactOptional(),
      subnetName: z.string().exactOptional(),
      staticIpAddress: z.string().exactOptional(),
    }),
  ),
  availabilitySetId: z.string().exactOptional(),
  availabilityZone: z.string().exactOptional(),
  licenseType: z.string().exactOptional(),
  publicAddress: z.boolean().exactOptional(),
  disks: z.array(
    z.object({
      name: z.string(),
      lun: z.number(),
      isOsDisk: z.boolean(),
      blob: blobSchema,
      sizeBytes: z.number(),
    }),
  ),
  tags: z.record(z.string(), z.string()),
  nicTags: z.record(z.string(), z.string()).exactOptional(),
  diskTags: z.record(z.string(), z.string()).exactOptional(),
});
