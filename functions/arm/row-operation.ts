import type { ItemId } from '../../core/domain/ids.js';
import type { JobKind } from '../../core/domain/jobs/job.js';
import { workflowNames, type RunOperationInput } from '../../core/domain/workflows/workflows.js';
import type { RowOperation } from '../../core/ports/state-table.js';
import type { ApiResponse } from '../http/exchange.js';
import { submitJob, type JobDetails } from '../jobs/submit-job.js';
import { accepted } from './long-running.js';
import type { VaultCall } from './operation.js';

/** A short long-running operation: its rows change together with the job that stands for the change, and the job ends. */
export async function changeRows(
  call: VaultCall,
  change: {
    kind: JobKind;
    /** ARM id of the resource that the operation was called on. */
    targetResourceId: string;
    targetObjectName: string;
    itemId?: ItemId;
    /** Reads and decides, perhaps several times; a refusal is thrown. `now` is business time. */
    decide: (now: string) => Promise<RowOperation[]>;
    details?: JobDetails;
  },
): Promise<ApiResponse> {
  const { decide, kind, details, ...target } = change;
  const job = await submitJob(call.app, {
    vaultId: call.vaultId,
    kind,
    orchestrator: workflowNames.runOperation,
    ...target,
    decide: async (jobName, now) => {
      const operations = await decide(now);
      const input: RunOperationInput = { vaultId: call.vaultId, jobName, taskName: kind.tasks[0]?.name ?? '' };
      return { operations, input, ...(details && { details }) };
    },
  });
  return accepted(call, job);
}
