import type { Job as SdkJob, TaskTypeDetails } from '@azure/arm-recoveryservices-siterecovery';
import { Temporal } from 'temporal-polyfill';
import { list } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import type { Job, JobError } from '../../core/domain/jobs/job.js';
import { instantOf, parseFilter, type FilterTerm } from './filter.js';
import { jobOf } from './long-running.js';
import { collection, ok, param, vaultOperation, type VaultCall } from './operation.js';
import type { Wire } from './wire.js';

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
      stateDescription: descriptions[job.state],
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
      allowedActions: [],
      targetObjectId: job.itemId ?? job.targetObjectName,
      targetObjectName: job.targetObjectName,
      targetInstanceType: targetType(job),
      customDetails: { instanceType: 'AsrJobDetails', affectedObjectDetails: {} },
    },
  };
}

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
];
