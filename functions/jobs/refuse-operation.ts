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

/** A resynchronization leaves room for a failover, so that it is no active job; it stands in its own way only. */
function jobInTheWay(
  { activeJob, replication: { resync } }: ProtectedItem,
  operation: ProtectionOperation,
): { jobName: string; scenarioName: string } | undefined {
  if (activeJob !== undefined || operation !== 'RepairReplication' || resync === undefined) return activeJob;
  return { jobName: resync.jobName, scenarioName: jobKinds.resynchronize.scenarioName };
}
