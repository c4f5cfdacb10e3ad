import type { JobName, VaultId } from '../ids.js';
import type { JobKind } from '../jobs/job.js';
import type { RecoveryPointChoice } from '../workflows/workflows.js';
import type { PlanAction, PlanDirection, PlanFailoverType, PlanGroup, PlanOperation } from './recovery-plan.js';

/** One run of a plan, as the door took it: later changes of the plan do not reach it. */
export interface PlanRunInput {
  vaultId: VaultId;
  jobName: JobName;
  planName: string;
  /** Of the site whose relay runs scripts. */
  fabricName: string;
  operation: PlanOperation;
  groups: PlanGroup[];
  /** Of failovers. */
  recoveryPoint: RecoveryPointChoice;
  /** Of an unplanned failover: best-effort shutdown of the sources. */
  shutDownSources: boolean;
  /** Of a test failover; absent: the test VMs are connected to no network. */
  networkId?: string;
  /** Of a failback. */
  synchronizeFirst: boolean;
  createVms: boolean;
  /** Of a clean-up. */
  comments: string;
}

/** What actions are chosen by: the other operations have none. */
export function failoverOf(operation: PlanOperation): { type: PlanFailoverType; direction: PlanDirection } | undefined {
  switch (operation) {
    case 'TestFailover':
    case 'PlannedFailover':
    case 'UnplannedFailover':
      return { type: operation, direction: 'PrimaryToRecovery' };
    case 'Failback':
      return { type: 'PlannedFailover', direction: 'RecoveryToPrimary' };
    case 'TestFailoverCleanup':
    case 'Commit':
    case 'ReverseReplicate':
      return undefined;
  }
}

/** One thing that a run does after another; its name is the job's task. */
export type PlanStep =
  | { kind: 'action'; taskName: string; friendlyName: string; groupId: string; action: PlanAction }
  /** Every item of the plan, side by side: `shutDown` of a failback is its synchronization. */
  | { kind: 'all'; taskName: string; friendlyName: string; step: 'shutDown' | 'prepare' | 'whole' }
  | { kind: 'boot'; taskName: string; friendlyName: string; groupIndex: number };

/** Ids of groups, as runbooks are told them. */
const groupIdOf = ({ groupType }: PlanGroup, index: number): string =>
  groupType === 'Boot' ? `Group ${index - 1}` : groupType;

/** The whole run in order, from its input alone: the job's tasks and what the workflow does are the same list. */
export function planSteps({ operation, groups, synchronizeFirst }: PlanRunInput): PlanStep[] {
  const failover = failoverOf(operation);
  if (failover === undefined) {
    return [
      { kind: 'all', taskName: 'RecoveryPlanItems', friendlyName: wholeWords[operation] ?? operation, step: 'whole' },
    ];
  }
  const { type, direction } = failover;
  return groups.flatMap((group, index): PlanStep[] => {
    const groupId = groupIdOf(group, index);
    const actions = (list: readonly PlanAction[], place: 'start' | 'end'): PlanStep[] =>
      list
        .filter(
          ({ failoverTypes, failoverDirections }) =>
            failoverTypes.includes(type) && failoverDirections.includes(direction),
        )
        .map((action, position) => ({
          kind: 'action',
          taskName: `RecoveryPlanAction-${index}-${place}-${position}`,
          friendlyName: `${groupId}, ${place === 'start' ? 'before' : 'after'}: ${action.actionName}`,
          groupId,
          action,
        }));
    return [...actions(group.startActions, 'start'), ...workOf(group, index), ...actions(group.endActions, 'end')];
  });

  function workOf(group: PlanGroup, index: number): PlanStep[] {
    switch (group.groupType) {
      case 'Shutdown': {
        const taskName = 'RecoveryPlanShutdown';
        if (operation === 'PlannedFailover') {
          return [{ kind: 'all', taskName, friendlyName: 'All machines: shut down', step: 'shutDown' }];
        }
        return operation === 'Failback' && synchronizeFirst
          ? [{ kind: 'all', taskName, friendlyName: 'All machines: synchronize data', step: 'shutDown' }]
          : [];
      }
      case 'Failover':
        return [
          { kind: 'all', taskName: 'RecoveryPlanFailover', friendlyName: 'All machines: failover', step: 'prepare' },
        ];
      case 'Boot':
        return [
          {
            kind: 'boot',
            taskName: `RecoveryPlanBoot-${index - 1}`,
            friendlyName: `${groupIdOf(group, index)}: start`,
            groupIndex: index,
          },
        ];
    }
  }
}

const wholeWords: Partial<Record<PlanOperation, string>> = {
  TestFailoverCleanup: 'All machines: clean up the test failover',
  Commit: 'All machines: commit',
  ReverseReplicate: 'All machines: reverse replicate',
};

const scenarios: Record<PlanOperation, Pick<JobKind, 'scenarioName' | 'friendlyName'>> = {
  TestFailover: { scenarioName: 'TestFailover', friendlyName: 'Test failover of a recovery plan' },
  TestFailoverCleanup: {
    scenarioName: 'TestFailoverCleanup',
    friendlyName: 'Test failover cleanup of a recovery plan',
  },
  PlannedFailover: { scenarioName: 'PlannedFailover', friendlyName: 'Planned failover of a recovery plan' },
  UnplannedFailover: { scenarioName: 'UnplannedFailover', friendlyName: 'Failover of a recovery plan' },
  Failback: {
    scenarioName: 'PlannedFailover',
    friendlyName: 'Planned failover of a recovery plan to the primary site',
  },
  Commit: { scenarioName: 'CommitFailover', friendlyName: 'Commit of a recovery plan' },
  ReverseReplicate: {
    scenarioName: 'ReprotectReplicationGroup',
    friendlyName: 'Reverse replication of a recovery plan',
  },
};

/** The job of a run, without its tasks: those are the run's steps. */
export const planJobKind = (operation: PlanOperation): JobKind => ({ ...scenarios[operation], tasks: [] });

export const planTasks = (input: PlanRunInput): JobKind['tasks'] =>
  planSteps(input).map(({ taskName, friendlyName }) => ({ name: taskName, friendlyName }));

/** A planned run stops at its first failure, so that nothing is lost and it can be run again; the others go to their end. */
export const stopsAtFailure = (operation: PlanOperation): boolean =>
  operation === 'PlannedFailover' || operation === 'Failback';
