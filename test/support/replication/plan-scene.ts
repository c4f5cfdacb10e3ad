import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { asItemId, asProtectionId, asVmId, type ItemId, type JobName } from '../../../core/domain/ids.js';
import { jobNameAt } from '../../../core/domain/jobs/job-name.js';
import type { Job } from '../../../core/domain/jobs/job.js';
import { hasEnded, plannedTasks, requestCancel, resumeJob } from '../../../core/domain/jobs/transitions.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { planJobKind, planTasks, type PlanRunInput } from '../../../core/domain/recovery-plan/plan-run.js';
import {
  allowedPlanOperations,
  arrangeGroups,
  type PlanAction,
  type PlanGroup,
  type PlanOperation,
  type RecoveryPlan,
} from '../../../core/domain/recovery-plan/recovery-plan.js';
import { withMaskedAddresses } from '../../../functions/webhook-address.js';
import type { CommandResult, RelayCommand } from '../../../core/domain/relay-protocol/wire.js';
import { replicaBlob } from '../../../core/domain/replication/blob-names.js';
import {
  doorbellInstances,
  ensureJobLeftByPlan,
  ensureWorkflows,
} from '../../../core/domain/workflows/ensure-workflows.js';
import { doorbellEvent, workflowNames } from '../../../core/domain/workflows/workflows.js';
import { insert, list, read, replace, upsert } from '../../../core/records/access.js';
import { receiveCycle } from '../../../core/records/receive-cycle.js';
import { receiveFailback } from '../../../core/records/receive-failback.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import { sampleDisk, sampleItem, sampleProgress, sampleStorageAccountId, sampleVaultId } from '../sample-item.js';
import { sampleNetworkId, type WorkflowWorld } from './workflow-world.js';

const planName = 'payroll';
const diskBytes = 1024 * 1024;

/** Runs of one recovery plan over several items that are replicated already, with a relay that does what it is asked. */
export class PlanScene {
  readonly items: ItemId[] = [];
  /** VMs in the order in which they were started. */
  readonly started: string[] = [];
  /** How the relay answers scripts; absent: they succeed. */
  script: (command: Extract<RelayCommand, { kind: 'runScript' }>) => CommandResult = () => ({ kind: 'succeeded' });
  readonly scripts: string[] = [];
  /** Whether the relay comes to an end with what it fetches. */
  copies = true;
  private readonly running = new Set<string>();
  private jobs = 0;

  constructor(readonly world: WorkflowWorld) {
    const { compute } = world;
    const start = compute.startVm.bind(compute);
    compute.startVm = async (vmArmId) => {
      const vm = await start(vmArmId);
      this.started.push(vm.name);
      return vm;
    };
  }

  /**
   * Items as they are after their first recovery point, and the plan with so many of them in each boot group; `actions` by
   * boot group, or before the sources are shut down.
   */
  async seed(
    groupSizes: readonly number[],
    actions: Partial<Record<number | 'shutdown', Partial<PlanGroup>>> = {},
  ): Promise<void> {
    const groups: PlanGroup[] = [];
    for (const [index, size] of groupSizes.entries()) {
      const items = [];
      for (let member = 0; member < size; member++) {
        const itemId = await this.addItem(this.items.length + 1);
        items.push({ itemId, armId: `/items/${itemId}` });
      }
      groups.push({ groupType: 'Boot', items, startActions: [], endActions: [], ...actions[index] });
    }
    const arranged = arrangeGroups(groups);
    assert('groups' in arranged, JSON.stringify(arranged));
    const { fabricName } = this.world.item;
    const plan: RecoveryPlan = {
      planName,
      fabricName,
      createdAt: '2026-01-05T10:00:00Z',
      groups: arranged.groups.map((group) =>
        group.groupType === 'Shutdown' ? { ...group, ...actions.shutdown } : group,
      ),
    };
    await this.world.table.transact(vaultPartition(sampleVaultId), [upsert(rows.plan(sampleVaultId, planName), plan)]);
  }

