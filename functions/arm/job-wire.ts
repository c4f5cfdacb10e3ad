import type {
  ConsistencyCheckTaskDetails,
  Job as SdkJob,
  TaskTypeDetails,
} from '@azure/arm-recoveryservices-siterecovery';
import { Temporal } from 'temporal-polyfill';
import { allowedJobActions } from '../../core/domain/jobs/transitions.js';
import type { Job, JobError } from '../../core/domain/jobs/job.js';
import { instantOf, type FilterTerm } from './filter.js';
import type { VaultCall } from './operation.js';
import type { Wire } from './wire.js';

/** What clients expect in place of a time that has not come. */
const noTime = '0001-01-01T00:00:00Z';

/** The recordings carry this word; the SDK's models name the derived kinds only, and its clients take any. */
const plainTaskDetails = { instanceType: 'TaskDetails' } as unknown as Wire<TaskTypeDetails>;

const taskDetails = ({ inconsistentVms }: Job): Wire<TaskTypeDetails> => {
  if (inconsistentVms === undefined) return plainTaskDetails;
  const details: Wire<ConsistencyCheckTaskDetails> = {
    instanceType: 'ConsistencyCheckTaskDetails',
    vmDetails: inconsistentVms,
  };
  return details;
};

export const jobArmId = (call: VaultCall, jobName: string): string => call.armId(`/replicationJobs/${jobName}`);

const errorToWire = (job: Job, error: JobError) => ({
  serviceErrorDetails: {
    code: error.code,
    message: error.message,
    possibleCauses: error.possibleCauses,
    recommendedAction: error.recommendedAction,
    activityId: job.jobName,
  },
  // What a job survived.
  errorLevel: job.state === 'Succeeded' ? 'Warning' : 'Error',
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

const waits: Partial<Record<NonNullable<Job['suspendedFor']>, string>> = {
  failbackCompletion: 'WaitingForFailbackCompletion',
  manualAction: 'WaitingForManualAction',
};
const describe = (job: Job): string =>
  (job.suspendedFor === undefined ? undefined : waits[job.suspendedFor]) ??
  (job.state === 'Succeeded' && (job.inconsistentVms ?? []).length > 0 ? 'CompletedWithInformation' : undefined) ??
  descriptions[job.state];

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
        customDetails: taskDetails(job),
        errors: job.errors.filter((error) => error.taskId === task.taskId).map((error) => errorToWire(job, error)),
      })),
      errors: job.errors.map((error) => errorToWire(job, error)),
      startTime: job.startedAt ?? job.createdAt,
      endTime: job.endedAt ?? noTime,
      allowedActions: allowedJobActions(job),
      targetObjectId: job.itemId ?? job.targetObjectName,
      targetObjectName: job.targetObjectName,
      targetInstanceType: targetType(job),
      customDetails: {
        instanceType: 'AsrJobDetails',
        affectedObjectDetails: job.restartOf === undefined ? {} : { restartOf: job.restartOf },
      },
    },
  };
}

export const jobFilterNames = ['jobStatus', 'jobName', 'startTime', 'endTime', 'affectedObjectTypes'] as const;

/** `startTime` and `endTime` bound the job's start, as the public clients use them: with `eq` too. */
export function keepsJob(job: Job, term: FilterTerm): boolean {
  const started = Temporal.Instant.from(job.startedAt ?? job.createdAt);
  const same = (left: string): boolean => left.toLowerCase() === term.value.toLowerCase();
  switch (term.name as (typeof jobFilterNames)[number]) {
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
