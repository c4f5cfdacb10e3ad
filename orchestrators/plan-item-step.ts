import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import { workflowNames, type JobWorkflowInput, type PlanItemStepInput } from '../core/domain/workflows/workflows.js';
import type { ProtectionEvent } from '../core/domain/protected-item/state-table.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import * as failback from './failback.js';
import { startFailoverVm } from './failover-steps.js';
import { conclude, concludeAlone, endedHow, failuresOf } from './job.js';
import { call, insist, orchestrator, type Steps } from './orchestrator.js';
import * as planned from './planned-failover.js';
import * as test from './test-failover.js';
import * as unplanned from './unplanned-failover.js';

export interface PlanItemStepResult {
  succeeded: boolean;
  failures: WorkflowFailure[];
  /** Of a planned failover's shutdown: the cycle with the source's last writes. */
  finalCycle?: number;
}

/** Work of a step that waits for days goes on in a run of its own. */
type StepEnd =
  { kind: 'done'; finalCycle?: number } | { kind: 'again'; stage: NonNullable<PlanItemStepInput['stage']> };

/**
 * One step of one item's failover within a recovery plan. The plan orders the steps of its items among each other; what each
 * does is what the item's own failover does. A step that fails takes everything back and ends the item's job.
 */
export const planItemStep = orchestrator<PlanItemStepInput, PlanItemStepResult | undefined>(
  workflowNames.planItemStep,
  function* (context, input) {
    const { vaultId, itemId, protectionId, jobName } = input;
    const job = { vaultId, itemId, protectionId, jobName };
    if (input.step === 'giveUp') return yield* giveUp(context, input, job, input.failures ?? [], input.how);
    let end: StepEnd;
    try {
      end = yield* work(context, input, job);
    } catch (error) {
      return yield* giveUp(context, input, job, failuresOf(error), endedHow(error));
    }
    if (end.kind === 'again') {
      context.df.continueAsNew({ ...input, stage: end.stage });
      return undefined;
    }
    // A VM that runs is not taken back because its job's row cannot be written: the sweep comes back to that.
    if (input.step === 'boot') yield* succeed(context, input, job);
    const { finalCycle } = end;
    return { succeeded: true, failures: [], ...(finalCycle === undefined ? {} : { finalCycle }) };
  },
);

function* work(context: OrchestrationContext, input: PlanItemStepInput, job: JobWorkflowInput): Steps<StepEnd> {
  const { step } = input;
  switch (input.operation) {
    case 'PlannedFailover':
      if (step === 'shutDown') return { kind: 'done', finalCycle: yield* planned.shutDown(context, job) };
      if (step === 'prepare') yield* planned.prepare(context, job, input.finalCycle ?? 0);
      else yield* startFailoverVm(context, job);
      return { kind: 'done' };
    case 'UnplannedFailover':
      if (step === 'prepare') yield* unplanned.prepare(context, input, job);
      else yield* startFailoverVm(context, job);
      return { kind: 'done' };
    case 'TestFailover':
      if (step === 'prepare') yield* test.prepare(context, input, job);
      else yield* test.boot(context, job);
      return { kind: 'done' };
    case 'Failback':
      return yield* failBack(context, input, job);
  }
}

/** Its first step, whichever that is, has the site ready the VM before the one in Azure is touched. */
function* failBack(context: OrchestrationContext, input: PlanItemStepInput, job: JobWorkflowInput): Steps<StepEnd> {
  let { stage } = input;
  const { step, synchronizeFirst } = input;
  if (step === 'boot') {
    if (stage === undefined) yield* failback.handOver(context, job);
    return yield* ended(failback.awaitSiteStart(context, job));
  }
  const isFirst = step === (synchronizeFirst ? 'shutDown' : 'prepare');
  if (isFirst && stage === undefined) {
    yield* failback.begin(context, input, job);
    stage = 'preparing';
  }
  if (stage === 'preparing' && !(yield* failback.isDone(context, job, 'prepared'))) return { kind: 'again', stage };
  if (step === 'shutDown') {
    if (stage === 'preparing' && !(yield* failback.beginSynchronizing(context, job))) return { kind: 'again', stage };
    const isThere = yield* failback.isDone(context, job, 'copied');
    return isThere ? { kind: 'done' } : { kind: 'again', stage: 'synchronizing' };
  }
  if (stage === undefined || stage === 'preparing') {
    if (!(yield* failback.beginFinalRound(context, job))) return { kind: 'again', stage: 'preparing' };
  }
  if (stage !== 'replacing') {
    if (!(yield* failback.isDone(context, job, 'copied'))) return { kind: 'again', stage: 'finalRound' };
    yield* failback.orderReplacement(context, job);
  }
  return (yield* failback.isDone(context, job, 'replaced')) ? { kind: 'done' } : { kind: 'again', stage: 'replacing' };
}

function* ended(start: Steps<failback.RunEnd>): Steps<StepEnd> {
  const end = yield* start;
  return end.kind === 'ended' ? { kind: 'done' } : end;
}

const finishedEvents: Record<Exclude<PlanItemStepInput['operation'], 'TestFailover'>, ProtectionEvent> = {
  PlannedFailover: 'plannedFailoverFinished',
  UnplannedFailover: 'unplannedFailoverFinished',
  Failback: 'failbackFinished',
};

/** A test's job goes on waiting for its clean-up. */
function* succeed(context: OrchestrationContext, { operation }: PlanItemStepInput, job: JobWorkflowInput): Steps<void> {
  if (operation !== 'TestFailover') yield* conclude(context, job, [], finishedEvents[operation]);
}

/** Takes back what the item's steps did so far. A failback that was handed over stands. */
function* giveUp(
  context: OrchestrationContext,
  { operation }: PlanItemStepInput,
  job: JobWorkflowInput,
  failures: WorkflowFailure[],
  how: PlanItemStepInput['how'],
): Steps<PlanItemStepResult> {
  const taken = { ...job, failures };
  switch (operation) {
    case 'PlannedFailover':
      yield* insist(context, () => call(context, activities.giveBackPlannedFailover, taken));
      yield* conclude(context, job, failures, 'plannedFailoverGivenBack', how);
      break;
    case 'UnplannedFailover': {
      const { event } = yield* insist(context, () => call(context, activities.undoFailover, taken));
      yield* conclude(context, job, failures, event, how);
      break;
    }
    case 'TestFailover':
      yield* insist(context, () => call(context, activities.takeBackTest, job));
      yield* concludeAlone(context, job, failures, how);
      break;
    case 'Failback': {
      const { kind } = yield* insist(context, () => call(context, activities.giveBackFailback, taken));
      if (kind === 'handedOver') {
        yield* conclude(context, job, [], 'failbackFinished');
        return { succeeded: true, failures: [] };
      }
      yield* conclude(context, job, failures, 'failbackGivenBack', how);
      break;
    }
  }
  return { succeeded: false, failures };
}