  private async addItem(number: number): Promise<ItemId> {
    const { replicas, table } = this.world;
    const hex = String(number).padStart(12, '0');
    const protectionId = asProtectionId(`6a1f6a3e-0000-4000-8000-${hex}`);
    const itemId = asItemId(hex.padStart(32, 'a'));
    const base = sampleDisk(0, { sourceSizeBytes: diskBytes, replicaSizeBytes: diskBytes });
    const replica = replicaBlob(sampleStorageAccountId, protectionId, base.diskId);
    await replicas.createDisk(replica, diskBytes + 512);
    const fence = { epoch: 1, cycle: 1 };
    await replicas.raiseFence(replica, fence);
    await replicas.writePages(replica, 0, Buffer.alloc(4096, `vm ${number}`), fence);
    const properties = await replicas.properties(replica);
    const { snapshotId } = await replicas.createSnapshot(replica, { ifMatch: properties?.etag ?? '', fence });
    const takenAt = (await this.world.clock.now()).toString();
    const item = sampleItem({
      itemId,
      protectionId,
      vmId: asVmId(`50000000-0000-4000-9000-${hex}`),
      vmName: `vm-${number}`,
      itemName: `vm-${number}`,
      state: 'Protected',
      target: { ...sampleItem().target, vmName: `vm-${number}`, networkId: sampleNetworkId },
      disks: [
        {
          ...base,
          replica,
          baseReceivedThroughBytes: diskBytes,
          baseAppliedThroughBytes: diskBytes,
          lastSnapshot: { snapshotId, ...fence },
        },
      ],
      replication: sampleProgress({
        phase: 'delta',
        receivedCycle: 1,
        appliedCycle: 1,
        baseClosedByCycle: 1,
        receivedTakenAt: takenAt,
        lastHeartbeatAt: '2100-01-01T00:00:00Z',
      }),
    });
    await table.transact(vaultPartition(sampleVaultId), [
      insert(rows.item(sampleVaultId, itemId), item),
      insert(rows.point(sampleVaultId, itemId, 1), {
        recoveryPointId: `00000000-0000-4000-8000-${hex}`,
        protectionId,
        epoch: 1,
        cycle: 1,
        takenAt,
        consistency: 'crashConsistent',
        state: 'ready',
        pinnedBy: [],
        disks: [{ diskId: base.diskId, snapshotId }],
      }),
    ]);
    const fabric = await read(table, rows.fabric(sampleVaultId, this.world.item.fabricName));
    assert(fabric);
    const { inventory } = fabric.value;
    const vm = { ...this.world.vm, vmId: item.vmId, name: item.vmName, disks: this.world.vm.disks.slice(0, 1) };
    await table.transact(fabric.ref.partition, [
      replace(fabric, { ...fabric.value, inventory: { ...inventory, vms: [...inventory.vms, vm] } }),
    ]);
    this.items.push(itemId);
    return itemId;
  }

  async item(index: number): Promise<ProtectedItem> {
    const stored = await read(this.world.table, rows.item(sampleVaultId, this.items[index] ?? asItemId('')));
    assert(stored);
    return stored.value;
  }

  states = async (): Promise<string[]> =>
    Promise.all(this.items.map(async (_, index) => (await this.item(index)).state));

  /** Of the items' own jobs in a run of the plan, by VM. */
  async itemJobStates(runName: JobName): Promise<string[]> {
    const jobs = (await list(this.world.table, rows.jobs(sampleVaultId))).map(({ value }) => value);
    return jobs
      .filter(({ planJobName }) => planJobName === runName)
      .sort((one, other) => (one.targetObjectName < other.targetObjectName ? -1 : 1))
      .map(({ state }) => state);
  }

  async plan(): Promise<RecoveryPlan> {
    const stored = await read(this.world.table, rows.plan(sampleVaultId, planName));
    assert(stored);
    return stored.value;
  }

  async allowed(): Promise<PlanOperation[]> {
    const items = await Promise.all(this.items.map((_, index) => this.item(index)));
    return allowedPlanOperations(await this.plan(), items);
  }

