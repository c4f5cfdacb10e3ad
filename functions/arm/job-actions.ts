import { randomUUID } from 'node:crypto';
import type { ResumeJobParamsProperties } from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { asJobName, asProtectionId, type JobName } from '../../core/domain/ids.js';
import type { Job } from '../../core/domain/jobs/job.js';
import {
  allowedJobActions,
  requestCancel,
  restartableItemJobs,
  resumeJob,
} from '../../core/domain/jobs/transitions.js';
import { withTest } from '../../core/domain/failover/test-failover.js';
import { begun } from '../../core/domain/protected-item/begin-operation.js';
import { unreplicated } from '../../core/domain/protected-item/unreplicated.js';
import type { PlanRunInput } from '../../core/domain/recovery-plan/plan-run.js';
import { workflowNames, type JobWorkflowInput } from '../../core/domain/workflows/workflows.js';
import { decideAndCommit, read, replace } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { refuseUnlessAllowed } from '../jobs/refuse-operation.js';
import { startResync } from '../jobs/start-resync.js';
import { submitJob } from '../jobs/submit-job.js';
import { jobToWire } from './job-wire.js';
import { exportBody, exportJobs } from './job-export.js';
import { jobOf } from './long-running.js';
import { notFound, ok, param, vaultOperation, vaultOperationWithBody, type VaultCall } from './operation.js';
import { submitPlanRun } from './recovery-plan-actions.js';
import type { ShapeOf } from './wire.js';

const resumeBody = z.object({
  properties: z
    .object({ comments: z.string().max(4096).nullish() } satisfies ShapeOf<ResumeJobParamsProperties>)
    .nullish(),
});

/** What operators may do with jobs. Their workflows go on, or begin anew: an answer says how the job stands then. */
export const jobActions = [
  vaultOperation(
    'replicationJobs.beginCancel',
    'POST',
    '~/replicationJobs/{jobName}/cancel',
    { summary: 'Has a job take back what it did and end', response: 'Job', longRunning: true, role: 'operator' },
    async (call) =>
      ok(jobToWire(call, await changeJob(call, namedJob(call), 'Cancel', (job, now) => requestCancel(job, now)))),
  ),
  vaultOperation(
    'replicationJobs.beginRestart',
    'POST',
    '~/replicationJobs/{jobName}/restart',
    {
      summary: 'Begins a job that failed anew, as a job of its own; its answer is that one',
      response: 'Job',
      longRunning: true,
      role: 'operator',
    },
    restart,
  ),
  vaultOperationWithBody(
    'replicationJobs.beginResume',
    'POST',
    '~/replicationJobs/{jobName}/resume',
    {
      summary: 'Lets a job go on that waits for an operator',
      request: 'ResumeJobParams',
      response: 'Job',
      longRunning: true,
      role: 'operator',
      body: resumeBody,
    },
    async (call, { properties }) => {
      const resumed = await changeJob(call, namedJob(call), 'Resume', (job) =>
        resumeJob(job, properties?.comments ?? ''),
      );
      return ok(jobToWire(call, resumed));
    },
  ),
  vaultOperationWithBody(
    'replicationJobs.beginExport',
    'POST',
    '~/replicationJobs/export',
    {
      summary: 'Writes the jobs that fit to a file, JSON or CSV; the job has its address, with a SAS of 15 minutes',
      request: 'JobQueryParameter',
      response: 'Job',
      longRunning: true,
      role: 'reader',
      body: exportBody,
    },
    exportJobs,
  ),
];

/** The job goes on in its own workflow: this is done with the row, and says how the job stands. */
export async function changeJob(
  call: VaultCall,
  jobName: JobName,
  action: 'Cancel' | 'Resume',
  change: (job: Job, now: string) => Job,
): Promise<Job> {
  const ref = rows.job(call.vaultId, jobName);
  const now = (await call.app.clock.now()).toString();
  const job = await decideAndCommit(call.app.table, ref.partition, async () => {
    const stored = await read(call.app.table, ref);
    if (stored === undefined) throw notFound('job', jobName);
    requireAction(stored.value, action);
    const changed = change(stored.value, now);
    return { operations: changed === stored.value ? [] : [replace(stored, changed)], result: changed };
  });
  await ringJob(call.app, job.waiter ?? job.jobName);
  return job;
}

