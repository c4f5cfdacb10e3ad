import { createHash } from 'node:crypto';
import { Temporal } from 'temporal-polyfill';
import { UnderstudyError } from '../core/domain/errors.js';
import { asJobName, type ItemId, type JobName, type VaultId } from '../core/domain/ids.js';
import { jobKinds, type Job, type JobKind } from '../core/domain/jobs/job.js';
import { jobNameAt } from '../core/domain/jobs/job-name.js';
import {
  endJob,
  hasEnded,
  plannedTasks,
  succeedJob,
  suspendAtTask,
  suspendJob,
} from '../core/domain/jobs/transitions.js';
import { begun } from '../core/domain/protected-item/begin-operation.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import { allowedOperations } from '../core/domain/protected-item/state-table.js';
import {
  itemRefused,
  noSuchItem,
  planStopped,
  runbookGone,
  scriptRelayMissing,
  webhookRefused,
} from '../core/domain/recovery-plan/plan-failures.js';
import { runbookContext } from '../core/domain/recovery-plan/runbook-context.js';
import { actionTimeouts, type PlanOperation, type RecoveryPlan } from '../core/domain/recovery-plan/recovery-plan.js';
import { failureOf } from '../core/domain/workflows/failure.js';
import { withNewTest, withTest } from '../core/domain/failover/test-failover.js';
import { workflowNames, type JobWorkflowInput, type PlanItemStepInput } from '../core/domain/workflows/workflows.js';
import { StateConflictError, type RowOperation } from '../core/ports/state-table.js';
import { decideAndCommit, insert, read, replace } from '../core/records/access.js';
import { endedJobRows } from '../core/records/job-end.js';
import { rows, vaultPartition } from '../core/records/rows.js';
import { done, type Activity, type ActivityDependencies } from './activity.js';
import type { activities, BegunPlanItem, PlanItemInput } from './contract.js';

type Needs = Pick<ActivityDependencies, 'table' | 'clock'>;

/** The item's job of this run: the same one whenever it is asked for. */
function jobNameOf(planJob: Job, itemId: ItemId): JobName {
  const digest = createHash('sha256').update(`${planJob.jobName}\n${itemId}`).digest('hex').slice(0, 32);
  const guid = digest.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return jobNameAt(Temporal.Instant.from(planJob.createdAt).epochMilliseconds, guid);
}

/** The item's row names the job, and the job its plan's: one transaction. What needs no doing is passed over, and says why. */
export const makeBeginPlanItem =
  ({ table, clock }: Needs): Activity<typeof activities.beginPlanItem> =>
  async (input) => {
    const now = (await clock.now()).toString();
    return decideAndCommit<BegunPlanItem>(table, vaultPartition(input.vaultId), async () => {
      const refuse = (result: BegunPlanItem) => ({ operations: [], result });
      const [planJob, stored] = await Promise.all([
        read(table, rows.job(input.vaultId, input.planJobName)),
        read(table, rows.item(input.vaultId, input.itemId)),
      ]);
      // Its test went with it: a clean-up that failed by that would keep the plan in its test for good.
      if (planJob && !stored && input.operation === 'TestFailoverCleanup') return refuse({ kind: 'skipped' });
      if (!planJob || !stored) return refuse({ kind: 'refused', failures: [noSuchItem(input.itemId)] });
      const item = stored.value;
      const jobName = jobNameOf(planJob.value, input.itemId);
      const { vaultId, itemId } = input;
      const job = { vaultId, itemId, protectionId: item.protectionId, jobName };
      const known = await read(table, rows.job(vaultId, jobName));
      // Another run of this activity was faster, or the whole run is begun again.
      if (known && hasEnded(known.value)) {
        return refuse(
          known.value.state === 'Succeeded'
            ? { kind: 'skipped' }
            : { kind: 'refused', failures: known.value.errors.map((error) => ({ ...error, retry: 'never' })) },
        );
      }
      const sourceHostId = item.failover?.source?.hostId;
      const result: BegunPlanItem = {
        kind: 'begun',
        job,
        vmName: item.vmName,
        workflow: known?.value.intent.orchestrator ?? workflowOf(input.operation, item),
        ...(sourceHostId === undefined ? {} : { sourceHostId }),
      };
      if (known) return refuse(result);
      if (isThere(item, input.operation)) return refuse({ kind: 'skipped' });
      if (!allowedOperations(item).includes(input.operation)) {
        return refuse({ kind: 'refused', failures: [itemRefused(item.vmName, input.operation, item.state)] });
      }
      const kind = kindOf(input, item);
      const row: Job = {
        jobName,
        scenarioName: kind.scenarioName,
        friendlyName: kind.friendlyName,
        state: 'NotStarted',
        tasks: plannedTasks(jobName, kind),
        errors: [],
        createdAt: now,
        targetResourceId: input.armId,
        targetObjectName: item.vmName,
        itemId,
        planJobName: input.planJobName,
        intent: { orchestrator: result.workflow, input: intentOf(input, result.workflow, job) },
      };
      const changed = beginItem(item, input, { jobName, scenarioName: kind.scenarioName, startedAt: now });
      const operations: RowOperation[] = [insert(rows.job(vaultId, jobName), row), replace(stored, changed)];
      return { operations, result };
    });
  };