  /** What the door does. */
  async begin(operation: PlanOperation, choices: Partial<PlanRunInput> = {}): Promise<JobName> {
    const { world } = this;
    const stored = await read(world.table, rows.plan(sampleVaultId, planName));
    assert(stored);
    assert.ok((await this.allowed()).includes(operation), `${operation} is not allowed`);
    const guid = `00000000-0000-4000-a000-${String(++this.jobs).padStart(12, '0')}`;
    const jobName = jobNameAt(world.time.now(), guid);
    const input: PlanRunInput = {
      vaultId: sampleVaultId,
      jobName,
      planName,
      fabricName: stored.value.fabricName,
      operation,
      groups: withMaskedAddresses(stored.value.groups),
      recoveryPoint: { kind: 'latest' },
      shutDownSources: false,
      synchronizeFirst: false,
      createVms: false,
      comments: '',
      ...choices,
    };
    const kind = { ...planJobKind(operation), tasks: planTasks(input) };
    const createdAt = (await world.clock.now()).toString();
    const job: Job = {
      jobName,
      scenarioName: kind.scenarioName,
      friendlyName: kind.friendlyName,
      state: 'NotStarted',
      tasks: plannedTasks(jobName, kind),
      errors: [],
      createdAt,
      targetResourceId: '',
      targetObjectName: planName,
      intent: { orchestrator: workflowNames.recoveryPlan, input },
    };
    const activeJob = { jobName, scenarioName: kind.scenarioName, startedAt: createdAt };
    await world.table.transact(vaultPartition(sampleVaultId), [
      insert(rows.job(sampleVaultId, jobName), job),
      replace(stored, { ...stored.value, activeJob }),
    ]);
    await world.harness.start(workflowNames.recoveryPlan, input, jobName);
    return jobName;
  }

  async run(operation: PlanOperation, choices: Partial<PlanRunInput> = {}): Promise<Job> {
    return this.ended(await this.begin(operation, choices));
  }

  ended = (jobName: JobName): Promise<Job> =>
    this.until(async () => {
      const job = await this.world.job(jobName);
      return (hasEnded(job) || (job.state === 'Suspended' && job.suspendedFor === 'testFailover')) && job;
    }, `job ${jobName} to end`);

  suspended = (jobName: JobName): Promise<Job> =>
    this.until(async () => {
      const job = await this.world.job(jobName);
      assert.ok(!hasEnded(job), `the job ended: ${JSON.stringify(job.errors)}`);
      return job.state === 'Suspended' && job;
    }, 'the operator’s turn');

  async say(jobName: JobName, word: 'resume' | 'cancel', comments = ''): Promise<void> {
    const stored = await read(this.world.table, rows.job(sampleVaultId, jobName));
    assert(stored);
    const now = (await this.world.clock.now()).toString();
    const changed = word === 'resume' ? resumeJob(stored.value, comments) : requestCancel(stored.value, now);
    await this.world.table.transact(stored.ref.partition, [replace(stored, changed)]);
    await this.world.harness.raise(stored.value.waiter ?? jobName, doorbellEvent, {});
  }

  /** The relay, doors and sweep at work, and time that passes, until it is so. */
  async until<T>(look: () => Promise<T | undefined | false>, what: string): Promise<T> {
    const deadline = Date.now() + 30_000;
    const { world } = this;
    for (let round = 1; ; round++) {
      const found = await look();
      if (found !== undefined && found !== false) return found;
      if (Date.now() > deadline) assert.fail(`gave up waiting for ${what}: ${JSON.stringify(await this.states())}`);
      await this.tend();
      await sleep(4);
      const { nextMs } = world.time;
      if (round % 8 === 0 && nextMs !== undefined && nextMs > world.time.now()) {
        world.time.advance(nextMs - world.time.now());
      }
    }
  }

