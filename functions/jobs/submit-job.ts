import { v7 as timeOrderedUuid } from 'uuid';
import type { RowOperation } from '../../core/ports/state-table.js';
import type { ItemId, JobName, VaultId } from '../../core/domain/ids.js';
import { asJobName } from '../../core/domain/ids.js';
import type { Job, JobKind } from '../../core/domain/jobs/job.js';
import { decideAndCommit, insert } from '../../core/records/access.js';
import { rows, vaultPartition } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { whileVaultStands } from '../arm/operation.js';

/** What a job's row has from the start beside what every job has. */
export type JobDetails = Partial<Pick<Job, 'inconsistentVms' | 'exported' | 'restartOf' | 'errors'>>;

export interface JobRequest {
  vaultId: VaultId;
  kind: JobKind;
  orchestrator: string;
  /** ARM id of the resource that the operation was called on. */
  targetResourceId: string | ((jobName: JobName) => string);
  targetObjectName: string;
  itemId?: ItemId;
  /**
   * Reads and decides, perhaps several times: the rows that change with the job, and the workflow's input. A refusal is thrown.
   * `now` is business time. `tasks`, where they follow from what was read, take the place of the kind's.
   */
  decide: (
    jobName: JobName,
    now: string,
  ) => Promise<{ operations: RowOperation[]; input: object; tasks?: JobKind['tasks']; details?: JobDetails }>;
}

/**
 * Writes the job row together with the state change that it stands for, then starts its workflow. When the start fails the job
 * row is the intent, and the sweep starts it (docs/architecture.md, rule 12).
 */
export async function submitJob(app: AppInvocation, request: JobRequest): Promise<Job> {
  const businessNow = await app.clock.now();
  const now = businessNow.toString();
  // Business time, as in the jobs that workflows submit: names sort in the order that the operator saw.
  const jobName = asJobName(timeOrderedUuid({ msecs: businessNow.epochMilliseconds }));
  const job = await decideAndCommit(app.table, vaultPartition(request.vaultId), async () => {
    const { operations, input, tasks = request.kind.tasks, details = {} } = await request.decide(jobName, now);
    const decided: Job = {
      jobName,
      scenarioName: request.kind.scenarioName,
      friendlyName: request.kind.friendlyName,
      state: 'NotStarted',
      tasks: tasks.map((task, index) => ({
        taskId: `${jobName}-${index + 1}`,
        name: task.name,
        friendlyName: task.friendlyName,
        state: 'NotStarted',
      })),
      errors: [],
      createdAt: now,
      targetResourceId:
        typeof request.targetResourceId === 'string' ? request.targetResourceId : request.targetResourceId(jobName),
      targetObjectName: request.targetObjectName,
      ...(request.itemId === undefined ? {} : { itemId: request.itemId }),
      ...details,
      intent: { orchestrator: request.orchestrator, input },
    };
    // A vault with items is not deleted.
    const guard = request.itemId === undefined ? [await whileVaultStands(app.table, request.vaultId)] : [];
    return {
      operations: [...guard, ...operations, insert(rows.job(request.vaultId, jobName), decided)],
      result: decided,
    };
  });
  await startJob(app, job);
  return job;
}

async function startJob(app: AppInvocation, job: Job): Promise<void> {
  try {
    await app.workflows.startNew(job.intent.orchestrator, job.jobName, job.intent.input as object);
  } catch (error) {
    app.log(`the workflow of job ${job.jobName} could not be started now; the sweep will start it`, error);
  }
}
