import { z } from 'zod';
import { readJson, writeJsonWhole } from './durable-file.js';
import { sitePaths } from './site-file.js';

/**
 * Faults on demand. They stay until cleared, also over a restart (host-crash happens once). `vmId` absent: every VM.
 * network-cut and network-slow are only kept and told: the line is not the site's, whoever sends bytes asks for them
 * (`openLineFaults` in client.ts).
 */
export const faultKind = z.enum([
  'network-cut',
  'network-slow',
  'disk-full',
  'low-memory',
  'log-write-failure',
  'log-corrupt',
  'freeze-failure',
  'host-crash',
]);
export type FaultKind = z.infer<typeof faultKind>;

export const siteFault = z.object({ kind: faultKind, vmId: z.string().optional() });
export type SiteFault = z.infer<typeof siteFault>;

export class Faults {
  private constructor(
    private readonly siteFolder: string,
    private active: SiteFault[],
  ) {}

  static async load(siteFolder: string): Promise<Faults> {
    const stored = await readJson(sitePaths.faultsFile(siteFolder), z.array(siteFault));
    return new Faults(siteFolder, stored ?? []);
  }

  list(): readonly SiteFault[] {
    return this.active;
  }

  /** Without a VM: on the whole site. */
  has(kind: FaultKind, vmId: string | undefined): boolean {
    return this.active.some((fault) => fault.kind === kind && (fault.vmId === undefined || fault.vmId === vmId));
  }

  async add(fault: SiteFault): Promise<void> {
    const same = (other: SiteFault) => other.kind === fault.kind && other.vmId === fault.vmId;
    this.active = [...this.active.filter((other) => !same(other)), fault];
    await this.save();
  }

  async clear(): Promise<void> {
    this.active = [];
    await this.save();
  }

  private async save(): Promise<void> {
    await writeJsonWhole(sitePaths.faultsFile(this.siteFolder), this.active);
  }
}