/** Done already, by an earlier run or another plan. */
function isThere({ state, testFailover }: ProtectedItem, operation: PlanOperation): boolean {
  switch (operation) {
    case 'PlannedFailover':
    case 'UnplannedFailover':
      return state === 'FailoverCommitPending' || state === 'FailoverCommitted';
    case 'Failback':
      return state === 'FailbackCommitPending' || state === 'FailbackCommitted';
    case 'Commit':
      return state === 'FailoverCommitted' || state === 'FailbackCommitted';
    case 'ReverseReplicate':
      return state === 'Protected';
    case 'TestFailover':
      return testFailover?.state === 'waiting';
    case 'TestFailoverCleanup':
      return testFailover === undefined;
  }
}

/** What is left to do should the plan's run end without it: a failover is given back, the rest done. */
function intentOf(
  { operation, synchronizeFirst, comments }: PlanItemInput,
  workflow: string,
  job: JobWorkflowInput,
): object {
  if (workflow !== workflowNames.planItemStep) return { ...job, comments };
  const giveUp: PlanItemStepInput = {
    ...job,
    operation: operation as PlanItemStepInput['operation'],
    step: 'giveUp',
    recoveryPoint: { kind: 'latest' },
    shutDownSource: false,
    synchronizeFirst,
    failures: [planStopped],
  };
  return giveUp;
}

/** Of a failover, its plan runs the steps one by one. */
function workflowOf(operation: PlanOperation, { state }: ProtectedItem): string {
  switch (operation) {
    case 'TestFailoverCleanup':
      return workflowNames.testFailoverCleanUp;
    case 'ReverseReplicate':
      return workflowNames.reverseReplicate;
    case 'Commit':
      return state === 'FailbackCommitPending' ? workflowNames.commitFailback : workflowNames.commitFailover;
    default:
      return workflowNames.planItemStep;
  }
}

function kindOf({ operation, synchronizeFirst }: PlanItemInput, { state }: ProtectedItem): JobKind {
  switch (operation) {
    case 'TestFailover':
      return jobKinds.testFailover;
    case 'TestFailoverCleanup':
      return jobKinds.testFailoverCleanUp;
    case 'PlannedFailover':
      return jobKinds.plannedFailover;
    case 'UnplannedFailover':
      return jobKinds.unplannedFailover;
    case 'Commit':
      return state === 'FailbackCommitPending' ? jobKinds.commitFailback : jobKinds.commitFailover;
    case 'Failback':
      return synchronizeFirst ? jobKinds.failbackAfterSynchronization : jobKinds.failback;
    case 'ReverseReplicate':
      return jobKinds.reverseReplicate;
  }
}

function beginItem(
  item: ProtectedItem,
  { operation, networkId }: PlanItemInput,
  job: { jobName: JobName; scenarioName: string; startedAt: string },
): ProtectedItem {
  const { jobName, startedAt } = job;
  if (operation === 'TestFailoverCleanup') return withTest(item, { state: 'cleaningUp', cleanUpJobName: jobName });
  if (operation === 'TestFailover') return withNewTest(item, jobName, startedAt, networkId);
  return begun(item, operation, job);
}

/** Posts the run's context; anything but 2xx is a failure. */
export const makeCallRunbook =
  ({ table, webhooks }: Pick<ActivityDependencies, 'table' | 'webhooks'>): Activity<typeof activities.callRunbook> =>
  async (input) => {
    const items = await Promise.all(input.itemIds.map((itemId) => read(table, rows.item(input.vaultId, itemId))));
    const context = runbookContext(
      input,
      items.flatMap((item) => (item === undefined ? [] : [item.value])),
    );
    const { timeoutSeconds, actionName } = input;
    const plan = await read(table, rows.plan(input.vaultId, input.planName));
    const webhookUrl = plan && webhookUrlOf(plan.value, actionName);
    if (webhookUrl === undefined) return { kind: 'failed', failures: [runbookGone(actionName)] };
    try {
      // It travels in a header, which takes no character beyond Latin-1.
      const idempotencyKey = `${input.jobName}/${encodeURIComponent(Buffer.from(actionName).toString())}`;
      const { status } = await webhooks.post(webhookUrl, context, {
        timeoutSeconds: Math.min(timeoutSeconds, actionTimeouts.runbook.maxSeconds),
        idempotencyKey,
      });
      if (status >= 200 && status < 300) return { kind: 'met' };
      return { kind: 'failed', failures: [webhookRefused(actionName, status)] };
    } catch (error) {
      if (!(error instanceof UnderstudyError) || error.retry !== 'never') throw error;
      return { kind: 'failed', failures: [failureOf(error)] };
    }
  };

