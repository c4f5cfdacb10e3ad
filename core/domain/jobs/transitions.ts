import type { JobName } from '../ids.js';
import type { ProtectionOperation } from '../protected-item/state-table.js';
import { workflowNames } from '../workflows/workflows.js';
import type { WorkflowFailure } from '../workflows/failure.js';
import type { Job, JobKind, JobState, JobTask } from './job.js';

/**
 * How a job's row changes. Pure, and harmless to repeat: a change that was made already gives the same job back, so that the
 * caller writes nothing.
 */
const ended: readonly JobState[] = ['Succeeded', 'Failed', 'Cancelled'];
export const hasEnded = (job: Job): boolean => ended.includes(job.state);

/** All tasks up front, none started. */
export const plannedTasks = (jobName: JobName, kind: JobKind): JobTask[] =>
  kind.tasks.map(({ name, friendlyName }, index) => ({
    taskId: `${jobName}-${index + 1}`,
    name,
    friendlyName,
    state: 'NotStarted',
  }));

/** The named task runs now, and every task before it has succeeded. */
export function startTask(job: Job, taskName: string, now: string): Job {
  const index = job.tasks.findIndex(({ name }) => name === taskName);
  if (index < 0) throw new RangeError(`job ${job.jobName} has no task ${taskName}`);
  if (hasEnded(job) || job.tasks[index]?.state !== 'NotStarted') return job;
  return {
    ...working(job),
    state: 'InProgress',
    startedAt: job.startedAt ?? now,
    tasks: job.tasks.map((task, position): JobTask => {
      if (position < index) return succeeded(task, now);
      return position === index ? { ...task, state: 'InProgress', startedAt: now } : task;
    }),
  };
}

const succeeded = (task: JobTask, now: string): JobTask =>
  task.state === 'InProgress' || task.state === 'NotStarted'
    ? { ...task, state: 'Succeeded', startedAt: task.startedAt ?? now, endedAt: now }
    : task;

/** It waits for nobody any more. */
function working({ suspendedFor: _, ...job }: Job): Job {
  return job;
}

export function succeedJob(job: Job, now: string): Job {
  if (hasEnded(job)) return job;
  return {
    ...working(job),
    state: 'Succeeded',
    startedAt: job.startedAt ?? now,
    endedAt: now,
    tasks: job.tasks.map((task) => succeeded(task, now)),
  };
}

/** All its tasks are done, and it waits for an operator. */
export function suspendJob(job: Job, suspendedFor: NonNullable<Job['suspendedFor']>, now: string): Job {
  if (hasEnded(job)) return job;
  return { ...job, state: 'Suspended', suspendedFor, tasks: job.tasks.map((task) => succeeded(task, now)) };
}

/** It waits for an operator with the tasks that run; those that have not started are still to come. */
export function suspendAtTask(job: Job, suspendedFor: NonNullable<Job['suspendedFor']>): Job {
  return hasEnded(job) ? job : { ...job, state: 'Suspended', suspendedFor };
}

/** An operator wants it to end; it takes back what it did at its next look. */
export const requestCancel = (job: Job, now: string): Job =>
  hasEnded(job) || job.cancelRequestedAt !== undefined ? job : { ...job, cancelRequestedAt: now };

/** What an operator may ask of the job now, by the words of the ARM surface. */
export function allowedJobActions(job: Job): ('Cancel' | 'Resume' | 'Restart')[] {
  if (job.state === 'Failed' || job.state === 'Cancelled') return isRestartable(job) ? ['Restart'] : [];
  if (hasEnded(job) || job.cancelRequestedAt !== undefined) return [];
  const isCancellable = isWaitingDrill(job) || looksForCancel(job);
  // A Resume that was meant for a manual action of the drill, and is repeated, must not have the drill cleaned up.
  const isResumable = job.state === 'Suspended' && !(isWaitingDrill(job) && job.waiter !== undefined);
  return [...(isCancellable ? (['Cancel'] as const) : []), ...(isResumable ? (['Resume'] as const) : [])];
}

