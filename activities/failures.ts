import { mayWork } from '../core/domain/protected-item/active-job.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import type { JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { StateTable } from '../core/ports/state-table.js';
import { read } from '../core/records/access.js';
import { rows } from '../core/records/rows.js';

/** Why the job must not work on the item (any more); empty where it may. */
export function refusals(item: ProtectedItem | undefined, { itemId, jobName }: JobWorkflowInput): WorkflowFailure[] {
  if (item !== undefined && mayWork(item, jobName)) return [];
  const undone = item?.activeJob?.jobName === jobName ? item.activeJob.undone : undefined;
  return undone !== undefined && undone.length > 0 ? undone : [gone(itemId)];
}

/** An operator wants the job to end, or the run of the recovery plan that it is a part of. */
export async function isCancelWanted(
  table: StateTable,
  { vaultId, jobName }: Pick<JobWorkflowInput, 'vaultId' | 'jobName'>,
): Promise<boolean> {
  const job = (await read(table, rows.job(vaultId, jobName)))?.value;
  if (job?.cancelRequestedAt !== undefined) return true;
  const plan = job?.planJobName && (await read(table, rows.job(vaultId, job.planJobName)));
  return plan ? plan.value.cancelRequestedAt !== undefined : false;
}

/** The item that a workflow works for is not there any more, or leads another life. */
export const gone = (itemId: string): WorkflowFailure => ({
  code: 'US3020',
  message: `item ${itemId} is no longer the one that this job was started for`,
  possibleCauses: 'Replication was disabled, enabled anew or failed over meanwhile.',
  recommendedAction: 'See the item’s present state and its other jobs.',
  retry: 'never',
});