const namedJob = (call: VaultCall): JobName => asJobName(param(call, 'jobName'));

/** The same order once more, under the item's, or the plan's, rules of now. */
async function restart(call: VaultCall): Promise<ApiResponse> {
  const old = await jobOf(call, param(call, 'jobName'));
  requireAction(old, 'Restart');
  if (old.intent.orchestrator === workflowNames.recoveryPlan) {
    const {
      operation,
      planName,
      groups: _,
      vaultId: _vault,
      jobName: _job,
      ...choices
    } = old.intent.input as PlanRunInput;
    const job = await submitPlanRun(call, planName, operation, choices, { restartOf: old.jobName });
    return ok(jobToWire(call, job));
  }
  return ok(jobToWire(call, await restartOfItem(call, old)));
}

async function restartOfItem(call: VaultCall, old: Job): Promise<Job> {
  const operation = restartableItemJobs[old.intent.orchestrator];
  const { itemId } = old;
  if (operation === undefined || itemId === undefined) throw actionRefused(old, 'Restart', allowedJobActions(old));
  const itemOf = async () => {
    const item = await read(call.app.table, rows.item(call.vaultId, itemId));
    if (item === undefined) throw notFound('replication protected item', old.targetObjectName);
    return item;
  };
  if (operation === 'RepairReplication') return startResync(call.app, call.vault, (await itemOf()).value, 'operator');
  return submitJob(call.app, {
    vaultId: call.vaultId,
    kind: old,
    orchestrator: old.intent.orchestrator,
    targetResourceId: old.targetResourceId,
    targetObjectName: old.targetObjectName,
    itemId,
    decide: async (jobName, now) => {
      const item = await itemOf();
      refuseUnlessAllowed(item.value, operation);
      const job = { jobName, scenarioName: old.scenarioName, startedAt: now };
      // A new life each time: blobs and workflows of an earlier one are never met again.
      const fresh =
        operation === 'EnableProtection'
          ? unreplicated({ ...item.value, protectionId: asProtectionId(randomUUID()) })
          : item.value;
      const next =
        operation === 'TestFailoverCleanup'
          ? withTest(fresh, { state: 'cleaningUp', cleanUpJobName: jobName })
          : begun(fresh, operation, job);
      const input = { ...(old.intent.input as JobWorkflowInput), jobName, protectionId: next.protectionId };
      return { operations: [replace(item, next)], input, details: { restartOf: old.jobName } };
    },
  });
}

function requireAction(job: Job, action: 'Cancel' | 'Resume' | 'Restart'): void {
  const allowed = allowedJobActions(job);
  if (!allowed.includes(action)) throw actionRefused(job, action, allowed);
}

/** The row is committed: a workflow that does not hear of it now reads it within a minute. */
async function ringJob(app: AppInvocation, jobName: string): Promise<void> {
  try {
    await app.workflows.ring(jobName);
  } catch (error) {
    app.log(`job ${jobName} could not be woken now; it looks again by itself`, error);
  }
}

function actionRefused(job: Job, action: string, allowed: readonly string[]): ApiError {
  const what = allowed.length === 0 ? 'nothing can be asked of it' : `it allows ${allowed.join(' and ')}`;
  return new ApiError({
    code: 'US1025',
    httpStatus: 409,
    target: job.jobName,
    message: `${action} is not allowed for job ${job.jobName}, which is ${job.state}: ${what}`,
    possibleCauses:
      'The job is in another state, is a part of a recovery plan’s run, or is of a kind that goes on by itself.',
    recommendedAction:
      job.suspendedFor === 'testFailover'
        ? 'Clean the test failover up: that ends its job.'
        : 'See the job’s state and allowedActions.',
    details: { state: job.state, allowedActions: allowed },
  });
}
