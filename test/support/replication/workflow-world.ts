import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Temporal } from 'temporal-polyfill';
import { activityRegistrations, type RegisteredActivity } from '../../../activities/registration.js';
import type { ActivityDependencies } from '../../../activities/activity.js';
import type { HostModes, Worker } from '../../../devhost/contract.js';
import { asJobName, type JobName } from '../../../core/domain/ids.js';
import { jobKinds, type Job, type JobKind } from '../../../core/domain/jobs/job.js';
import { jobNameAt } from '../../../core/domain/jobs/job-name.js';
import { hasEnded, plannedTasks } from '../../../core/domain/jobs/transitions.js';
import type { ProtectedItem, ReplicaBlob } from '../../../core/domain/protected-item/protected-item.js';
import { nextState, type ProtectionEvent } from '../../../core/domain/protected-item/state-table.js';
import { baseAlignmentBytes } from '../../../core/domain/replication/resync-geometry.js';
import type { RecoveryPoint } from '../../../core/domain/recovery-point/recovery-point.js';
import type { SiteVm } from '../../../core/domain/site/inventory.js';
import {
  doorbellInstances,
  ensureJobWorkflow,
  ensureWorkflows,
} from '../../../core/domain/workflows/ensure-workflows.js';
import { doorbellEvent, workflowNames } from '../../../core/domain/workflows/workflows.js';
import type { Clock } from '../../../core/ports/clock.js';
import type { Webhooks } from '../../../core/ports/webhooks.js';
import { insert, list, read, replace, type Stored } from '../../../core/records/access.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import { EngineHarness } from '../durable/engine-harness.js';
import { ManualClock } from '../durable/manual-clock.js';
import { InMemoryCloudCompute } from '../in-memory/cloud-compute.js';
import { InMemoryCloudInventory } from '../in-memory/cloud-inventory.js';
import { InMemoryReplicaStore } from '../in-memory/replica-store.js';
import { InMemoryStateTable } from '../in-memory/state-table.js';
import { InMemoryTransferStore } from '../in-memory/transfer-store.js';
import { sampleItem, sampleStorageAccountId, sampleVaultId } from '../sample-item.js';
import { sampleVm } from '../sample-site.js';
import { lendActivities } from './registered-functions.js';
import { ScriptedSource } from './scripted-source.js';
import { unreliable, type FaultAtCall } from './unreliable.js';

export const sampleNetworkId =
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.Network/virtualNetworks/prod';

/** Two pieces of a base. */
const diskSizeBytes = 2 * baseAlignmentBytes;

/** Everything but the doors and the real relay: rows, blobs, VMs, the durable engine, business time that moves by hand. */
export class WorkflowWorld {
  readonly table = new InMemoryStateTable();
  readonly replicas: InMemoryReplicaStore;
  readonly transfers = new InMemoryTransferStore();
  readonly compute: InMemoryCloudCompute;
  /** What runbooks were posted; the status that they answer with. */
  readonly posted: { url: string; body: unknown; idempotencyKey: string; timeoutSeconds: number }[] = [];
  runbookStatus = 200;
  readonly webhooks: Webhooks = {
    faultOf: () => undefined,
    post: async (url, body, { idempotencyKey, timeoutSeconds }) => {
      this.posted.push({ url, body, idempotencyKey, timeoutSeconds });
      return { status: this.runbookStatus };
    },
  };
  readonly time = new ManualClock();
  readonly clock: Clock = {
    now: async () => Temporal.Instant.fromEpochMilliseconds(this.time.now()),
    waitUntil: () => Promise.reject(new Error('no test waits')),
  };
  readonly harness: EngineHarness;
  readonly source: ScriptedSource;
  readonly item = sampleItem();
  readonly vm: SiteVm;
  private readonly started = new Set<string>();
  private jobs = 0;

  private constructor(options: WorldOptions) {
    this.vm = options.vm ?? sampleVm({}, 2, diskSizeBytes);
    this.replicas = new InMemoryReplicaStore({
      copiesFromSnapshotsAreIndependent: options.copiesFromSnapshotsAreIndependent ?? false,
    });
    this.compute = new InMemoryCloudCompute(this.replicas);
    this.harness = new EngineHarness({
      clock: this.time,
      modes: options.modes ?? {},
      ...(options.worker ? { worker: options.worker } : {}),
    });
    this.source = new ScriptedSource(
      this,
      this.item,
      this.vm.disks.map(({ sizeBytes }) => sizeBytes),
    );
    lendActivities(this.mortal(activityRegistrations(unreliable(this.dependencies, () => this.fault()))));
  }

