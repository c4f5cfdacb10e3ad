import type { ReplicationPolicy } from '../policy/replication-policy.js';
import type { SiteDisk, SiteVm } from '../site/inventory.js';

/** All that the prerequisites of protection are judged by; what could not be found is absent. */
export interface PrerequisiteFacts {
  vmName: string;
  vm: SiteVm | undefined;
  policyName: string;
  policy: ReplicationPolicy | undefined;
  /** Is the policy mapped to the VM's cloud? */
  cloudIsMapped: boolean;
  target: { vmName: string; osType: string; networkId?: string; subnetName?: string; vmSize?: string };
  /** Does the policy name no accounts, or the target's among them? */
  accountIsOfPolicy: boolean;
  /** Is the VM's network mapped, or the VM connected to none? */
  networkIsMapped: boolean;
  /** Name of another protected item whose VM in Azure would have the same name in the same resource group. */
  targetNameTakenBy: string | undefined;
  storageAccount: { name: string; kind: 'standard' | 'premium' } | undefined;
  /** `absent`: the item names none. */
  logStorageAccount: { name: string; kind: 'standard' | 'premium' } | 'absent' | undefined;
  /** Subnets of the network, where the item names one that is there. */
  subnetNames: readonly string[] | undefined;
  /** Name of another protected item of the same VM; `vaultName`: of another vault of this app. */
  protectedAs: { itemName: string; vaultName?: string } | undefined;
  /** Ids of the disks to replicate; undefined is all. */
  disksToInclude: readonly string[] | undefined;
}

/** A prerequisite: a row of one of the two tables beside this file. */
export interface Rule<Facts> {
  /** docs/errors.md. */
  code: string;
  limit: string;
  possibleCauses: string;
  recommendedAction: string;
  /** Sentences about what is wrong; none if all is well. */
  violations: (facts: Facts) => string[];
}

/** What the rules of a VM are judged by; `disks`: those to replicate. */
export type VmFacts = Pick<PrerequisiteFacts, 'target' | 'storageAccount' | 'disksToInclude'> & {
  vm: SiteVm;
  disks: readonly SiteDisk[];
};

export const when = (violated: boolean, text: string): string[] => (violated ? [text] : []);

export const sameId = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
