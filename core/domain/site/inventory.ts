import { z } from 'zod';

/** The site as its VMM server describes it: what the relay reports and the prerequisites are checked against. */
const guid = z.string().regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/, 'a lower-case GUID');

export const siteDisk = z.object({
  diskId: guid,
  name: z.string().min(1),
  /** Virtual size as the guest sees it. */
  sizeBytes: z.number().int().positive(),
  format: z.enum(['vhd', 'vhdx']),
  kind: z.enum(['fixed', 'dynamic', 'differencing', 'passThrough']),
  logicalSectorBytes: z.number().int().positive(),
  physicalSectorBytes: z.number().int().positive(),
  shared: z.boolean(),
  /** The disk that the VM boots from. */
  isOsDisk: z.boolean(),
});
export type SiteDisk = z.infer<typeof siteDisk>;

export const siteVm = z.object({
  vmId: guid,
  name: z.string().min(1),
  cloudId: guid,
  hostId: guid,
  generation: z.union([z.literal(1), z.literal(2)]),
  osType: z.enum(['Windows', 'Linux', 'Other']),
  osName: z.string(),
  architecture: z.enum(['x64', 'x86', 'arm64']),
  powerState: z.enum(['running', 'off', 'paused', 'saved']),
  secureBoot: z.boolean(),
  hasFibreChannelAdapter: z.boolean(),
  cpuCount: z.number().int().positive(),
  memoryMegabytes: z.number().int().positive(),
  disks: z.array(siteDisk),
  nics: z.array(
    z.object({
      nicId: guid,
      macAddress: z.string(),
      networkId: guid.optional(),
      subnetName: z.string().optional(),
      ipAddress: z.string().optional(),
    }),
  ),
});
export type SiteVm = z.infer<typeof siteVm>;

export const siteInventory = z.object({
  /** Fabric: one VMM server. `vmmServerId` never changes; the fabric's ARM name is the SHA-256 hex of it. */
  vmmServerId: guid,
  vmmServerName: z.string().min(1),
  /** IANA name: the resync window is read in it. */
  timeZone: z.string().min(1),
  clouds: z.array(z.object({ cloudId: guid, name: z.string().min(1) })),
  hosts: z.array(z.object({ hostId: guid, name: z.string().min(1), cloudId: guid })),
  networks: z.array(
    z.object({
      networkId: guid,
      name: z.string().min(1),
      logicalNetworkId: guid,
      logicalNetworkName: z.string().min(1),
      subnets: z.array(z.object({ name: z.string().min(1), addressPrefix: z.string() })),
    }),
  ),
  vms: z.array(siteVm),
});
export type SiteInventory = z.infer<typeof siteInventory>;

const vmsById = new WeakMap<SiteInventory, Map<string, SiteVm>>();

/** The VM of this id. Inventories do not change once they are read: thousands of lookups in one build its index once. */
export function vmIn(inventory: SiteInventory | undefined, vmId: string): SiteVm | undefined {
  if (inventory === undefined) return undefined;
  const index = vmsById.get(inventory) ?? new Map(inventory.vms.map((vm) => [vm.vmId, vm]));
  vmsById.set(inventory, index);
  return index.get(vmId);
}