  /** The host dies when an activity has had its effect and before that is recorded: once for each one that runs. */
  diesAtEveryActivity = false;
  /** How often it has died so far. */
  deaths = 0;

  private mortal(registrations: readonly RegisteredActivity[]): RegisteredActivity[] {
    const died = new Set<string>();
    return registrations.map(({ name, handler }) => ({
      name,
      handler: async (input) => {
        const output = await handler(input);
        const run = `${name} ${JSON.stringify(input)} ${JSON.stringify(output)}`;
        if (!this.diesAtEveryActivity || died.has(run)) return output;
        died.add(run);
        this.deaths++;
        await this.harness.die();
        // Nobody is left to hear of it.
        return new Promise(() => undefined);
      },
    }));
  }

  get dependencies(): ActivityDependencies {
    const cloudInventory = new InMemoryCloudInventory(
      [
        {
          armId: sampleStorageAccountId,
          name: 'replicas',
          kind: 'standard',
          blobEndpoint: 'http://127.0.0.1:1/replicas',
          credential: { kind: 'managedIdentity' },
        },
      ],
      [
        {
          armId: sampleNetworkId,
          name: 'prod',
          subnets: [
            { name: 'default', addressPrefix: '10.0.0.0/24' },
            { name: 'data', addressPrefix: '10.0.1.0/24' },
          ],
        },
      ],
    );
    const { table, replicas, transfers, compute, clock } = this;
    const { webhooks } = this;
    return { table, replicas, transfers, compute, clock, cloudInventory, webhooks };
  }

  /** Asked at each store call of an activity: should it fail, and when? Doors and the test itself are spared. */
  fault: FaultAtCall = () => undefined;

  static async started(options: WorldOptions = {}): Promise<WorkflowWorld> {
    const world = new WorkflowWorld(options);
    await world.harness.engine.start();
    await world.seed();
    return world;
  }

  async stop(): Promise<void> {
    await this.harness.engine.stop();
  }

  private async seed(): Promise<void> {
    const now = (await this.clock.now()).toString();
    const { fabricName, containerName, policyName } = this.item;
    const inventory = {
      vmmServerId: '50000000-0000-4000-8000-0000000000ff',
      vmmServerName: 'vmm-01',
      timeZone: 'Europe/Berlin',
      clouds: [{ cloudId: containerName, name: 'Production' }],
      hosts: [{ hostId: this.vm.hostId, name: 'host-01', cloudId: containerName }],
      networks: [],
      vms: [this.vm],
    };
    await this.table.transact(vaultPartition(sampleVaultId), [
      insert(rows.fabric(sampleVaultId, fabricName), {
        fabricName,
        relayId: this.item.relayId,
        inventory,
        inventoryAt: now,
        lastHeartbeatAt: now,
        relayVersion: '1',
        registeredAt: now,
        networkMappings: [],
      }),
      insert(rows.policy(sampleVaultId, policyName), {
        name: policyName,
        replicationIntervalSeconds: 300,
        recoveryPointHistoryHours: 2,
        appConsistentFrequencyHours: 0,
        storageAccountIds: [],
        createdAt: now,
      }),
      insert(rows.mapping(sampleVaultId, fabricName, containerName, 'default'), {
        mappingName: 'default',
        fabricName,
        containerName,
        policyName,
        createdAt: now,
      }),
    ]);
  }

  /** The site reports its VM otherwise, or no more. */
  async reportVms(vms: SiteVm[]): Promise<void> {
    const stored = await read(this.table, rows.fabric(sampleVaultId, this.item.fabricName));
    assert(stored);
    const inventory = { ...stored.value.inventory, vms };
    await this.table.transact(vaultPartition(sampleVaultId), [replace(stored, { ...stored.value, inventory })]);
  }

  /** What the door of a PUT does: the item and its job in one transaction. */
  async enable(changes: Partial<ProtectedItem> = {}): Promise<JobName> {
    const { checkpointAt: _, ...replication } = this.item.replication;
    const item: ProtectedItem = {
      ...this.item,
      state: 'EnablingProtection',
      disks: [],
      replication: { ...replication, phase: 'none' },
      target: { ...this.item.target, networkId: sampleNetworkId },
      source: this.vm,
      ...changes,
    };
    return this.submit(jobKinds.enableProtection, workflowNames.enableProtection, {}, (job) => [
      insert(rows.item(sampleVaultId, item.itemId), { ...item, activeJob: activeJobOf(job) }),
    ]);
  }

