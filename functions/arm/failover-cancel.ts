import { asJobName } from '../../core/domain/ids.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { changeJob } from './job-actions.js';
import { ok, vaultOperation, type VaultCall } from './operation.js';
import { itemOf, itemPath } from './protected-items.js';
import { planOf } from './recovery-plans.js';
import { requestCancel } from '../../core/domain/jobs/transitions.js';

/** The job that runs is cancelled, if it allows that; the answer is the resource as it is then. */
async function cancel(call: VaultCall, name: string, jobName: string | undefined): Promise<ApiResponse> {
  if (jobName === undefined) {
    throw new ApiError({
      code: 'US1036',
      armCode: 'Conflict',
      httpStatus: 409,
      target: name,
      message: `nothing runs on ${name} that could be cancelled`,
      possibleCauses: 'The failover has ended meanwhile.',
      recommendedAction: 'See the present state; a failover that has ended is undone by failing back.',
    });
  }
  await changeJob(call, asJobName(jobName), 'Cancel', (job, now) => requestCancel(job, now));
  const resource = call.request.url.pathname.replace(/\/failoverCancel\/?$/i, '');
  return ok((await call.get(resource)).body);
}

export const failoverCancelOperations = [
  vaultOperation(
    'replicationProtectedItems.beginFailoverCancel',
    'POST',
    `${itemPath}/failoverCancel`,
    {
      summary: 'Has a planned failover, or a failback, that is under way take back what it did',
      response: 'ReplicationProtectedItem',
      longRunning: true,
      role: 'operator',
    },
    async (call) => {
      const { itemName, activeJob } = (await itemOf(call)).value;
      return cancel(call, itemName, activeJob?.jobName);
    },
  ),
  vaultOperation(
    'replicationRecoveryPlans.beginFailoverCancel',
    'POST',
    '~/replicationRecoveryPlans/{recoveryPlanName}/failoverCancel',
    {
      summary: 'Has the plan’s run take back what has not started, and end',
      response: 'RecoveryPlan',
      longRunning: true,
      role: 'operator',
    },
    async (call) => {
      const { planName, activeJob } = (await planOf(call)).value;
      return cancel(call, planName, activeJob?.jobName);
    },
  ),
];
