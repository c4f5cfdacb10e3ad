import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { openVhdxWriter } from '../../core/dataplane/vhdx/writer.js';
import { openFileWriter } from '../local-files/random-access-file.js';
import { flushFolder } from './durable-file.js';
import { badRequest } from './errors.js';
import { fillCompressible, xorshift } from './guests/ordered-records.js';
import { createDisk } from './maintenance.js';
import { readSiteFile, sitePaths, vmPaths, writeSiteFile, type SiteFile, type VmInFile } from './site-file.js';
import { writeVmState } from './vm-state.js';

const mib = 1024 * 1024;
export const seedDefaults = { vmCount: 3, diskSizeBytes: 64 * mib, fillFraction: 1 / 8 };

export interface SeedOptions {
  /** web-01, sql-01 and app-01; more get the names vm-004 … with one disk each. */
  readonly vmCount: number;
  readonly diskSizeBytes: number;
  /** How much of each disk holds data at first; the rest is zero. */
  readonly fillFraction: number;
}

/** Makes the site that an empty folder becomes. A folder that has its site.json is left as it is: site.json is written last. */
export async function seedSite(siteFolder: string, options: SeedOptions = seedDefaults): Promise<SiteFile> {
  const found = await readSiteFile(siteFolder);
  if (found !== undefined) return found;
  const { diskSizeBytes, vmCount, fillFraction } = options;
  if (diskSizeBytes % mib !== 0 || diskSizeBytes < mib || vmCount < 1 || fillFraction < 0 || fillFraction > 1) {
    throw badRequest('A site is seeded with at least one VM, disks of whole MiB, and a fill from 0 to 1');
  }
  await mkdir(siteFolder, { recursive: true });
  const site = describeSite(vmCount, diskSizeBytes);
  for (const vm of site.vms) await makeDisks(siteFolder, vm, fillFraction);
  await flushFolder(siteFolder);
  await writeSiteFile(siteFolder, site);
  return site;
}

async function makeDisks(siteFolder: string, vm: VmInFile, fillFraction: number): Promise<void> {
  const folder = sitePaths.vmFolder(siteFolder, vm.name);
  await mkdir(folder, { recursive: true });
  for (const { name, diskId, sizeBytes, isOsDisk } of vm.disks) {
    const path = vmPaths.disk(folder, name);
    await createDisk(path, diskId, sizeBytes);
    await fillDisk(path, Math.floor((sizeBytes * fillFraction) / mib) * mib, isOsDisk);
  }
  await writeVmState(folder, { version: 1, powerState: 'running' });
}

/** A VM that is off, with empty disks. site.json comes to name it last: what lies there before was never made, or is removed. */
export async function makeEmptyVm(siteFolder: string, vm: VmInFile): Promise<void> {
  const folder = sitePaths.vmFolder(siteFolder, vm.name);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const { name, diskId, sizeBytes } of vm.disks) await createDisk(vmPaths.disk(folder, name), diskId, sizeBytes);
  await writeVmState(folder, { version: 1, powerState: 'off' });
  await flushFolder(siteFolder);
}

/** Compressible data from the start of the disk on; an OS disk begins with a boot sector's signature. */
async function fillDisk(path: string, fillBytes: number, isOsDisk: boolean): Promise<void> {
  const file = await openFileWriter(path);
  try {
    const disk = await openVhdxWriter(file);
    const random = xorshift(randomBytes(4).readUInt32LE(0));
    for (let at = 0; at < fillBytes; at += mib) {
      const piece = Buffer.alloc(mib);
      fillCompressible(piece, random);
      if (at === 0 && isOsDisk) piece.writeUInt16LE(0xaa55, 510);
      await disk.write(at, piece);
    }
    await disk.close();
  } finally {
    await file.close();
  }
}

function describeSite(vmCount: number, diskSizeBytes: number): SiteFile {
  const [cloudId, network, testNetwork] = [randomUUID(), randomUUID(), randomUUID()];
  const hosts = ['hv-01', 'hv-02'].map((name) => ({ hostId: randomUUID(), name, cloudId }));
  const vms = Array.from({ length: vmCount }, (_, index): VmInFile => {
    const { name, diskNames, ...machine } = machines[index] ?? plainMachine(index + 1);
    return {
      vmId: randomUUID(),
      name,
      cloudId,
      hostId: hosts[index % hosts.length]?.hostId ?? '',
      architecture: 'x64',
      hasFibreChannelAdapter: false,
      disks: diskNames.map((disk, place) => ({
        diskId: randomUUID(),
        name: `${name}-${disk}`,
        sizeBytes: diskSizeBytes,
        format: 'vhdx',
        kind: 'dynamic',
        logicalSectorBytes: 512,
        physicalSectorBytes: 4096,
        shared: false,
        isOsDisk: place === 0,
      })),
      nics: [
        {
          nicId: randomUUID(),
          macAddress: macAddress(index),
          networkId: network,
          subnetName: 'default',
          ipAddress: `10.1.${Math.floor(index / 200)}.${10 + (index % 200)}`,
        },
      ],
      ...machine,
    };
  });
  return {
    version: 1,
    vmmServerId: randomUUID(),
    vmmServerName: 'vmm-01',
    timeZone: 'Europe/Berlin',
    clouds: [{ cloudId, name: 'Production' }],
    hosts,
    networks: [networkOf(network, 'Corporate', '10.1.0.0/16'), networkOf(testNetwork, 'Test', '10.9.0.0/16')],
    vms,
  };
}

const networkOf = (networkId: string, name: string, addressPrefix: string): SiteFile['networks'][number] => ({
  networkId,
  name,
  logicalNetworkId: randomUUID(),
  logicalNetworkName: `${name} logical network`,
  subnets: [{ name: 'default', addressPrefix }],
});

/** Hyper-V's own prefix. */
const macAddress = (index: number): string =>
  ['00', '15', '5d', '01', ...[index >> 8, index & 255].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');

type MachineSeed = Pick<
  VmInFile,
  'name' | 'generation' | 'osType' | 'osName' | 'secureBoot' | 'cpuCount' | 'memoryMegabytes' | 'guest'
> & { diskNames: string[] };

const windows = { osType: 'Windows', osName: 'Windows Server 2022', cpuCount: 2 } as const;
const machines: readonly MachineSeed[] = [
  {
    name: 'web-01',
    generation: 1,
    ...windows,
    secureBoot: false,
    memoryMegabytes: 4096,
    guest: { kind: 'random', writesPerSecond: 0.5 },
    diskNames: ['os'],
  },
  {
    name: 'sql-01',
    generation: 1,
    ...windows,
    secureBoot: false,
    memoryMegabytes: 8192,
    // About 34 KiB a write: at 300 s a cycle, half of a 64 MiB disk is far away.
    guest: { kind: 'ordered', writesPerSecond: 2, diskCount: 2 },
    diskNames: ['os', 'data'],
  },
  {
    name: 'app-01',
    generation: 2,
    osType: 'Linux',
    osName: 'Debian GNU/Linux 12',
    cpuCount: 2,
    secureBoot: false,
    memoryMegabytes: 2048,
    guest: { kind: 'idle', writesPerSecond: 0 },
    diskNames: ['os'],
  },
];

const plainMachine = (number: number): MachineSeed => ({
  name: `vm-${String(number).padStart(3, '0')}`,
  generation: 1,
  ...windows,
  secureBoot: false,
  memoryMegabytes: 2048,
  guest: { kind: 'random', writesPerSecond: 0.1 },
  diskNames: ['os'],
});