  /** What the door of an operation on the item does. */
  async operate(
    kind: JobKind,
    orchestrator: string,
    event: ProtectionEvent,
    input: Record<string, unknown> = {},
  ): Promise<JobName> {
    const stored = await this.storedItem();
    const state = nextState(stored.value.state, event);
    assert(state, `${event} is not allowed in ${stored.value.state}`);
    return this.submit(kind, orchestrator, input, (job) => [
      replace(stored, { ...stored.value, state, activeJob: activeJobOf(job) }),
    ]);
  }

  async submit(
    kind: JobKind,
    orchestrator: string,
    input: Record<string, unknown>,
    operations: (job: Job) => ReturnType<typeof insert>[],
  ): Promise<JobName> {
    const guid = `00000000-0000-4000-8000-${String(++this.jobs).padStart(12, '0')}`;
    const jobName = jobNameAt(this.time.now(), guid);
    const { itemId, protectionId } = this.item;
    const job: Job = {
      jobName,
      scenarioName: kind.scenarioName,
      friendlyName: kind.friendlyName,
      state: 'NotStarted',
      tasks: plannedTasks(jobName, kind),
      errors: [],
      createdAt: (await this.clock.now()).toString(),
      targetResourceId: '',
      targetObjectName: '',
      itemId,
      intent: { orchestrator, input: { vaultId: sampleVaultId, itemId, protectionId, jobName, ...input } },
    };
    await this.table.transact(vaultPartition(sampleVaultId), [
      insert(rows.job(sampleVaultId, jobName), job),
      ...operations(job),
    ]);
    await this.wake();
    return jobName;
  }

  /** What doors and sweep do after rows changed. */
  async wake(): Promise<void> {
    const item = (await this.storedItem()).value;
    const jobs = (await list(this.table, rows.jobs(sampleVaultId))).flatMap(({ value }) => {
      const workflow = ensureJobWorkflow(value);
      return workflow ? [workflow] : [];
    });
    for (const { orchestrator, instanceId, input } of [...ensureWorkflows(sampleVaultId, item), ...jobs]) {
      if (this.started.has(instanceId)) continue;
      this.started.add(instanceId);
      await this.harness.start(orchestrator, input, instanceId);
    }
    for (const instanceId of doorbellInstances(sampleVaultId, item)) {
      await this.harness.raise(instanceId, doorbellEvent, {});
    }
  }

  /** The relay carries out every order that waits. */
  async answerCommands(result: 'succeeded' | 'failed' = 'succeeded'): Promise<string[]> {
    const commands = await list(this.table, rows.commands(this.item.relayId));
    const kinds: string[] = [];
    for (const stored of commands) {
      if (stored.value.result) continue;
      kinds.push(stored.value.command.kind);
      await this.table.transact(stored.ref.partition, [
        replace(stored, {
          ...stored.value,
          result:
            result === 'succeeded'
              ? { kind: 'succeeded' }
              : {
                  kind: 'failed',
                  code: 'US5199',
                  message: 'the host refused',
                  possibleCauses: 'a test',
                  recommendedAction: 'none',
                },
        }),
      ]);
      await this.harness.raise(stored.value.instanceId, doorbellEvent, {});
    }
    return kinds;
  }

  async storedItem(): Promise<Stored<ProtectedItem>> {
    const stored = await read(this.table, rows.item(sampleVaultId, this.item.itemId));
    assert(stored);
    return stored;
  }

  async currentItem(): Promise<ProtectedItem> {
    return (await this.storedItem()).value;
  }

  async job(jobName: JobName): Promise<Job> {
    const stored = await read(this.table, rows.job(sampleVaultId, asJobName(jobName)));
    assert(stored);
    return stored.value;
  }

  async endedJob(jobName: JobName): Promise<Job> {
    return this.until(async () => {
      const job = await this.job(jobName);
      return hasEnded(job) ? job : undefined;
    }, `job ${jobName} to end`);
  }

  async points(): Promise<RecoveryPoint[]> {
    const points = await list(this.table, rows.points(sampleVaultId, this.item.itemId));
    return points.map(({ value }) => value).sort((a, b) => a.cycle - b.cycle);
  }

  /**
   * Waits; business time moves to the next timer whenever nothing else goes on. Meanwhile the relay's orders are answered
   * and doorbells rung, unless the point is that nobody does (`timesOut`).
   */
  async until<T>(look: () => Promise<T | undefined | false>, what: string, timesOut = false): Promise<T> {
    const deadline = Date.now() + 20_000;
    for (let idle = 0; ; idle++) {
      const found = await look();
      if (found !== undefined && found !== false) return found;
      if (Date.now() > deadline) {
        assert.fail(`gave up waiting for ${what}: ${JSON.stringify(await this.currentItem())}`);
      }
      if (!timesOut) await this.answerCommands();
      await sleep(2);
      if (idle % 15 === 14) {
        if (!timesOut) await this.wake();
        const { nextMs } = this.time;
        if (nextMs !== undefined && nextMs > this.time.now()) this.time.advance(nextMs - this.time.now());
      }
    }
  }

