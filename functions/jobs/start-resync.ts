import { jobKinds, type Job } from '../../core/domain/jobs/job.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { nextState, operationStarts } from '../../core/domain/protected-item/state-table.js';
import { workflowNames, type ResynchronizeInput } from '../../core/domain/workflows/workflows.js';
import { read, replace } from '../../core/records/access.js';
import { rows, type Vault } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { notFound } from '../arm/operation.js';
import { protectedItemArmId } from '../arm/protectable-items.js';
import { ApiError } from '../http/api-error.js';
import { tellHealth } from '../tell-health.js';
import { refuseUnlessAllowed } from './refuse-operation.js';
import { submitJob } from './submit-job.js';

/** `schedule`: nobody asked, so it begins only where the item still is marked. */
export type AskedBy = 'operator' | 'schedule';

/**
 * Marks the item as being resynchronized and writes the job, in one transaction; then starts the workflow. It is no active job of
 * the item: an unplanned failover stays allowed, and ends it.
 */
export async function startResync(
  app: AppInvocation,
  vault: Pick<Vault, 'vaultId' | 'armId'>,
  { itemId, vmName, fabricName, containerName, itemName }: ProtectedItem,
  askedBy: AskedBy,
): Promise<Job> {
  const { vaultId } = vault;
  const job = await submitJob(app, {
    vaultId,
    kind: jobKinds.resynchronize,
    orchestrator: workflowNames.resynchronize,
    targetResourceId: protectedItemArmId(
      { armId: (suffix) => `${vault.armId}${suffix}` },
      { fabricName, containerName, itemName },
    ),
    targetObjectName: vmName,
    itemId,
    decide: async (jobName, now) => {
      const stored = await read(app.table, rows.item(vaultId, itemId));
      if (stored === undefined) throw notFound('replication protected item', itemName);
      const item = stored.value;
      refuseUnlessAllowed(item, 'RepairReplication');
      refusePaused(item);
      const { resyncRequired } = item.replication;
      if (askedBy === 'schedule' && resyncRequired === undefined) throw notMarked(item);
      const { failedAttempts } = resyncRequired ?? {};
      const changed: ProtectedItem = {
        ...item,
        state: nextState(item.state, operationStarts.RepairReplication) ?? item.state,
        replication: {
          ...item.replication,
          resync: {
            jobName,
            startedAt: now,
            ...(failedAttempts === undefined ? {} : { failedAttempts }),
            cause: resyncRequired?.reason ?? 'requested',
          },
        },
      };
      const input: ResynchronizeInput = {
        vaultId,
        itemId,
        protectionId: item.protectionId,
        jobName,
        // Who wants an item compared that nothing is known to be wrong with does not trust the site's record either.
        compareAll: resyncRequired === undefined,
      };
      return { operations: [replace(stored, changed)], input };
    },
  });
  await tellHealth(app, vaultId, itemId);
  return job;
}

/** It would wait for the resume, in a job that shows no progress. */
function refusePaused({ itemName, replication: { paused } }: ProtectedItem): void {
  if (!paused) return;
  throw new ApiError({
    code: 'US1022',
    armCode: 'ReplicationPaused',
    httpStatus: 409,
    target: itemName,
    message: `${itemName} cannot be resynchronized while its replication is paused`,
    possibleCauses: 'An operator paused replication.',
    recommendedAction: 'Resume replication first, then resynchronize.',
  });
}

const notMarked = ({ itemName }: ProtectedItem): ApiError =>
  new ApiError({
    code: 'US1007',
    armCode: 'OperationNotAllowed',
    httpStatus: 409,
    target: itemName,
    message: `${itemName} needs no resynchronization any more`,
    recommendedAction: 'Nothing: what was planned is done already.',
  });
