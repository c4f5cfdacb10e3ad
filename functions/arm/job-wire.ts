import type {
  ConsistencyCheckTaskDetails,
  FailoverJobDetails,
  Job as SdkJob,
  JobDetailsUnion,
  TaskTypeDetails,
  TestFailoverJobDetails,
} from '@azure/arm-recoveryservices-siterecovery';
import { Temporal } from 'temporal-polyfill';
import { allowedJobActions, isWaitingDrill } from '../../core/domain/jobs/transitions.js';
import type { Job, JobError } from '../../core/domain/jobs/job.js';
import { lastSegment } from './arm-id.js';
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

/** Codes of the site and its relay (US5…), and of storage and Azure (US6…): what the provider said, beside what the service makes of it. */
const ofProvider = /^US[56]\d{3}$/;

const errorToWire = (job: Job, error: JobError) => ({
  serviceErrorDetails: {
    code: error.code,
    message: error.message,
    possibleCauses: error.possibleCauses,
    recommendedAction: error.recommendedAction,
    activityId: job.jobName,
  },
  ...(ofProvider.test(error.code) && {
    providerErrorDetails: {
      errorCode: Number(error.code.slice(2)),
      errorMessage: error.message,
      errorId: error.code,
      possibleCauses: error.possibleCauses,
      recommendedAction: error.recommendedAction,
    },
  }),
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
  testFailover: 'WaitingForStopTestFailover',
};
const describe = (job: Job): string =>
  (job.suspendedFor === undefined ? undefined : waits[job.suspendedFor]) ??
  (job.state === 'Succeeded' && (job.inconsistentVms ?? []).length > 0 ? 'CompletedWithInformation' : undefined) ??
  descriptions[job.state];

/** What a job's target is, by the resource that its operation was called on; an item's is told by its id. */
const targetTypes: readonly (readonly [RegExp, string])[] = [
  [/\/replicationPolicies\//i, 'ProtectionProfile'],
  [/\/replicationRecoveryPlans\//i, 'RecoveryPlan'],
  [/\/replicationNetworks\//i, 'Network'],
  [/\/replicationProtectionContainers\//i, 'ProtectionContainer'],
  [/\/replicationFabrics\//i, 'Server'],
  [/\/replicationJobs\//i, 'Job'],
];
function targetType(job: Job): string {
  if (job.itemId !== undefined) return 'ProtectionEntity';
  return targetTypes.find(([pattern]) => pattern.test(job.targetResourceId))?.[1] ?? 'Vault';
}

const failovers: ReadonlySet<string> = new Set(['PlannedFailover', 'UnplannedFailover']);

/** By the scenario, as far as the SDK's models tell them apart. */
function jobDetails(job: Job): Wire<JobDetailsUnion> {
  const { scenarioName, itemId, targetObjectName, comments, restartOf, intent } = job;
  const affectedObjectDetails = {
    ...(restartOf === undefined ? {} : { restartOf }),
    ...(comments === undefined ? {} : { comments }),
  };
  const item = itemId === undefined ? [] : [{ name: itemId, friendlyName: targetObjectName }];
  if (scenarioName === 'TestFailover') {
    const { networkId } = intent.input as { networkId?: string };
    const details: Wire<TestFailoverJobDetails> = {
      instanceType: 'TestFailoverJobDetails',
      affectedObjectDetails,
      testFailoverStatus: isWaitingDrill(job) ? 'WaitingForCompletion' : job.state,
      comments: comments ?? '',
      networkType: networkId === undefined ? 'NoNetworkAttachAsInput' : 'VmNetworkAsInput',
      ...(networkId === undefined ? {} : { networkName: networkId, networkFriendlyName: lastSegment(networkId) }),
      protectedItemDetails: item,
    };
    return details;
  }
  if (!failovers.has(scenarioName)) return { instanceType: 'AsrJobDetails', affectedObjectDetails };
  const details: Wire<FailoverJobDetails> = {
    instanceType: 'FailoverJobDetails',
    affectedObjectDetails,
    protectedItemDetails: item,
  };
  return details;
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
      customDetails: jobDetails(job),
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
