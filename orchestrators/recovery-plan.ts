import type { OrchestrationContext } from 'durable-functions';
import { activities } from '../activities/contract.js';
import type { BegunPlanItem, JobOutcome } from '../activities/contract.js';
import { cancelledByOperator } from '../core/domain/failover/failback-failures.js';
import { actionFailed, itemFailed, planStopped, scriptSilent } from '../core/domain/recovery-plan/plan-failures.js';
import {
  failoverOf,
  planSteps,
  stopsAtFailure,
  type PlanRunInput,
  type PlanStep,
} from '../core/domain/recovery-plan/plan-run.js';
import { itemsOf } from '../core/domain/recovery-plan/recovery-plan.js';
import type { WorkflowFailure } from '../core/domain/workflows/failure.js';
import {
  planItemStepInstanceId,
  workflowNames,
  type AwaitOperatorInput,
  type JobWorkflowInput,
  type PlanItemStepInput,
  type PlanLaneInput,
} from '../core/domain/workflows/workflows.js';
import { endedHow, failuresOf, JobCancelledError, JobFailedError, require, startTask } from './job.js';
import { call, insist, orchestrator, type Steps } from './orchestrator.js';
import type { PlanItemStepResult } from './plan-item-step.js';
import { awaitCommand } from './relay-command.js';

/** Items of a plan that are prepared side by side: their disks are copied then, and the line is shared. */
const itemsAtOnceMax = 20;
/** Beyond a script's own timeout, for its order to reach the relay and its answer to come back. */
const relayPatienceSeconds = 120;

interface Member {
  itemId: string;
  job: JobWorkflowInput;
  vmName: string;
  workflow: string;
  sourceHostId?: string;
  finalCycle?: number;
}

/** What a run knows of its items: those that it works on, and what failed. */
interface Run {
  readonly input: PlanRunInput;
  readonly members: Map<string, Member>;
  readonly failures: WorkflowFailure[];
  /** Whether the items were begun: actions fail before and after that. */
  begun: boolean;
}

/**
 * Runs a recovery plan: its groups one after the other, the members of a group side by side. A planned run stops at the first
 * failure and gives back what has not started; the others go to their end and report.
 */
export const recoveryPlan = orchestrator<PlanRunInput, { succeeded: boolean }>(
  workflowNames.recoveryPlan,
  function* (context, input) {
    const run: Run = { input, members: new Map(), failures: [], begun: false };
    let outcome: JobOutcome;
    try {
      for (const step of planSteps(input)) {
        yield* refuseCancelled(context, input);
        yield* startTask(context, input, step.taskName);
        yield* carryOut(context, run, step);
      }
      outcome = run.failures.length === 0 ? { kind: 'succeeded' } : { kind: 'failed', failures: run.failures };
    } catch (error) {
      // Items that wait hear of a cancel themselves: then they are what the run failed by.
      const how = (yield* isCancelWanted(context, input)) ? 'cancelled' : endedHow(error);
      yield* giveUpAll(context, run, how);
      outcome = { kind: how, failures: [...run.failures, ...failuresOf(error)] };
    }
    const { vaultId, planName, jobName, operation, comments } = input;
    yield* insist(context, () =>
      call(context, activities.concludePlan, { vaultId, planName, jobName, operation, outcome, comments }),
    );
    return { succeeded: outcome.kind === 'succeeded' };
  },
);

function* carryOut(context: OrchestrationContext, run: Run, step: PlanStep): Steps<void> {
  switch (step.kind) {
    case 'action':
      return yield* carryOutAction(context, run, step);
    case 'all':
      yield* beginAll(context, run);
      yield* forEachMember(context, run, [...run.members.values()], step.step);
      // Between synchronizing and the shutdown in Azure it is the operator's turn.
      if (run.input.operation === 'Failback' && step.step === 'shutDown') {
        yield* untilResumed(context, run.input, 'failbackCompletion', step.taskName);
      }
      return;
    case 'boot': {
      const group = run.input.groups[step.groupIndex];
      const members = (group?.items ?? []).flatMap(({ itemId }) => run.members.get(itemId) ?? []);
      yield* forEachMember(context, run, members, 'boot');
    }
  }
}

