import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import type { CheckOutcome, ItemOutcome } from '../activities/contract.js';
import type { ProtectionEvent } from '../core/domain/protected-item/state-table.js';
import { failureOf, type WorkflowFailure } from '../core/domain/workflows/failure.js';
import type { JobWorkflowInput } from '../core/domain/workflows/workflows.js';
import { ActivityFailedError, call, insist, type Steps } from './orchestrator.js';

/** A job cannot go on; it ends as failed with these. */
export class JobFailedError extends Error {
  constructor(readonly failures: readonly WorkflowFailure[]) {
    super(failures.map(({ message }) => message).join('; '));
    this.name = 'JobFailedError';
  }
}

/** An operator wants the job to end: it takes back what it did, and ends as cancelled. */
export class JobCancelledError extends JobFailedError {}

export const endedHow = (error: unknown): 'failed' | 'cancelled' =>
  error instanceof JobCancelledError ? 'cancelled' : 'failed';

export function failuresOf(error: unknown): WorkflowFailure[] {
  if (error instanceof JobFailedError) return [...error.failures];
  return [error instanceof ActivityFailedError ? error.failure : failureOf(error)];
}

export function* startTask(
  context: OrchestrationContext,
  input: Pick<JobWorkflowInput, 'vaultId' | 'jobName'>,
  taskName: string,
): Steps<void> {
  const { vaultId, jobName } = input;
  yield* insist(context, () => call(context, activities.startJobTask, { vaultId, jobName, taskName }));
}

/** Ends the job together with the item's transition. */
export function* conclude(
  context: OrchestrationContext,
  input: JobWorkflowInput,
  failures: WorkflowFailure[],
  event: ProtectionEvent,
  how: 'failed' | 'cancelled' = 'failed',
): Steps<{ succeeded: boolean }> {
  const { vaultId, jobName, itemId, protectionId } = input;
  yield* insist(context, () =>
    call(context, activities.concludeJob, {
      vaultId,
      jobName,
      outcome: failures.length === 0 ? { kind: 'succeeded' } : { kind: how, failures },
      item: { itemId, protectionId, event },
    }),
  );
  return { succeeded: failures.length === 0 };
}

/** The job alone: a test moves no state of its item. */
export function* concludeAlone(
  context: OrchestrationContext,
  { vaultId, jobName }: JobWorkflowInput,
  failures: WorkflowFailure[],
  how: 'failed' | 'cancelled' = 'failed',
): Steps<{ succeeded: boolean }> {
  const succeeded = failures.length === 0;
  yield* insist(context, () =>
    call(context, activities.concludeJob, {
      vaultId,
      jobName,
      outcome: succeeded ? { kind: 'succeeded' } : { kind: how, failures },
    }),
  );
  return { succeeded };
}

/** Throws what a check found. */
export function require(outcome: CheckOutcome): void {
  if (outcome.kind === 'failed') throw new JobFailedError(outcome.failures);
}

/** Throws when the item is not this job's to change any more. */
export function requireOwned(outcome: ItemOutcome, input: JobWorkflowInput): void {
  if (outcome.kind === 'done') return;
  throw supersededError(input);
}

export const supersededError = (input: JobWorkflowInput): JobFailedError =>
  new JobFailedError([
    {
      code: 'US3020',
      message: `item ${input.itemId} is no longer the one that this job was started for`,
      possibleCauses: 'Replication was disabled, enabled anew or failed over meanwhile.',
      recommendedAction: 'See the item’s present state and its other jobs.',
      retry: 'never',
    },
  ]);
