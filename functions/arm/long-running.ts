import { read } from '../../core/records/access.js';
import { rows } from '../../core/records/rows.js';
import { asJobName } from '../../core/domain/ids.js';
import type { Job } from '../../core/domain/jobs/job.js';
import { isWaitingDrill } from '../../core/domain/jobs/transitions.js';
import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { notFound, ok, param, vaultOperation, type VaultCall } from './operation.js';

const versionQuery = (call: VaultCall): string => `?api-version=${encodeURIComponent(call.apiVersion)}`;

const retryAfter = (call: VaultCall): Record<string, string> => ({ 'Retry-After': String(call.app.retryAfterSeconds) });

const resultUrl = (call: VaultCall, job: Job): string =>
  `${call.origin}${job.targetResourceId}/operationresults/${job.jobName}${versionQuery(call)}`;

/** The first answer of a long-running operation: 202, no body, and where to look. */
export function accepted(call: VaultCall, job: Job): ApiResponse {
  return {
    status: 202,
    headers: {
      'Azure-AsyncOperation': `${call.origin}${call.armId(`/replicationOperationStatus/${job.jobName}`)}${versionQuery(call)}`,
      Location: resultUrl(call, job),
      ...retryAfter(call),
    },
  };
}

const statusWords = {
  NotStarted: 'InProgress',
  InProgress: 'InProgress',
  Suspended: 'InProgress',
  Succeeded: 'Succeeded',
  Failed: 'Failed',
  Cancelled: 'Canceled',
} as const satisfies Record<Job['state'], string>;

/** Where the operation ended before its job: with its last task. */
const endTime = (job: Job): string | undefined =>
  job.endedAt ?? (isWaitingDrill(job) ? job.tasks.at(-1)?.endedAt : undefined);

function percentComplete(job: Job): number {
  if (job.state === 'Succeeded' || isWaitingDrill(job)) return 100;
  const done = job.tasks.filter((task) => task.state === 'Succeeded').length;
  return job.tasks.length === 0 ? 0 : Math.min(99, Math.round((100 * done) / job.tasks.length));
}

function failureOf(job: Job): { code: string; message: string; possibleCauses: string; recommendedAction: string } {
  const first = job.errors[0];
  return {
    code: first?.code ?? (job.state === 'Cancelled' ? 'OperationCanceled' : 'OperationFailed'),
    message: first?.message ?? `the job ${job.jobName} ended as ${job.state}`,
    possibleCauses: first?.possibleCauses ?? '',
    recommendedAction: first?.recommendedAction ?? 'Look at the job for its tasks and errors.',
  };
}

export async function jobOf(call: VaultCall, jobName: string): Promise<Job> {
  const found = await read(call.app.table, rows.job(call.vaultId, asJobName(jobName)));
  if (found === undefined) throw notFound('job', jobName);
  return found.value;
}

/** An error beside success is a warning: what the job survived. */
const hasWarnings = (job: Job, status: string): boolean => status === 'Succeeded' && job.errors.length > 0;

async function operationStatus(call: VaultCall): Promise<ApiResponse> {
  const job = await jobOf(call, param(call, 'jobName'));
  // A test failover is done when its VM runs; its job goes on waiting for the clean-up.
  const status = isWaitingDrill(job) ? 'Succeeded' : statusWords[job.state];
  const ended = status !== 'InProgress';
  return {
    status: 200,
    body: {
      id: call.armId(`/replicationOperationStatus/${job.jobName}`),
      name: job.jobName,
      status,
      startTime: job.startedAt ?? job.createdAt,
      endTime: endTime(job),
      percentComplete: percentComplete(job),
      properties: null,
      error: status === 'Failed' || status === 'Canceled' || hasWarnings(job, status) ? failureOf(job) : null,
    },
    ...(ended ? {} : { headers: retryAfter(call) }),
  };
}

/** 202 while it runs, then the resource that the operation was called on, or 204 when that is gone. */
async function operationResult(call: VaultCall): Promise<ApiResponse> {
  const job = await jobOf(call, param(call, 'jobName'));
  const asked = call.request.url.pathname.replace(/\/operationresults\/[^/]+\/?$/i, '');
  if (decodeURIComponent(asked).toLowerCase() !== job.targetResourceId.toLowerCase())
    throw notFound('operation result', asked);
  switch (isWaitingDrill(job) ? 'Succeeded' : job.state) {
    case 'NotStarted':
    case 'InProgress':
    case 'Suspended':
      return { status: 202, headers: { Location: resultUrl(call, job), ...retryAfter(call) } };
    case 'Failed':
    case 'Cancelled': {
      const failure = failureOf(job);
      throw new ApiError({
        code: 'US1019',
        armCode: failure.code,
        httpStatus: 409,
        target: job.jobName,
        message: failure.message,
        possibleCauses: failure.possibleCauses,
        recommendedAction: failure.recommendedAction,
      });
    }
    case 'Succeeded':
      try {
        return ok((await call.get(job.targetResourceId)).body);
      } catch (error) {
        if (error instanceof ApiError && error.httpStatus === 404) return { status: 204 };
        throw error;
      }
  }
}

export const longRunningOperations = [
  vaultOperation(
    'replicationOperationStatus.get',
    'GET',
    '~/replicationOperationStatus/{jobName}',
    { summary: 'How far a long-running operation is (Azure-AsyncOperation)' },
    operationStatus,
  ),
  vaultOperation(
    'operationResults.get',
    'GET',
    '~/{*resource}/operationresults/{jobName}',
    { summary: 'What a long-running operation ended with (Location)' },
    operationResult,
  ),
];
