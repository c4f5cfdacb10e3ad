import { endJob, startTask, succeedJob, warnInJob } from '../core/domain/jobs/transitions.js';
import type { Job } from '../core/domain/jobs/job.js';
import type { JobName, VaultId } from '../core/domain/ids.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { nextState, type ProtectionEvent } from '../core/domain/protected-item/state-table.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { RowOperation } from '../core/ports/state-table.js';
import { decideAndCommit, read, replace } from '../core/records/access.js';
import { owned } from '../core/records/item-change.js';
import { endedJobRows } from '../core/records/job-end.js';
import { rows, vaultPartition } from '../core/records/rows.js';
import type { Activity, ActivityDependencies } from './activity.js';
import type { activities, JobOutcome } from './contract.js';

type Needs = Pick<ActivityDependencies, 'table' | 'clock'>;

/** Changes a job's row unless it is so already; a job that is gone needs no change. */
async function changeJob(
  { table }: Needs,
  vaultId: VaultId,
  jobName: JobName,
  change: (job: Job) => Job,
): Promise<Record<string, never>> {
  return decideAndCommit(table, vaultPartition(vaultId), async () => {
    const stored = await read(table, rows.job(vaultId, jobName));
    const changed = stored && change(stored.value);
    return { operations: stored && changed !== stored.value && changed ? [replace(stored, changed)] : [], result: {} };
  });
}

export const makeStartJobTask =
  (needs: Needs): Activity<typeof activities.startJobTask> =>
  async ({ vaultId, jobName, taskName }) => {
    const now = (await needs.clock.now()).toString();
    return changeJob(needs, vaultId, jobName, (job) => startTask(job, taskName, now));
  };

export const makeWarnInJob =
  (needs: Needs): Activity<typeof activities.warnInJob> =>
  async ({ vaultId, jobName, warning }) =>
    addWarning(needs, { vaultId, jobName }, warning);

/** A job tells the same warning once. */
export async function addWarning(
  needs: Needs,
  { vaultId, jobName }: { vaultId: VaultId; jobName: JobName },
  warning: WorkflowFailure,
): Promise<Record<string, never>> {
  const now = (await needs.clock.now()).toString();
  return changeJob(needs, vaultId, jobName, (job) => warnInJob(job, warning, now));
}

export const makeConcludeJob =
  ({ table, clock }: Needs): Activity<typeof activities.concludeJob> =>
  async ({ vaultId, jobName, outcome, item: concluded }) => {
    return decideAndCommit(table, vaultPartition(vaultId), async () => {
      const endedAt = await clock.now();
      const now = endedAt.toString();
      const operations: RowOperation[] = [];
      const job = await read(table, rows.job(vaultId, jobName));
      const item = concluded && (await read(table, rows.item(vaultId, concluded.itemId)));
      // Once the job is off the item, the event was taken: a repeat must not move the state again.
      const isWorking = concluded && owned(item, concluded) && item.value.activeJob?.jobName === jobName;
      const undone = isWorking && outcome.kind === 'succeeded' ? item.value.activeJob?.undone : undefined;
      if (job) {
        const ended =
          outcome.kind === 'succeeded' && undone === undefined
            ? succeedJob(job.value, now)
            : endJob(
                job.value,
                outcome.kind === 'cancelled' ? 'Cancelled' : 'Failed',
                undone ?? failuresOf(outcome),
                now,
              );
        operations.push(...endedJobRows(vaultId, job, ended, endedAt));
      }
      if (isWorking) {
        const event = undone === undefined ? concluded.event : undoneEvent(item.value, concluded.event);
        operations.push(replace(item, afterJob(item.value, event, now)));
      }
      return { operations, result: {} };
    });
  };

const failuresOf = (outcome: JobOutcome): WorkflowFailure[] => (outcome.kind === 'succeeded' ? [] : outcome.failures);

/** What became of the item where a late run of the undoing took back what the job had just done. */
function undoneEvent({ replication }: ProtectedItem, finished: ProtectionEvent): ProtectionEvent {
  if (finished === 'plannedFailoverFinished') return 'plannedFailoverGivenBack';
  if (finished === 'failbackFinished') return 'failbackGivenBack';
  return replication.phase === 'stopped' ? 'unplannedFailoverFailed' : 'unplannedFailoverRefused';
}

function afterJob(item: ProtectedItem, event: ProtectionEvent, now: string): ProtectedItem {
  const { activeJob: _, ...rest } = item;
  // Whether a resynchronization still runs is known only now: it may have ended since the failover was refused.
  const isInResync = event === 'unplannedFailoverRefused' && item.replication.resync !== undefined;
  return {
    ...rest,
    state: nextState(item.state, isInResync ? 'unplannedFailoverRefusedInResync' : event) ?? item.state,
    ...(event === 'unplannedFailoverFinished' ? { lastSuccessfulFailoverAt: now } : {}),
  };
}
