import type { ReplicationEvent } from '../health/health-events.js';
import type { Job } from './job.js';

/** Scenarios whose failure must not wait until somebody looks. */
const urgent: ReadonlySet<string> = new Set([
  'PlannedFailover',
  'UnplannedFailover',
  'CommitFailover',
  'ReverseReplicate',
  'ReprotectReplicationGroup',
]);

/** What is told of a job that failed. A part of a recovery plan's run is no more than a warning: the plan's own job is told. */
export function jobFailureEvent(job: Job): Omit<ReplicationEvent, 'eventName'> {
  const { jobName, friendlyName, scenarioName, targetObjectName, targetResourceId, errors, endedAt, itemId } = job;
  const [first] = errors;
  const [, fabricName = ''] = /\/replicationFabrics\/([^/]+)/i.exec(targetResourceId) ?? [];
  const [, containerName = ''] = /\/replicationProtectionContainers\/([^/]+)/i.exec(targetResourceId) ?? [];
  return {
    kind: 'raised',
    eventType: 'JobFailure',
    job: { jobName, friendlyName },
    itemId: itemId ?? targetObjectName,
    vmName: targetObjectName,
    fabricName,
    containerName,
    severity: urgent.has(scenarioName) && job.planJobName === undefined ? 'Critical' : 'Warning',
    code: first?.code ?? 'JobFailed',
    description: `${friendlyName} failed`,
    message: `${friendlyName} failed: ${first?.message ?? 'see the job'} (job ${jobName})`,
    possibleCauses: first?.possibleCauses ?? '',
    recommendedAction: first?.recommendedAction ?? 'See the job for its tasks and errors.',
    at: endedAt ?? job.createdAt,
  };
}
