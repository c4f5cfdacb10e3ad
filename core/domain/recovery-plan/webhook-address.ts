import type { PlanAction, PlanGroup } from './recovery-plan.js';

/** An address as a reader of its plan sees it: the query, like credentials, is what lets a caller in. */
export function shownAddress(webhookUrl: string): string {
  if (!URL.canParse(webhookUrl)) return '';
  const { origin, pathname } = new URL(webhookUrl);
  return `${origin}${pathname}`;
}

/**
 * Groups as they were sent, by someone who read them from the plan perhaps: an address without a query has that of the stored
 * action of its name, where it is the same address as far as it is shown. One that ends with `?` has none.
 */
export function withStoredQueries(sent: readonly PlanGroup[], stored: readonly PlanGroup[]): PlanGroup[] {
  const addresses = new Map(
    stored.flatMap(actionsOf).flatMap(({ actionName, details }) => {
      return details.kind === 'runbook' ? [[actionName, details.webhookUrl] as const] : [];
    }),
  );
  const withQuery = (action: PlanAction): PlanAction => {
    const { actionName, details } = action;
    const known = addresses.get(actionName);
    if (details.kind !== 'runbook' || known === undefined || details.webhookUrl.includes('?')) return action;
    if (shownAddress(details.webhookUrl) !== shownAddress(known)) return action;
    return { ...action, details: { ...details, webhookUrl: `${shownAddress(known)}${new URL(known).search}` } };
  };
  return sent.map((group) => ({
    ...group,
    startActions: group.startActions.map(withQuery),
    endActions: group.endActions.map(withQuery),
  }));
}

/** For a run's own record, which job rows and histories hold: the address is read from the plan when it is called. */
export const withShownAddresses = (groups: readonly PlanGroup[]): PlanGroup[] => {
  const shown = (action: PlanAction): PlanAction =>
    action.details.kind === 'runbook'
      ? { ...action, details: { ...action.details, webhookUrl: shownAddress(action.details.webhookUrl) } }
      : action;
  return groups.map((group) => ({
    ...group,
    startActions: group.startActions.map(shown),
    endActions: group.endActions.map(shown),
  }));
};

const actionsOf = ({ startActions, endActions }: PlanGroup): PlanAction[] => [...startActions, ...endActions];