/** From the plan's row, which holds still while a run is under way: an address lets a caller in, and no history holds it. */
function webhookUrlOf({ groups }: RecoveryPlan, actionName: string): string | undefined {
  for (const { startActions, endActions } of groups) {
    const found = [...startActions, ...endActions].find((action) => action.actionName === actionName);
    if (found?.details.kind === 'runbook') return found.details.webhookUrl;
  }
  return undefined;
}

/** Into the partition of the site's relay; its id comes from the orchestrator, so that a repeat finds it there. */
export const makeSendScript =
  ({ table, clock }: Needs): Activity<typeof activities.sendScript> =>
  async ({ vaultId, fabricName, command, instanceId }) => {
    const fabric = await read(table, rows.fabric(vaultId, fabricName));
    const relayId = fabric?.value.relayId;
    if (relayId === undefined) return { kind: 'failed', failures: [scriptRelayMissing(command.scriptName)] };
    const ref = rows.command(relayId, command.commandId);
    const createdAt = (await clock.now()).toString();
    try {
      await table.transact(ref.partition, [insert(ref, { command, instanceId, createdAt })]);
    } catch (error) {
      if (!(error instanceof StateConflictError)) throw error;
    }
    return { kind: 'sent', relayId };
  };

/** The job waits for an operator, at the task that runs; `waiter` is the workflow that is to hear of the answer. */
export const makeSuspendForOperator =
  ({ table }: Pick<Needs, 'table'>): Activity<typeof activities.suspendForOperator> =>
  async ({ vaultId, jobName, suspendedFor, waiter }) => {
    await decideAndCommit(table, vaultPartition(vaultId), async () => {
      const job = await read(table, rows.job(vaultId, jobName));
      // Resumed already: this run comes late.
      if (!job || job.value.waiter === waiter) return { operations: [], result: undefined };
      const suspended: Job = { ...suspendAtTask(job.value, suspendedFor), waiter };
      return { operations: hasEnded(job.value) ? [] : [replace(job, suspended)], result: undefined };
    });
    return done;
  };

/** Ends the run's job, or has it wait for the clean-up of a drill, and takes it off its plan: one transaction. */
export const makeConcludePlan =
  ({ table, clock }: Needs): Activity<typeof activities.concludePlan> =>
  async ({ vaultId, planName, jobName, operation, outcome, comments }) => {
    await decideAndCommit(table, vaultPartition(vaultId), async () => {
      const endedAt = await clock.now();
      const now = endedAt.toString();
      const [job, plan] = await Promise.all([
        read(table, rows.job(vaultId, jobName)),
        read(table, rows.plan(vaultId, planName)),
      ]);
      const operations: RowOperation[] = [];
      const isOwn = plan?.value.activeJob?.jobName === jobName;
      if (job && isOwn) {
        const ended =
          outcome.kind !== 'succeeded'
            ? endJob(job.value, outcome.kind === 'cancelled' ? 'Cancelled' : 'Failed', outcome.failures, now)
            : operation === 'TestFailover'
              ? suspendJob(job.value, 'testFailover', now)
              : succeedJob(job.value, now);
        operations.push(...endedJobRows(vaultId, job, ended, endedAt));
      }
      if (isOwn) operations.push(replace(plan, afterRun(plan.value, { operation, outcome, jobName, now })));
      const testJobName = plan?.value.test?.jobName;
      if (isOwn && operation === 'TestFailoverCleanup' && outcome.kind === 'succeeded' && testJobName !== undefined) {
        const drill = await read(table, rows.job(vaultId, asJobName(testJobName)));
        if (drill) operations.push(replace(drill, { ...succeedJob(drill.value, now), comments }));
      }
      return { operations, result: undefined };
    });
    return {};
  };

function afterRun(
  plan: RecoveryPlan,
  run: { operation: PlanOperation; outcome: { kind: string }; jobName: JobName; now: string },
): RecoveryPlan {
  const { activeJob: _, ...rest } = plan;
  const { operation, outcome, jobName, now } = run;
  const succeeded = outcome.kind === 'succeeded';
  switch (operation) {
    case 'TestFailover':
      // Test VMs of a drill that failed in part are there too.
      return { ...rest, test: { jobName } };
    case 'TestFailoverCleanup': {
      if (!succeeded) return rest;
      const { test: _test, ...clean } = rest;
      return { ...clean, lastTestFailoverAt: now };
    }
    case 'PlannedFailover':
    case 'Failback':
      return succeeded ? { ...rest, lastPlannedFailoverAt: now } : rest;
    case 'UnplannedFailover':
      return succeeded ? { ...rest, lastUnplannedFailoverAt: now } : rest;
    case 'Commit':
    case 'ReverseReplicate':
      return rest;
  }
}

/** Whether an operator wants the run to end: looked at between its steps. */
export const makeReadPlanCancel =
  ({ table }: Pick<Needs, 'table'>): Activity<typeof activities.readPlanCancel> =>
  async ({ vaultId, jobName }: { vaultId: VaultId; jobName: JobName }) => {
    const job = await read(table, rows.job(vaultId, jobName));
    return { cancelled: job?.value.cancelRequestedAt !== undefined };
  };