/** A test failover whose VM is up: whether it is cancelled or resumed, its clean-up ends it. A plan’s had manual actions where it has a `waiter`. */
export const isWaitingDrill = (job: Job): boolean => job.state === 'Suspended' && job.suspendedFor === 'testFailover';

/** A part of a recovery plan's run is done again by running the plan. */
const isRestartable = ({ intent, planJobName }: Job): boolean =>
  planJobName === undefined &&
  (intent.orchestrator === workflowNames.recoveryPlan || restartableItemJobs[intent.orchestrator] !== undefined);

/** What a job's workflow does to its item: begun anew where the item allows that. */
export const restartableItemJobs: Readonly<Partial<Record<string, ProtectionOperation>>> = {
  [workflowNames.enableProtection]: 'EnableProtection',
  [workflowNames.resynchronize]: 'RepairReplication',
  [workflowNames.plannedFailover]: 'PlannedFailover',
  [workflowNames.unplannedFailover]: 'UnplannedFailover',
  [workflowNames.changeRecoveryPoint]: 'ChangePit',
  [workflowNames.commitFailover]: 'Commit',
  [workflowNames.failback]: 'Failback',
  [workflowNames.commitFailback]: 'Commit',
  [workflowNames.reverseReplicate]: 'ReverseReplicate',
  [workflowNames.testFailover]: 'TestFailover',
  [workflowNames.testFailoverCleanUp]: 'TestFailoverCleanup',
  [workflowNames.disableProtection]: 'DisableProtection',
};

/** Workflows that look for it while they wait, each with the task from whose start on they do not any more. */
const cancellableUntil: ReadonlyMap<string, string | undefined> = new Map([
  [workflowNames.failback, 'VmFailbackStartVmOnPrimary'],
  [workflowNames.recoveryPlan, undefined],
  [workflowNames.enableProtection, 'UpdateDraState'],
  [workflowNames.plannedFailover, 'VmFailover'],
]);

function looksForCancel({ intent, tasks }: Job): boolean {
  const last = cancellableUntil.get(intent.orchestrator);
  if (last === undefined) return cancellableUntil.has(intent.orchestrator);
  return tasks.some(({ name, state }) => name === last && state === 'NotStarted');
}

/** An operator lets it go on. */
export function resumeJob(job: Job, comments: string): Job {
  if (job.state !== 'Suspended') return job;
  return { ...working(job), state: 'InProgress', ...(comments === '' ? {} : { comments }) };
}

/** The running task failed, or was cancelled, with the job; what had not started stays so. */
export function endJob(
  job: Job,
  state: 'Failed' | 'Cancelled',
  failures: readonly WorkflowFailure[],
  now: string,
): Job {
  if (hasEnded(job)) return job;
  const running = job.tasks.find(({ state }) => state === 'InProgress');
  return {
    ...working(job),
    state,
    startedAt: job.startedAt ?? now,
    endedAt: now,
    tasks: job.tasks.map((task) => (task === running ? { ...task, state, endedAt: now } : task)),
    errors: [
      ...job.errors,
      ...failures.map(({ code, message, possibleCauses, recommendedAction }) => ({
        ...(running ? { taskId: running.taskId } : {}),
        code,
        message,
        possibleCauses,
        recommendedAction,
        at: now,
      })),
    ],
  };
}

/** Something went wrong that the job survives: it shows as a warning beside the job's success. */
export function warnInJob(job: Job, warning: WorkflowFailure, now: string): Job {
  const { code, message, possibleCauses, recommendedAction } = warning;
  if (hasEnded(job) || job.errors.some((error) => error.code === code && error.message === message)) return job;
  const running = job.tasks.find(({ state }) => state === 'InProgress');
  const error = { code, message, possibleCauses, recommendedAction, at: now };
  return { ...job, errors: [...job.errors, running ? { ...error, taskId: running.taskId } : error] };
}