  /** What the sweep starts, a minute later, of what the plan's runs have left. */
  async sweepLeft(): Promise<string[]> {
    const { world } = this;
    const jobs = (await list(world.table, rows.jobs(sampleVaultId))).map(({ value }) => value);
    const left = jobs.flatMap((job) => {
      if (job.planJobName === undefined) return [];
      return (
        ensureJobLeftByPlan(
          job,
          jobs.find(({ jobName }) => jobName === job.planJobName),
        ) ?? []
      );
    });
    for (const { orchestrator, instanceId, input } of left) await world.harness.start(orchestrator, input, instanceId);
    return left.map(({ instanceId }) => instanceId);
  }

  private async tend(): Promise<void> {
    const { world } = this;
    for (const stored of await list(world.table, rows.commands(world.item.relayId))) {
      const { command, result, instanceId } = stored.value;
      if (result !== undefined) continue;
      if (command.kind === 'runScript') this.scripts.push(command.scriptName);
      const answer: CommandResult = command.kind === 'runScript' ? this.script(command) : { kind: 'succeeded' };
      await world.table.transact(stored.ref.partition, [replace(stored, { ...stored.value, result: answer })]);
      await world.harness.raise(instanceId, doorbellEvent, {});
    }
    for (const { value: item } of await list(world.table, rows.items(sampleVaultId))) {
      await this.tendItem(item).catch(() => undefined);
      for (const { orchestrator, instanceId, input } of ensureWorkflows(sampleVaultId, item)) {
        if (this.running.has(instanceId)) continue;
        this.running.add(instanceId);
        await world.harness.start(orchestrator, input, instanceId);
      }
      for (const instanceId of doorbellInstances(sampleVaultId, item)) {
        await world.harness.raise(instanceId, doorbellEvent, {});
      }
    }
  }

  /** What the relay does by itself: the last cycle of a source that is locked, and what a failback asks for. */
  private async tendItem(item: ProtectedItem): Promise<void> {
    const { table, clock } = this.world;
    const { protectionId, replication, failback, itemId } = item;
    const { epoch, sourceLock, finalCycle, phase, receivedCycle } = replication;
    if (phase === 'delta' && sourceLock !== undefined && finalCycle === undefined) {
      await receiveCycle(table, clock, sampleVaultId, itemId, {
        protectionId,
        epoch,
        cycle: receivedCycle + 1,
        takenAt: (await clock.now()).toString(),
        consistency: 'crashConsistent',
        closesBase: false,
        finalOf: sourceLock,
        disks: item.disks.map(({ diskId }) => ({ diskId, log: null })),
      });
    }
    const done = { protectionId, epoch, fetchedBytes: 0 };
    if (phase === 'failback' && failback?.prepared === undefined) {
      await receiveFailback(table, sampleVaultId, itemId, { ...done, state: 'prepared' });
    }
    if (this.copies && phase === 'failback' && failback?.round?.copied === undefined && failback?.round !== undefined) {
      await receiveFailback(table, sampleVaultId, itemId, { ...done, state: 'copied' });
    }
    if (failback?.swap === 'ordered')
      await receiveFailback(table, sampleVaultId, itemId, { ...done, state: 'replaced' });
    if (replication.stopReason === 'failedBack') {
      await receiveFailback(table, sampleVaultId, itemId, { ...done, state: 'started' });
    }
  }
}

const everywhere: Pick<PlanAction, 'failoverTypes' | 'failoverDirections'> = {
  failoverTypes: ['TestFailover', 'PlannedFailover', 'UnplannedFailover'],
  failoverDirections: ['PrimaryToRecovery', 'RecoveryToPrimary'],
};
export const manual = (actionName: string): PlanAction => ({
  actionName,
  ...everywhere,
  details: { kind: 'manual', description: 'switch the load balancer' },
});
export const runbook = (actionName: string): PlanAction => ({
  actionName,
  ...everywhere,
  details: { kind: 'runbook', webhookUrl: 'https://example.net/hook?token=secret', timeoutSeconds: 60 },
});
export const script = (actionName: string, scriptName: string): PlanAction => ({
  actionName,
  ...everywhere,
  details: { kind: 'script', scriptName, timeoutSeconds: 60 },
});
