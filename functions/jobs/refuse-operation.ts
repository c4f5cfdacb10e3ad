import { jobKinds } from '../../core/domain/jobs/job.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { allowedOperations, type ProtectionOperation } from '../../core/domain/protected-item/state-table.js';
import { ApiError } from '../http/api-error.js';

/** The refusal of what the item's state does not allow, with what it does allow. */
export function refuseUnlessAllowed(item: ProtectedItem, operation: ProtectionOperation): void {
  const allowed = allowedOperations(item);
  if (allowed.includes(operation)) return;
  const busy = jobInTheWay(item, operation);
  throw new ApiError({
    code: busy === undefined ? 'US1007' : 'US1008',
    armCode: busy === undefined ? 'OperationNotAllowed' : 'OperationInProgress',
    httpStatus: 409,
    target: item.itemName,
    message:
      busy === undefined
        ? `${operation} is not allowed while ${item.itemName} is ${item.state}; allowed: ${allowed.join(', ') || 'nothing'}`
        : `${operation} must wait: job ${busy.jobName} (${busy.scenarioName}) runs on ${item.itemName}`,
    possibleCauses: 'The item is in another state than expected; see its protectionState and allowedOperations.',
    recommendedAction:
      busy === undefined ? 'Use one of the allowed operations.' : 'Wait until the job has ended, then try again.',
    details: { state: item.state, allowedOperations: allowed, ...(busy === undefined ? {} : { job: busy.jobName }) },
  });
}

/** What a failover or a drill was made by stands until it is over: settings of the next one wait. */
export function refuseBusyItem({ itemName, activeJob, failover, testFailover }: ProtectedItem): void {
  const jobName = activeJob?.jobName ?? failover?.jobName ?? testFailover?.jobName;
  if (jobName === undefined) return;
  throw new ApiError({
    code: 'US1031',
    armCode: 'Conflict',
    httpStatus: 409,
    target: itemName,
    message: `settings of ${itemName} cannot be changed ${activeJob === undefined ? `after its failover by job ${jobName}` : `while job ${jobName} runs`}`,
    possibleCauses: 'The settings are those of the next failover; the virtual machine of this one was made by them.',
    recommendedAction:
      'Wait until the job has ended, clean the test failover up, or fail back and replicate again; then change them.',
    details: { job: jobName },
  });
}

/** A resynchronization leaves room for a failover, so that it is no active job; it stands in its own way only. */
function jobInTheWay(
  { activeJob, replication: { resync } }: ProtectedItem,
  operation: ProtectionOperation,
): { jobName: string; scenarioName: string } | undefined {
  if (activeJob !== undefined || operation !== 'RepairReplication' || resync === undefined) return activeJob;
  return { jobName: resync.jobName, scenarioName: jobKinds.resynchronize.scenarioName };
}
