import { createHash } from 'node:crypto';
import type { PlanAction, PlanGroup } from '../core/domain/recovery-plan/recovery-plan.js';

/** As {@link maskedAddress} writes them, also where a client lost the digest; no address that is called looks like that. */
const masked = /^https?:\/\/[^/]+\/\*\*\*(#.*)?$/i;

/**
 * An address as readers see it: where it is, and a digest that stands for all of it. Path and query are what lets a caller in
 * (Slack, Teams and Azure Automation put their keys in either), so nothing of them is shown.
 */
export function maskedAddress(webhookUrl: string): string {
  if (!URL.canParse(webhookUrl)) return '';
  const digest = createHash('sha256').update(webhookUrl).digest('hex').slice(0, 12);
  return `${new URL(webhookUrl).origin}/***#${digest}`;
}

/** An address as it was sent, by someone who read it perhaps: a masked one is the stored one of that digest; undefined: there is none. */
export function unmaskedAddress(sent: string, stored: readonly string[]): string | undefined {
  return masked.test(sent) ? stored.find((webhookUrl) => maskedAddress(webhookUrl) === sent) : sent;
}

/** Groups as they were sent, with the stored addresses behind masked ones, and the actions whose address nothing stands behind. */
export function withStoredAddresses(
  sent: readonly PlanGroup[],
  stored: readonly PlanGroup[],
): { groups: PlanGroup[]; unknown: string[] } {
  const known = stored.flatMap(({ startActions, endActions }) =>
    [...startActions, ...endActions].flatMap(({ details }) => (details.kind === 'runbook' ? details.webhookUrl : [])),
  );
  const unknown: string[] = [];
  const groups = withAddresses(sent, (webhookUrl, actionName) => {
    const address = unmaskedAddress(webhookUrl, known);
    if (address === undefined) unknown.push(actionName);
    return address ?? webhookUrl;
  });
  return { groups, unknown };
}

/** For a run's own record, which job rows and histories hold: the address is read from the plan when it is called. */
export const withMaskedAddresses = (groups: readonly PlanGroup[]): PlanGroup[] => withAddresses(groups, maskedAddress);

function withAddresses(
  groups: readonly PlanGroup[],
  change: (webhookUrl: string, actionName: string) => string,
): PlanGroup[] {
  const changed = (action: PlanAction): PlanAction => {
    const { actionName, details } = action;
    if (details.kind !== 'runbook') return action;
    return { ...action, details: { ...details, webhookUrl: change(details.webhookUrl, actionName) } };
  };
  return groups.map((group) => ({
    ...group,
    startActions: group.startActions.map(changed),
    endActions: group.endActions.map(changed),
  }));
}
