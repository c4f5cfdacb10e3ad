import type { SiteDisk, SiteVm } from '../site/inventory.js';
import type { WorkflowFailure } from '../workflows/failure.js';
import { environmentRules } from './environment-rules.js';
import { sameId, type PrerequisiteFacts, type Rule, type VmFacts } from './rule.js';
import { vmRules } from './vm-rules.js';

export interface PrerequisiteFailure extends WorkflowFailure {
  /** What was found against which limit. */
  found: string;
  limit: string;
}

/** The disks that are replicated, the OS disk first, the rest in the order of the source. */
export function includedDisks(vm: SiteVm, disksToInclude: readonly string[] | undefined): SiteDisk[] {
  const included = vm.disks.filter(
    ({ diskId }) => disksToInclude === undefined || disksToInclude.some((each) => sameId(each, diskId)),
  );
  return [...included.filter(({ isOsDisk }) => isOsDisk), ...included.filter(({ isOsDisk }) => !isOsDisk)];
}

/** Every reason why this VM cannot be protected as asked, all at once. */
export function evaluatePrerequisites(facts: PrerequisiteFacts): PrerequisiteFailure[] {
  const { vm, vmName } = facts;
  return [
    ...judged(environmentRules, facts),
    ...(vm === undefined ? [failureOf(notReported, `the site does not report a virtual machine ${vmName}`)] : []),
    ...(vm === undefined ? [] : evaluateVm({ ...facts, vm, disks: includedDisks(vm, facts.disksToInclude) })),
  ];
}

/** What of the VM itself stands against its protection. */
export const evaluateVm = (facts: VmFacts): PrerequisiteFailure[] => judged(vmRules, facts);

const judged = <Facts>(rules: readonly Rule<Facts>[], facts: Facts): PrerequisiteFailure[] =>
  rules.flatMap((rule) => rule.violations(facts).map((found) => failureOf(rule, found)));

const failureOf = (
  { code, limit, possibleCauses, recommendedAction }: Omit<Rule<never>, 'violations'>,
  found: string,
): PrerequisiteFailure => ({
  code,
  message: `${found}; supported: ${limit}`,
  found,
  limit,
  possibleCauses,
  recommendedAction,
  retry: 'never',
});

const notReported = {
  code: 'US3100',
  limit: 'virtual machines of the site’s present inventory',
  possibleCauses: 'The virtual machine was deleted or moved to a host outside of the cloud, or the inventory is old.',
  recommendedAction: 'See that the relay runs, then read the protectable items again.',
};