  /** Until the workflows have called no store for a while: they wait for a doorbell or a timer. */
  async untilQuiet(): Promise<void> {
    const calls = (): number =>
      this.table.faults.calls.length + this.replicas.faults.calls.length + this.transfers.faults.calls.length;
    for (let before = -1; before !== calls();) {
      before = calls();
      await sleep(40);
    }
  }

  async untilState(state: ProtectedItem['state']): Promise<ProtectedItem> {
    return this.until(async () => {
      const item = await this.currentItem();
      return item.state === state && item.activeJob === undefined ? item : undefined;
    }, `state ${state}`);
  }

  async untilApplied(cycle: number): Promise<void> {
    await this.wake();
    await this.until(
      async () => (await this.currentItem()).replication.appliedCycle >= cycle || undefined,
      `cycle ${cycle} to be applied`,
    );
  }

  /** The whole way to a protected item, with a guest that writes meanwhile. */
  async protect(beforeBase: () => void = () => undefined): Promise<void> {
    const jobName = await this.enable();
    await this.until(
      async () => (await this.currentItem()).replication.phase === 'initialReplication' || undefined,
      'initial replication to be asked for',
    );
    await this.source.startInitialReplication();
    await this.wake();
    assert.equal((await this.endedJob(jobName)).state, 'Succeeded');
    beforeBase();
    this.source.write(0, 3, 'while the base is sent');
    const sizeBytes = this.vm.disks[0]?.sizeBytes ?? 0;
    const cutBytes = Math.min(baseAlignmentBytes, sizeBytes);
    await this.source.sendSegment(0, 0, cutBytes);
    await this.source.sendCycle();
    if (cutBytes < sizeBytes) await this.source.sendSegment(0, cutBytes, sizeBytes);
    for (let index = 1; index < this.vm.disks.length; index++) {
      this.source.write(index, 7, 'before the last segment');
      await this.source.sendSegment(index, 0, this.vm.disks[index]?.sizeBytes ?? 0);
    }
    await this.source.sendCycle({ closesBase: true });
    await this.wake();
    await this.untilState('Protected');
  }

  async failOver(recoveryPoint: object = { kind: 'latest' }, shutDownSource = false): Promise<Job> {
    const jobName = await this.operate(
      jobKinds.unplannedFailover,
      workflowNames.unplannedFailover,
      'unplannedFailoverStarted',
      { recoveryPoint, shutDownSource },
    );
    return this.endedJob(jobName);
  }

  /** The failover's disks against the source as it was at that cycle. */
  async assertFailoverEqualsSource(cycle: number): Promise<void> {
    const { failover } = await this.currentItem();
    assert.equal(failover?.cycle, cycle);
    for (const [index, { blob }] of failover.disks.entries()) {
      await this.assertDiskEquals(blob, this.source.images.get(cycle)?.[index], `failover disk ${index}`);
    }
  }

  /** One recovery point's disks against the source as it was at that cycle. */
  async assertPointEqualsSource(point: RecoveryPoint): Promise<void> {
    assert.equal(point.state, 'ready');
    const item = await this.currentItem();
    const image = this.source.images.get(point.cycle);
    assert(image, `no image of cycle ${point.cycle}`);
    for (const [index, disk] of item.disks.entries()) {
      const snapshotId = point.disks.find(({ diskId }) => diskId === disk.diskId)?.snapshotId;
      assert(snapshotId, `point of cycle ${point.cycle} has no snapshot of disk ${index}`);
      await this.assertDiskEquals(disk.replica, image[index], `cycle ${point.cycle}, disk ${index}`, snapshotId);
    }
  }

  async assertDiskEquals(
    blob: ReplicaBlob,
    image: Buffer | undefined,
    what: string,
    snapshotId?: string,
  ): Promise<void> {
    assert(image);
    const content = await this.replicas.readPages(blob, 0, image.length, snapshotId);
    const differs = content.findIndex((byte, at) => byte !== image[at]);
    assert.equal(differs, -1, `${what} differs from the source at byte ${differs}`);
  }
}

export interface WorldOptions {
  vm?: SiteVm;
  modes?: Partial<HostModes>;
  copiesFromSnapshotsAreIndependent?: boolean;
  /** What runs the functions, where it is not the plain one. */
  worker?: Worker;
}

const activeJobOf = (job: Job) => ({
  jobName: job.jobName,
  scenarioName: job.scenarioName,
  startedAt: job.createdAt,
});
