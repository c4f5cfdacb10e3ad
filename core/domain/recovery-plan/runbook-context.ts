import type { ProtectedItem } from '../protected-item/protected-item.js';
import type { PlanDirection, PlanFailoverType } from './recovery-plan.js';

/**
 * What a runbook gets, by the names of Site Recovery (docs/recovery-plans.md). Values of a VM that is not there yet are empty:
 * so they are before the group in which it starts.
 */
export interface RunbookContext {
  RecoveryPlanName: string;
  FailoverType: 'Test' | 'Planned' | 'Unplanned';
  FailoverDirection: PlanDirection;
  GroupId: string;
  VmMap: Record<
    string,
    {
      SubscriptionId: string;
      ResourceGroupName: string;
      CloudServiceName: string;
      RoleName: string;
      RecoveryPointId: string;
    }
  >;
}

const types: Record<PlanFailoverType, RunbookContext['FailoverType']> = {
  TestFailover: 'Test',
  PlannedFailover: 'Planned',
  UnplannedFailover: 'Unplanned',
};

export function runbookContext(
  run: { planName: string; failoverType: PlanFailoverType; direction: PlanDirection; groupId: string },
  items: readonly ProtectedItem[],
): RunbookContext {
  return {
    RecoveryPlanName: run.planName,
    FailoverType: types[run.failoverType],
    FailoverDirection: run.direction,
    GroupId: run.groupId,
    VmMap: Object.fromEntries(
      items.map((item) => {
        const { vmArmId, recoveryPointId } = item.failover ?? {};
        const [, subscription = '', group = ''] =
          /^\/subscriptions\/([^/]+)\/resourceGroups\/([^/]+)\//i.exec(vmArmId ?? '') ?? [];
        return [
          item.vmId,
          {
            SubscriptionId: subscription,
            ResourceGroupName: group,
            // Of the classic deployment model, which there is none of.
            CloudServiceName: '',
            RoleName: vmArmId === undefined ? '' : item.target.vmName,
            RecoveryPointId: vmArmId === undefined ? '' : (recoveryPointId ?? ''),
          },
        ];
      }),
    ),
  };
}
