import { join } from 'node:path';
import { z } from 'zod';
import { siteDisk, siteInventory, siteVm } from '../../core/domain/site/inventory.js';
import { readJson, temporarySuffix, writeJsonWhole } from './durable-file.js';

/** site.json: what the site is. Its GUIDs are drawn when it is seeded and never change; what happens to VMs stands in their state files. */
const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a plain file name');

export const guestSettings = z.object({
  /** idle writes nothing; ordered writes numbered records in turn to all disks; random writes anywhere. */
  kind: z.enum(['idle', 'ordered', 'random']),
  writesPerSecond: z.number().min(0).max(10_000),
  /** It writes to the VM's first disks only; absent: to all. Keeps an ordered history apart from disks added later. */
  diskCount: z.number().int().min(1).optional(),
});
export type GuestSettings = z.infer<typeof guestSettings>;

const diskInFile = siteDisk.extend({ name: fileName });
const vmInFile = siteVm.omit({ powerState: true }).extend({
  name: fileName,
  disks: z.array(diskInFile).min(1),
  guest: guestSettings,
  /** From its making until its failback is prepared. */
  madeForFailback: z.literal(true).optional(),
});
export type VmInFile = z.infer<typeof vmInFile>;

const siteFile = siteInventory.extend({ version: z.literal(1), vms: z.array(vmInFile) });
export type SiteFile = z.infer<typeof siteFile>;

/** Where things lie in a site folder. */
export const sitePaths = {
  siteFile: (site: string) => join(site, 'site.json'),
  runFile: (site: string) => join(site, 'run.json'),
  lockFile: (site: string) => join(site, 'serve.lock'),
  faultsFile: (site: string) => join(site, 'faults.json'),
  journalFolder: (site: string, vm: string) => join(site, 'journal', vm),
  vmFolder: (site: string, vm: string) => join(site, vm),
};

const sideImageSuffix = '.failback.vhdx';

/** Where things lie in a VM's folder. */
export const vmPaths = {
  stateFile: (folder: string) => join(folder, 'state.json'),
  disk: (folder: string, disk: string) => join(folder, `${disk}.vhdx`),
  /** The active change log. */
  log: (folder: string, disk: string) => join(folder, `${disk}.hrl`),
  closedLog: (folder: string, disk: string, cycle: number) => join(folder, `${disk}.${cycle}.hrl`),
  redirect: (folder: string, disk: string, checkpointId: string) => join(folder, `${disk}.${checkpointId}.redirect`),
  /** The same file once its merge has begun: the disk is not frozen any more. */
  merging: (folder: string, disk: string, checkpointId: string) => join(folder, `${disk}.${checkpointId}.merging`),
  /** Kept with a resync's checkpoint: which chunks changed up to it. */
  checkpointChanges: (folder: string, disk: string, checkpointId: string) =>
    join(folder, `${disk}.${checkpointId}.changed`),
  /** Between a clean stop and the next start: which chunks changed while the VM waits for its resync. */
  waitingChanges: (folder: string, disk: string) => join(folder, `${disk}.waiting`),
  /** A failback's image of the disk, until it takes its place. */
  sideImage: (folder: string, disk: string) => join(folder, `${disk}${sideImageSuffix}`),
  isSideImage: (file: string) =>
    file.endsWith(sideImageSuffix) || file.endsWith(`${sideImageSuffix}${temporarySuffix}`),
  savedDisk: (folder: string, disk: string) => join(folder, `${disk}.saved.vhdx`),
  cycles: (folder: string) => join(folder, 'cycles'),
  cycleFile: (folder: string, cycle: number) => join(folder, 'cycles', `${cycle}.json`),
};

export const readSiteFile = (site: string): Promise<SiteFile | undefined> =>
  readJson(sitePaths.siteFile(site), siteFile);

export const writeSiteFile = (site: string, content: SiteFile): Promise<void> =>
  writeJsonWhole(sitePaths.siteFile(site), siteFile.parse(content));