/** Once: a planned run that finds an item refused has touched none. */
function* beginAll(context: OrchestrationContext, run: Run): Steps<void> {
  const { input, members, failures } = run;
  if (run.begun) return;
  run.begun = true;
  for (const { itemId, armId } of input.groups.flatMap(({ items }) => items)) {
    const { vaultId, jobName: planJobName, operation, networkId, synchronizeFirst, comments } = input;
    const asked = { vaultId, planJobName, itemId, armId, operation, synchronizeFirst, comments };
    const begun: BegunPlanItem = yield* insist(context, () =>
      call(context, activities.beginPlanItem, { ...asked, ...(networkId === undefined ? {} : { networkId }) }),
    );
    if (begun.kind === 'begun') members.set(itemId, { ...begun, itemId });
    if (begun.kind === 'refused') failures.push(...begun.failures);
  }
  if (failures.length > 0 && stopsAtFailure(input.operation)) throw new JobFailedError([]);
}

type MemberStep = PlanItemStepInput['step'] | 'whole';

/** Lanes side by side, the members dealt to them in turn; those that fail are no members any more. */
function* forEachMember(context: OrchestrationContext, run: Run, members: Member[], step: MemberStep): Steps<void> {
  if (members.length === 0) return;
  const lanes = lanesOf(members);
  const tasks = startLanes(context, run.input, lanes, step);
  const results = (yield context.df.Task.all(tasks)) as PlanItemStepResult[][];
  for (const [lane, laneMembers] of lanes.entries()) {
    for (const [turn, member] of laneMembers.entries()) {
      const result = results[lane]?.[turn];
      if (result?.succeeded === true) {
        const { finalCycle } = result;
        if (finalCycle !== undefined) run.members.set(member.itemId, { ...member, finalCycle });
        // Done for good: nothing of it is given back.
        if (step === 'whole' || step === 'boot') run.members.delete(member.itemId);
        continue;
      }
      run.members.delete(member.itemId);
      run.failures.push(itemFailed(member.vmName, member.job.jobName, result?.failures[0]));
    }
  }
  if (run.failures.length > 0 && stopsAtFailure(run.input.operation)) throw new JobFailedError([]);
}

const lanesOf = (members: readonly Member[]): Member[][] =>
  Array.from({ length: Math.min(itemsAtOnceMax, members.length) }, (_, lane) =>
    members.filter((_member, index) => index % itemsAtOnceMax === lane),
  );

const startLanes = (
  context: OrchestrationContext,
  run: PlanRunInput,
  lanes: Member[][],
  step: MemberStep,
  how?: PlanItemStepInput['how'],
) =>
  lanes.map((lane, index) => {
    const input: PlanLaneInput = { turns: lane.map((member) => turnOf(run, member, step, how)) };
    const instanceId = `${run.jobName}-${step}-${lane[0]?.itemId ?? ''}-${index}`;
    return context.df.callSubOrchestrator(workflowNames.planLane, input, instanceId);
  });

function turnOf(
  input: PlanRunInput,
  member: Member,
  step: MemberStep,
  how: PlanItemStepInput['how'],
): PlanLaneInput['turns'][number] {
  const { job, workflow } = member;
  if (step === 'whole') return { workflow, instanceId: job.jobName, input: { ...job, comments: input.comments } };
  return {
    workflow: workflowNames.planItemStep,
    instanceId: instanceOf(input, job, step),
    input: stepInputOf(input, member, step, how),
  };
}

/** The doorbell of an item rings its job's name: so the step that waits for the relay has that. */
function instanceOf(
  { operation, synchronizeFirst }: PlanRunInput,
  { jobName }: JobWorkflowInput,
  step: PlanItemStepInput['step'],
): string {
  const waitsIn =
    operation === 'PlannedFailover' || (operation === 'Failback' && synchronizeFirst) ? 'shutDown' : 'prepare';
  return step === waitsIn ? jobName : planItemStepInstanceId(jobName, step);
}

/** Of an operation that has steps: its name is one of theirs. */
function stepInputOf(
  input: PlanRunInput,
  member: Member,
  step: PlanItemStepInput['step'],
  how: PlanItemStepInput['how'],
): PlanItemStepInput {
  const { job, finalCycle, sourceHostId } = member;
  const { recoveryPoint, shutDownSources, synchronizeFirst, createVms } = input;
  return {
    ...job,
    operation: input.operation as PlanItemStepInput['operation'],
    step,
    recoveryPoint,
    shutDownSource: shutDownSources,
    synchronizeFirst,
    ...(createVms && sourceHostId !== undefined ? { createOnHostId: sourceHostId } : {}),
    ...(finalCycle === undefined ? {} : { finalCycle }),
    ...(step === 'giveUp' ? { failures: [planStopped], how: how ?? 'failed' } : {}),
  };
}

