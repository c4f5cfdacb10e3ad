import pLimit from 'p-limit';
import { Temporal } from 'temporal-polyfill';
import type { VaultId } from '../../core/domain/ids.js';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import {
  ensureJobLeftByPlan,
  ensureJobWorkflow,
  ensureWorkflows,
  type WorkflowToRun,
} from '../../core/domain/workflows/ensure-workflows.js';
import { decideAndCommit, list, read, remove, replace } from '../../core/records/access.js';
import { rows, type PointExport } from '../../core/records/rows.js';
import { transactionOperationsMax } from '../../core/ports/state-table.js';
import { deleteTest, endTest } from '../../activities/test-failover.js';
import type { WorkflowFailure } from '../../core/domain/workflows/failure.js';
import type { AppInvocation } from '../app.js';
import { forgetJobs } from './forget-jobs.js';

/** Workflows that are asked for at the same time. */
const checksAtOnce = 8;
/** An item that waits for its next cycle is looked at once in this many sweeps. */
const sweepsPerIdleItem = 10;
const eventsKeptHours = 30 * 24;
/** In one run; the next goes on. A vault that makes more than this an hour has other worries. */
const eventsForgottenMax = 500;

/**
 * Once a minute: what a door meant to start and could not, and what died, is started; exports that were left open let go of
 * their points; old events and jobs are forgotten. Everything here may run twice, and a failure of one vault or item stops no other.
 */
export async function sweep(app: AppInvocation): Promise<void> {
  for (const { value } of await list(app.table, rows.vaultIndexes())) {
    await attempt(app, `vault ${value.vaultId}`, () => sweepVault(app, value.vaultId));
  }
}

async function attempt(app: AppInvocation, what: string, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    app.log(`the sweep could not see to ${what}; it tries again in a minute`, error);
  }
}

async function sweepVault(app: AppInvocation, vaultId: VaultId): Promise<void> {
  const limit = pLimit(checksAtOnce);
  const storedJobs = await list(app.table, rows.jobs(vaultId));
  const stored = storedJobs.map(({ value }) => value);
  const byName = new Map(stored.map((job) => [job.jobName, job]));
  const jobs = stored.flatMap((job) => {
    const { planJobName } = job;
    const workflow =
      planJobName === undefined ? ensureJobWorkflow(job) : ensureJobLeftByPlan(job, byName.get(planJobName));
    // A completed workflow wrote its job's end itself: it is never run again.
    return workflow === undefined
      ? []
      : [limit(() => attempt(app, `job ${job.jobName}`, () => start(app, workflow, false)))];
  });
  const minute = Math.floor((await app.clock.now()).epochMilliseconds / 60_000);
  const all = await list(app.table, rows.items(vaultId));
  for (const { value: item } of all) {
    if (!isTestOver(item)) continue;
    await attempt(app, `the test failover of ${item.itemId}`, () => endTestAfterFailover(app, vaultId, item));
  }
  const items = all
    .filter(({ value: item }) => !isIdle(item) || isTurnOf(item, minute))
    .flatMap(({ value: item }) =>
      ensureWorkflows(vaultId, item).map((workflow) =>
        limit(() => attempt(app, `item ${item.itemId}`, () => start(app, workflow, true))),
      ),
    );
  await Promise.all([...jobs, ...items]);
  await attempt(app, `the events of ${vaultId}`, () => forgetEvents(app, vaultId));
  await attempt(app, `the old jobs of ${vaultId}`, () => forgetJobs(app, vaultId, storedJobs, all));
  const now = app.systemNow();
  for (const { value } of await list(app.table, rows.pointExports(vaultId))) {
    if (Temporal.Instant.compare(now, Temporal.Instant.from(value.expiresAt)) < 0) continue;
    await attempt(app, `export ${value.exportId}`, () => endExport(app, vaultId, value));
  }
}

/** A disaster struck during the drill: the virtual machine runs in Azure, and the test VM is not needed beside it. */
const isTestOver = ({ testFailover, failover, activeJob }: ProtectedItem): boolean =>
  testFailover !== undefined && failover?.vmArmId !== undefined && activeJob === undefined;

async function endTestAfterFailover(app: AppInvocation, vaultId: VaultId, item: ProtectedItem): Promise<void> {
  const { itemId, protectionId, testFailover } = item;
  if (testFailover === undefined) return;
  const key = { vaultId, itemId, protectionId, jobName: testFailover.jobName };
  await deleteTest(app, key);
  await endTest(app, key, testFailover.jobName, { kind: 'failed', failure: endedByFailover(item.vmName) });
}

const endedByFailover = (vmName: string): WorkflowFailure => ({
  code: 'US4018',
  message: `the test failover of ${vmName} was ended by a failover; its test VM is deleted`,
  possibleCauses: 'A failover was run while the test VM was up.',
  recommendedAction: 'Run the test failover again when the virtual machine is protected again.',
  retry: 'never',
});

/**
 * Nothing waits to be applied: should its workflow have died, the next cycle that arrives finds that out. Of hundreds of
 * items nearly all are so.
 */
const isIdle = ({ activeJob, replication }: ProtectedItem): boolean =>
  activeJob === undefined && replication.phase === 'delta' && replication.receivedCycle === replication.appliedCycle;

/** Item ids are hex digits of a digest: evenly spread. */
const isTurnOf = ({ itemId }: ProtectedItem, minute: number): boolean =>
  (Number.parseInt(itemId.slice(0, 8), 16) + minute) % sweepsPerIdleItem === 0;

async function start(app: AppInvocation, workflow: WorkflowToRun, evenIfCompleted: boolean): Promise<void> {
  const { orchestrator, instanceId, input } = workflow;
  const started = await app.workflows.ensure(orchestrator, instanceId, input as object, evenIfCompleted);
  if (started) app.log(`the sweep started ${orchestrator} ${instanceId}`);
}

/** Events older than the last 30 days, once an hour; a day late does no harm, so that the newer ones need not be read. */
async function forgetEvents(app: AppInvocation, vaultId: VaultId): Promise<void> {
  const { partition } = rows.events(vaultId);
  const now = await app.clock.now();
  if (now.toZonedDateTimeISO('UTC').minute !== 0) return;
  const oldest = now.subtract({ hours: eventsKeptHours });
  let leftCount = eventsForgottenMax;
  for (const range of rows.eventsBefore(vaultId, oldest)) {
    const old = await list(app.table, range, leftCount);
    for (let from = 0; from < old.length; from += transactionOperationsMax) {
      await app.table.transact(partition, old.slice(from, from + transactionOperationsMax).map(remove));
    }
    leftCount -= old.length;
    if (leftCount <= 0) return;
  }
}

/** Name under which an export pins its point. */
export const exportPin = (exportId: string): string => `export-${exportId}`;

/** Unpins the point and forgets the export, in one transaction; a point that is gone is no error. */
export async function endExport(
  app: Pick<AppInvocation, 'table'>,
  vaultId: VaultId,
  ended: PointExport,
): Promise<void> {
  const exportRef = rows.pointExport(vaultId, ended.exportId);
  await decideAndCommit(app.table, exportRef.partition, async () => {
    const stored = await read(app.table, exportRef);
    if (stored === undefined) return { operations: [], result: undefined };
    const point = await read(app.table, rows.point(vaultId, ended.itemId, ended.cycle));
    const pinnedBy = point?.value.pinnedBy.filter((name) => name !== exportPin(ended.exportId)) ?? [];
    return {
      operations: [remove(stored), ...(point === undefined ? [] : [replace(point, { ...point.value, pinnedBy })])],
      result: undefined,
    };
  });
}
