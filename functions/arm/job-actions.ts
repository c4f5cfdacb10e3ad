import { randomUUID } from 'node:crypto';
import type { ResumeJobParamsProperties } from '@azure/arm-recoveryservices-siterecovery';
import { z } from 'zod';
import { asJobName, asProtectionId, type ItemId, type JobName } from '../../core/domain/ids.js';
import { jobKinds, type Job } from '../../core/domain/jobs/job.js';
import {
  allowedJobActions,
  isWaitingDrill,
  requestCancel,
  restartableItemJobs,
  resumeJob,
} from '../../core/domain/jobs/transitions.js';
import { withNewTest, withTest } from '../../core/domain/failover/test-failover.js';
import { begun } from '../../core/domain/protected-item/begin-operation.js';
import { unreplicated } from '../../core/domain/protected-item/unreplicated.js';
import type { RecoveryPlan } from '../../core/domain/recovery-plan/recovery-plan.js';
import type { PlanRunInput } from '../../core/domain/recovery-plan/plan-run.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import type { ProtectionOperation } from '../../core/domain/protected-item/state-table.js';
import {
  workflowNames,
  type JobWorkflowInput,
  type TestFailoverCleanUpInput,
  type TestFailoverInput,
} from '../../core/domain/workflows/workflows.js';
import { decideAndCommit, list, read, replace, type Stored } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { ApiError } from '../http/api-error.js';
import { requireRole } from '../http/authentication.js';
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
    {
      summary: 'Has a job take back what it did and end; that of a test failover that is up has it cleaned up',
      response: 'Job',
      longRunning: true,
      role: 'operator',
    },
    async (call) =>
      (await cleanedUp(call, 'Cancel', '')) ??
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
      summary: 'Lets a job go on that waits for an operator; that of a test failover that is up has it cleaned up',
      request: 'ResumeJobParams',
      response: 'Job',
      longRunning: true,
      role: 'operator',
      body: resumeBody,
    },
    async (call, { properties }) => {
      const comments = properties?.comments ?? '';
      const drill = await cleanedUp(call, 'Resume', comments);
      if (drill !== undefined) return drill;
      return ok(jobToWire(call, await changeJob(call, namedJob(call), 'Resume', (job) => resumeJob(job, comments))));
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
      role: 'operator',
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

/** Where the job is that of a test failover which is up: the clean-up that an operator would ask for. Answers with the job of the drill. */
async function cleanedUp(
  call: VaultCall,
  action: 'Cancel' | 'Resume',
  comments: string,
): Promise<ApiResponse | undefined> {
  const drill = await jobOf(call, param(call, 'jobName'));
  if (!isWaitingDrill(drill)) return undefined;
  requireAction(drill, action);
  const { itemId } = drill;
  if (itemId === undefined) {
    const { planName } = drill.intent.input as PlanRunInput;
    const ofThisDrill = (plan: RecoveryPlan): void => {
      if (plan.test?.jobName !== drill.jobName) throw actionRefused(drill, action, []);
    };
    await submitPlanRun(call, planName, 'TestFailoverCleanup', { comments }, { requirePlan: ofThisDrill });
    return ok(jobToWire(call, drill));
  }
  await submitJob(call.app, {
    vaultId: call.vaultId,
    kind: jobKinds.testFailoverCleanUp,
    orchestrator: workflowNames.testFailoverCleanUp,
    targetResourceId: drill.targetResourceId,
    targetObjectName: drill.targetObjectName,
    itemId,
    decide: async (jobName) => {
      const item = await itemOfJob(call, drill, itemId);
      refuseUnlessAllowed(item.value, 'TestFailoverCleanup');
      if (item.value.testFailover?.jobName !== drill.jobName) throw actionRefused(drill, action, []);
      const { protectionId } = item.value;
      const input: TestFailoverCleanUpInput = { vaultId: call.vaultId, itemId, protectionId, jobName, comments };
      const next = withTest(item.value, { state: 'cleaningUp', cleanUpJobName: jobName });
      return { operations: [replace(item, next)], input };
    },
  });
  return ok(jobToWire(call, drill));
}

async function itemOfJob(call: VaultCall, job: Job, itemId: ItemId): Promise<Stored<ProtectedItem>> {
  const item = await read(call.app.table, rows.item(call.vaultId, itemId));
  if (item === undefined) throw notFound('replication protected item', job.targetObjectName);
  return item;
}

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
    const job = await submitPlanRun(call, planName, operation, choices, { details: { restartOf: old.jobName } });
    return ok(jobToWire(call, job));
  }
  return ok(jobToWire(call, await restartOfItem(call, old)));
}

async function restartOfItem(call: VaultCall, old: Job): Promise<Job> {
  const operation = restartableItemJobs[old.intent.orchestrator];
  const { itemId } = old;
  if (operation === undefined || itemId === undefined) throw actionRefused(old, 'Restart', allowedJobActions(old));
  requireRole(call.caller, contributorsOrders.includes(operation) ? 'contributor' : 'operator');
  const itemOf = async () => {
    const item = await itemOfJob(call, old, itemId);
    await refuseOutdated(call, old, item.value);
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
      const next = beginAgain(item.value, operation, { ...old, jobName }, now);
      const input = { ...(old.intent.input as JobWorkflowInput), jobName, protectionId: next.protectionId };
      return { operations: [replace(item, next)], input, details: { restartOf: old.jobName } };
    },
  });
}

function beginAgain(
  item: ProtectedItem,
  operation: ProtectionOperation,
  { jobName, scenarioName, intent }: Job,
  startedAt: string,
): ProtectedItem {
  const job = { jobName, scenarioName, startedAt };
  switch (operation) {
    case 'EnableProtection':
      // A new life each time: blobs and workflows of an earlier one are never met again.
      return begun(unreplicated({ ...item, protectionId: asProtectionId(randomUUID()) }), operation, job);
    case 'TestFailover':
      return withNewTest(item, jobName, startedAt, (intent.input as TestFailoverInput).networkId);
    case 'TestFailoverCleanup':
      return withTest(item, { state: 'cleaningUp', cleanUpJobName: jobName });
    default:
      return begun(item, operation, job);
  }
}

/** Their operations are a contributor's. */
const contributorsOrders: readonly ProtectionOperation[] = ['EnableProtection', 'DisableProtection'];

/** What was ordered for an earlier life of the item, or was ordered again since, does not hold for the present one. */
async function refuseOutdated(call: VaultCall, old: Job, item: ProtectedItem): Promise<void> {
  const jobs = await list(call.app.table, rows.jobs(call.vaultId));
  const later = jobs.find(
    ({ value: { itemId, jobName, intent } }) =>
      itemId === old.itemId && intent.orchestrator === old.intent.orchestrator && jobName > old.jobName,
  );
  if (later === undefined && (old.intent.input as JobWorkflowInput).protectionId === item.protectionId) return;
  const since = later === undefined ? 'was protected anew' : `has the later job ${later.value.jobName}`;
  throw new ApiError({
    code: 'US1025',
    armCode: 'Conflict',
    httpStatus: 409,
    target: old.jobName,
    message: `job ${old.jobName} is not begun anew: ${item.vmName} ${since}`,
    possibleCauses: 'The job is of an earlier time, or was begun anew already.',
    recommendedAction: 'Call the operation itself, with what is wanted now; or restart the later job.',
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
    recommendedAction: 'See the job’s state and allowedActions.',
    details: { state: job.state, allowedActions: allowed },
  });
}
