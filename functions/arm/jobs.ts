import type {
  Job as SdkJob,
  ResumeJobParamsProperties,
  TaskTypeDetails,
} from '@azure/arm-recoveryservices-siterecovery';
import { Temporal } from 'temporal-polyfill';
import { z } from 'zod';
import { asJobName } from '../../core/domain/ids.js';
import { allowedJobActions, requestCancel, resumeJob } from '../../core/domain/jobs/transitions.js';
import { decideAndCommit, list, read, replace } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import type { Job, JobError } from '../../core/domain/jobs/job.js';
import { instantOf, parseFilter, type FilterTerm } from './filter.js';
import { jobOf } from './long-running.js';
import {
  collection,
  notFound,
  ok,
  param,
  vaultOperation,
  vaultOperationWithBody,
  type VaultCall,
} from './operation.js';
import type { AppInvocation } from '../app.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import type { ShapeOf, Wire } from './wire.js';

/** What clients expect in place of a time that has not come. */
const noTime = '0001-01-01T00:00:00Z';

/** The recordings carry this word; the SDK's models name the derived kinds only, and its clients take any. */
const plainTaskDetails = { instanceType: 'TaskDetails' } as unknown as Wire<TaskTypeDetails>;

export const jobArmId = (call: VaultCall, jobName: string): string => call.armId(`/replicationJobs/${jobName}`);

const errorToWire = (job: Job, error: JobError) => ({
  serviceErrorDetails: {
    code: error.code,
    message: error.message,
    possibleCauses: error.possibleCauses,
    recommendedAction: error.recommendedAction,
    activityId: job.jobName,
  },
  errorLevel: 'Error',
  creationTime: error.at,
  taskId: error.taskId,
});

const descriptions: Record<Job['state'], string> = {
  NotStarted: 'NotStarted',
  InProgress: 'InProgress',
  Succeeded: 'Completed',
  Failed: 'Failed',
  Cancelled: 'Cancelled',
  Suspended: 'WaitingForFinalizeProtection',
};

const describe = (job: Job): string =>
  job.suspendedFor === 'failbackCompletion' ? 'WaitingForFailbackCompletion' : descriptions[job.state];

function targetType(job: Job): string {
  if (job.itemId !== undefined) return 'ProtectionEntity';
  return job.targetResourceId.includes('/replicationPolicies/') ? 'ProtectionProfile' : 'ProtectionContainer';
}

export function jobToWire(call: VaultCall, job: Job): Wire<SdkJob> {
  return {
    id: jobArmId(call, job.jobName),
    name: job.jobName,
    type: 'Microsoft.RecoveryServices/vaults/replicationJobs',
    properties: {
      activityId: job.jobName,
      scenarioName: job.scenarioName,
      friendlyName: job.friendlyName,
      state: job.state,
      stateDescription: describe(job),
      tasks: job.tasks.map((task) => ({
        taskId: task.taskId,
        name: task.name,
        friendlyName: task.friendlyName,
        startTime: task.startedAt ?? noTime,
        endTime: task.endedAt ?? noTime,
        allowedActions: [],
        state: task.state,
        stateDescription: descriptions[task.state],
        taskType: 'TaskDetails',
        customDetails: plainTaskDetails,
        errors: job.errors.filter((error) => error.taskId === task.taskId).map((error) => errorToWire(job, error)),
      })),
      errors: job.errors.map((error) => errorToWire(job, error)),
      startTime: job.startedAt ?? job.createdAt,
      endTime: job.endedAt ?? noTime,
      allowedActions: allowedJobActions(job),
      targetObjectId: job.itemId ?? job.targetObjectName,
      targetObjectName: job.targetObjectName,
      targetInstanceType: targetType(job),
      customDetails: { instanceType: 'AsrJobDetails', affectedObjectDetails: {} },
    },
  };
}

const resumeBody = z.object({
  properties: z
    .object({ comments: z.string().max(4096).nullish() } satisfies ShapeOf<ResumeJobParamsProperties>)
    .nullish(),
});

const filterNames = ['jobStatus', 'jobName', 'startTime', 'endTime', 'affectedObjectTypes'] as const;

/** `startTime` and `endTime` bound the job's start, as the public clients use them: with `eq` too. */
function keeps(job: Job, term: FilterTerm): boolean {
  const started = Temporal.Instant.from(job.startedAt ?? job.createdAt);
  const same = (left: string): boolean => left.toLowerCase() === term.value.toLowerCase();
  switch (term.name as (typeof filterNames)[number]) {
    case 'jobStatus':
      return same(job.state);
    case 'jobName':
      return same(job.scenarioName) || same(job.jobName);
    case 'startTime':
      return Temporal.Instant.compare(started, instantOf(term)) >= 0;
    case 'endTime':
      return Temporal.Instant.compare(started, instantOf(term)) <= 0;
    case 'affectedObjectTypes':
      return same(targetType(job));
  }
}

export const jobOperations = [
  vaultOperation(
    'replicationJobs.list',
    'GET',
    '~/replicationJobs',
    { summary: 'Jobs of the vault, newest first', response: 'JobCollection', query: ['$filter'] },
    async (call) => {
      const terms = parseFilter(call.query.get('$filter'), filterNames);
      const jobs = await list(call.app.table, rows.jobs(call.vaultId));
      const kept = jobs.map(({ value }) => value).filter((job) => terms.every((term) => keeps(job, term)));
      return collection(kept.reverse().map((job) => jobToWire(call, job)));
    },
  ),
  vaultOperation(
    'replicationJobs.get',
    'GET',
    '~/replicationJobs/{jobName}',
    { summary: 'One job', response: 'Job' },
    async (call) => ok(jobToWire(call, await jobOf(call, param(call, 'jobName')))),
  ),
  vaultOperation(
    'replicationJobs.beginCancel',
    'POST',
    '~/replicationJobs/{jobName}/cancel',
    { summary: 'Has a job take back what it did and end', response: 'Job', longRunning: true, role: 'operator' },
    (call) => changeJob(call, 'Cancel', (job, now) => requestCancel(job, now)),
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
    (call, { properties }) => changeJob(call, 'Resume', (job) => resumeJob(job, properties?.comments ?? '')),
  ),
];

/** The job goes on in its own workflow: this is done with the row, and says how the job stands. */
async function changeJob(
  call: VaultCall,
  action: 'Cancel' | 'Resume',
  change: (job: Job, now: string) => Job,
): Promise<ApiResponse> {
  const ref = rows.job(call.vaultId, asJobName(param(call, 'jobName')));
  const now = (await call.app.clock.now()).toString();
  const job = await decideAndCommit(call.app.table, ref.partition, async () => {
    const stored = await read(call.app.table, ref);
    if (stored === undefined) throw notFound('job', param(call, 'jobName'));
    const allowed = allowedJobActions(stored.value);
    if (!allowed.includes(action)) throw actionRefused(stored.value, action, allowed);
    const changed = change(stored.value, now);
    return { operations: changed === stored.value ? [] : [replace(stored, changed)], result: changed };
  });
  await ringJob(call.app, job.jobName);
  return ok(jobToWire(call, job));
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
    possibleCauses: 'The job has ended, or is of a kind that goes on by itself.',
    recommendedAction:
      job.suspendedFor === 'testFailover'
        ? 'Clean the test failover up: that ends its job.'
        : 'See the job’s state and allowedActions.',
    details: { state: job.state, allowedActions: allowed },
  });
}