/** Side by side, each for itself: one whose giving back fails keeps no other's source off. */
function* giveUpAll(
  context: OrchestrationContext,
  { input, members, failures }: Run,
  how: 'failed' | 'cancelled',
): Steps<void> {
  if (failoverOf(input.operation) === undefined || members.size === 0) return;
  const lanes = lanesOf([...members.values()]);
  const tasks = startLanes(context, input, lanes, 'giveUp', how);
  const results = (yield context.df.Task.all(tasks)) as PlanItemStepResult[][];
  for (const [lane, laneMembers] of lanes.entries()) {
    for (const [turn, { vmName, job }] of laneMembers.entries()) {
      const { succeeded, failures: found } = results[lane]?.[turn] ?? { succeeded: false, failures: [] };
      // A failback that was handed over stands. Given back as it was told to be, an item says just that.
      if (succeeded || found[0]?.code === planStopped.code) continue;
      failures.push(itemFailed(vmName, job.jobName, found[0]));
    }
  }
}

function* isCancelWanted(context: OrchestrationContext, { vaultId, jobName }: PlanRunInput): Steps<boolean> {
  const { cancelled } = yield* insist(context, () => call(context, activities.readPlanCancel, { vaultId, jobName }));
  return cancelled;
}

function* refuseCancelled(context: OrchestrationContext, input: PlanRunInput): Steps<void> {
  if (yield* isCancelWanted(context, input)) throw new JobCancelledError([cancelledByOperator]);
}

/** What an action fails by stops a planned run, and is reported by the others. */
function* carryOutAction(
  context: OrchestrationContext,
  run: Run,
  step: Extract<PlanStep, { kind: 'action' }>,
): Steps<void> {
  try {
    yield* runAction(context, run.input, step);
  } catch (error) {
    if (error instanceof JobCancelledError) throw error;
    run.failures.push(...failuresOf(error).map((failure) => actionFailed(step.action.actionName, failure)));
    if (stopsAtFailure(run.input.operation)) throw new JobFailedError([]);
  }
}

function* runAction(
  context: OrchestrationContext,
  input: PlanRunInput,
  { action, groupId, taskName }: Extract<PlanStep, { kind: 'action' }>,
): Steps<void> {
  const { vaultId, jobName, planName, groups, operation } = input;
  const failover = failoverOf(operation);
  const { details, actionName } = action;
  switch (details.kind) {
    case 'manual':
      return yield* untilResumed(context, input, 'manualAction', taskName);
    case 'runbook': {
      if (failover === undefined) return;
      const called = { vaultId, jobName, planName, groupId, actionName, timeoutSeconds: details.timeoutSeconds };
      const { type: failoverType, direction } = failover;
      require(
        yield* insist(context, () =>
          call(context, activities.callRunbook, { ...called, failoverType, direction, itemIds: itemsOf(groups) }),
        ),
      );
      return;
    }
    case 'script': {
      const { scriptName, timeoutSeconds } = details;
      const commandId = `${jobName}-${taskName}`;
      const command = { kind: 'runScript', commandId, scriptName, timeoutSeconds, planName, groupId } as const;
      const sent = yield* insist(context, () =>
        call(context, activities.sendScript, {
          vaultId,
          fabricName: input.fabricName,
          command,
          instanceId: context.df.instanceId,
        }),
      );
      if (sent.kind === 'failed') throw new JobFailedError(sent.failures);
      const patience = timeoutSeconds + relayPatienceSeconds;
      const order = { relayId: sent.relayId, commandId };
      const result = yield* awaitCommand(context, order, patience);
      if (result === undefined) throw new JobFailedError([scriptSilent(scriptName, patience)]);
      if (result.kind === 'failed') throw new JobFailedError([{ ...result, retry: 'never' }]);
    }
  }
}

function* untilResumed(
  context: OrchestrationContext,
  { vaultId, jobName }: PlanRunInput,
  suspendedFor: AwaitOperatorInput['suspendedFor'],
  taskName: string,
): Steps<void> {
  const asked: AwaitOperatorInput = { vaultId, jobName, suspendedFor };
  const answer = (yield context.df.callSubOrchestrator(
    workflowNames.awaitOperator,
    asked,
    `${jobName}-${taskName}`,
  )) as { kind: 'completed' | 'cancelled' };
  if (answer.kind === 'cancelled') throw new JobCancelledError([cancelledByOperator]);
}
