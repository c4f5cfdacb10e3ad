import type { ItemId, JobName } from '../ids.js';
import { allowedOperations, type ProtectionOperation } from '../protected-item/state-table.js';

/** Limits of Site Recovery (docs/recovery-plans.md). */
export const planItemsMax = 100;
export const bootGroupsMax = 7;
/**
 * How long actions are waited for. Of a webhook less than the 300 s after which Node's fetch gives up on an answer by itself; of
 * a script as long as the history of a run that looks for its end stays small.
 */
export const actionTimeouts = {
  runbook: { defaultSeconds: 240, maxSeconds: 240 },
  script: { defaultSeconds: 10 * 60, maxSeconds: 4 * 60 * 60 },
} as const;

/** Names as ARM spells them. */
export type PlanFailoverType = 'TestFailover' | 'PlannedFailover' | 'UnplannedFailover';
export type PlanDirection = 'PrimaryToRecovery' | 'RecoveryToPrimary';

export interface PlanAction {
  actionName: string;
  failoverTypes: PlanFailoverType[];
  failoverDirections: PlanDirection[];
  details:
    /** An HTTPS address that the app posts the run's context to; an answer of 2xx is success. */
    | { kind: 'runbook'; webhookUrl: string; timeoutSeconds: number }
    /** A file of that name in the relay's own scripts folder. */
    | { kind: 'script'; scriptName: string; timeoutSeconds: number }
    /** The job waits for an operator. */
    | { kind: 'manual'; description: string };
}

export interface PlanGroup {
  groupType: 'Shutdown' | 'Failover' | 'Boot';
  /** Of a Boot group only: the other two are about all items of the plan. */
  items: { itemId: ItemId; armId: string }[];
  startActions: PlanAction[];
  endActions: PlanAction[];
}

/** The row of a plan. Groups are in the order in which they run: Shutdown, Failover, Boot groups. */
export interface RecoveryPlan {
  planName: string;
  fabricName: string;
  createdAt: string;
  groups: PlanGroup[];
  activeJob?: { jobName: JobName; scenarioName: string; startedAt: string };
  /** A test failover that waits for its clean-up. */
  test?: { jobName: JobName };
  lastTestFailoverAt?: string;
  lastPlannedFailoverAt?: string;
  lastUnplannedFailoverAt?: string;
}

export const planOperations = [
  'TestFailover',
  'TestFailoverCleanup',
  'PlannedFailover',
  'UnplannedFailover',
  'Commit',
  'Failback',
  'ReverseReplicate',
] as const satisfies readonly ProtectionOperation[];
export type PlanOperation = (typeof planOperations)[number];

/** An action as it runs: a plan that was saved under a longer limit has today's. */
export function withinTimeoutLimit(action: PlanAction): PlanAction {
  const { details } = action;
  if (details.kind === 'manual') return action;
  const timeoutSeconds = Math.min(details.timeoutSeconds, actionTimeouts[details.kind].maxSeconds);
  return { ...action, details: { ...details, timeoutSeconds } };
}

/** The groups as they run. */
export const withinTimeoutLimits = (groups: readonly PlanGroup[]): PlanGroup[] =>
  groups.map((group) => ({
    ...group,
    startActions: group.startActions.map(withinTimeoutLimit),
    endActions: group.endActions.map(withinTimeoutLimit),
  }));

export const itemsOf = (groups: readonly PlanGroup[]): ItemId[] =>
  groups.flatMap(({ items }) => items.map(({ itemId }) => itemId));

/**
 * What an operator may begin: what at least one of the items allows. A drill of the plan waits for its clean-up; only a
 * disaster comes before that.
 */
export function allowedPlanOperations(
  { activeJob, test }: RecoveryPlan,
  items: readonly Parameters<typeof allowedOperations>[0][],
): PlanOperation[] {
  if (activeJob !== undefined) return [];
  const ofItems = new Set(items.flatMap((item) => allowedOperations(item)));
  return planOperations.filter((operation) => {
    if (operation === 'TestFailoverCleanup') return test !== undefined;
    return ofItems.has(operation) && (test === undefined || operation === 'UnplannedFailover');
  });
}

/** What is wrong with the groups of a plan: where in the request, and what. */
export interface PlanFault {
  path: string;
  message: string;
}

/** Groups in the order in which they run, with those that every plan has; or everything that is wrong with them. */
export function arrangeGroups(groups: readonly PlanGroup[]): { groups: PlanGroup[] } | { faults: PlanFault[] } {
  const faults: PlanFault[] = [];
  const only = (groupType: 'Shutdown' | 'Failover'): PlanGroup => {
    const found = groups.filter((group) => group.groupType === groupType);
    if (found.length > 1)
      faults.push({ path: 'groups', message: `a plan has one group ${groupType}, not ${found.length}` });
    return found[0] ?? { groupType, items: [], startActions: [], endActions: [] };
  };
  const boot = groups.filter(({ groupType }) => groupType === 'Boot');
  const arranged = [only('Shutdown'), only('Failover'), ...boot];
  if (boot.length === 0) faults.push({ path: 'groups', message: 'a plan has at least one group Boot' });
  if (boot.length > bootGroupsMax) {
    faults.push({ path: 'groups', message: `a plan has at most ${bootGroupsMax} groups Boot, not ${boot.length}` });
  }
  for (const [index, { groupType, items }] of groups.entries()) {
    if (groupType !== 'Boot' && items.length > 0) {
      const path = `groups[${index}].replicationProtectedItems`;
      faults.push({ path, message: `items stand in groups Boot; ${groupType} is about all of them` });
    }
  }
  const itemIds = itemsOf(boot);
  if (itemIds.length === 0) faults.push({ path: 'groups', message: 'a plan has at least one item' });
  if (itemIds.length > planItemsMax) {
    faults.push({ path: 'groups', message: `a plan has at most ${planItemsMax} items, not ${itemIds.length}` });
  }
  const twice = boot.flatMap(({ items }) => items).find(({ itemId }, index) => itemIds.indexOf(itemId) !== index);
  if (twice !== undefined) faults.push({ path: 'groups', message: `${twice.armId} stands in the plan twice` });
  const names = arranged
    .flatMap((group) => [...group.startActions, ...group.endActions])
    .map(({ actionName }) => actionName);
  const same = names.find((name, index) => names.indexOf(name) !== index);
  if (same !== undefined) faults.push({ path: 'groups', message: `two actions have the name '${same}'` });
  return faults.length === 0 ? { groups: arranged } : { faults };
}
