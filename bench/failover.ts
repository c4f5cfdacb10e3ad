import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { copyStretch } from '../activities/failover-vm.js';
import { planCopy } from '../activities/failover.js';
import { replicaBlobLengthBytes } from '../core/dataplane/vhd/fixed-vhd.js';
import type { JobName } from '../core/domain/ids.js';
import type { Job } from '../core/domain/jobs/job.js';
import { hasEnded } from '../core/domain/jobs/transitions.js';
import type { ReplicaBlob } from '../core/domain/protected-item/protected-item.js';
import { pageWriteMaxBytes, type ReplicaStore } from '../core/ports/replica-store.js';
import { openReplicaStore } from '../providers/azure-storage/replica-store.js';
import { startAzurite } from '../test/support/azurite.js';
import { InMemoryCloudInventory } from '../test/support/in-memory/cloud-inventory.js';
import { InMemoryReplicaStore } from '../test/support/in-memory/replica-store.js';
import { inWorld } from '../test/support/replication/in-world.js';
import { PlanScene } from '../test/support/replication/plan-scene.js';
import type { WorkflowWorld } from '../test/support/replication/workflow-world.js';

const mib = 1024 * 1024;
const gib = 1024 * mib;
const dataBytes = 256 * mib;
const diskSizesGib = [1, 8, 32];
/** As a workflow runs them (orchestrators/failover-steps.ts). */
const copiesAtOnce = 8;

/** What the copies of a failover move through the app, counted at the store. */
interface Traffic {
  readBytes: number;
  writtenBytes: number;
  storeCopies: number;
}

function counted(store: ReplicaStore): { store: ReplicaStore; traffic: Traffic } {
  const traffic: Traffic = { readBytes: 0, writtenBytes: 0, storeCopies: 0 };
  const wrapped = new Proxy(store, {
    get: (target, property) => {
      const member: unknown = Reflect.get(target, property);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]): unknown => {
        if (property === 'readPages') traffic.readBytes += args[2] as number;
        if (property === 'writePages') traffic.writtenBytes += (args[2] as Buffer).length;
        if (property === 'copySnapshot') traffic.storeCopies += 1;
        return Reflect.apply(member, target, args);
      };
    },
  });
  return { store: wrapped, traffic };
}

const blobOf = (storageAccountId: string, name: string): ReplicaBlob => ({
  storageAccountId,
  container: 'understudy-vms',
  blobName: name,
});
const fence = { epoch: 1, cycle: 1 };

/** A replica of that size with 256 MiB all over it, and its snapshot. */
async function replicaOf(
  store: ReplicaStore,
  blob: ReplicaBlob,
  sizeBytes: number,
): Promise<{ blob: ReplicaBlob; snapshotId: string }> {
  await store.createDisk(blob, replicaBlobLengthBytes(sizeBytes));
  await store.raiseFence(blob, fence);
  const pieces = dataBytes / pageWriteMaxBytes;
  const data = randomBytes(pageWriteMaxBytes);
  for (let piece = 0; piece < pieces; piece++) {
    const at = Math.floor((piece * (sizeBytes / pieces)) / pageWriteMaxBytes) * pageWriteMaxBytes;
    await store.writePages(blob, at, data, fence);
  }
  const found = await store.properties(blob);
  const { snapshotId } = await store.createSnapshot(blob, { ifMatch: found?.etag ?? '', fence });
  return { blob, snapshotId };
}

/** The failover's copying, by the functions that its activities are made of. */
async function copy(
  store: ReplicaStore,
  accountId: string,
  sizeBytes: number,
): Promise<{ seconds: number; traffic: Traffic }> {
  const from = await replicaOf(store, blobOf(accountId, `${sizeBytes}-replica.vhd`), sizeBytes);
  const { store: observed, traffic } = counted(store);
  const to = blobOf(accountId, `${sizeBytes}-failover.vhd`);
  const startedAt = performance.now();
  let waiting = planCopy({ sourceSizeBytes: sizeBytes }, 0, store.capabilities.copiesFromSnapshotsAreIndependent);
  while (waiting.length > 0) {
    const results: { finished: boolean }[] = [];
    for (let index = 0; index < waiting.length; index += copiesAtOnce) {
      const slices = waiting.slice(index, index + copiesAtOnce);
      results.push(
        ...(await Promise.all(slices.map((slice) => copyStretch(observed, { from, to, fence, sizeBytes }, slice)))),
      );
    }
    waiting = waiting.filter((_, index) => results[index]?.finished !== true);
  }
  return { seconds: (performance.now() - startedAt) / 1000, traffic };
}

/** Makes of a disk what a failover to Latest processed makes of it, where the store copies by itself and where it does not. */
export async function benchFailover(print: (line: string) => void): Promise<void> {
  const azurite = await startAzurite();
  try {
    const inventory = InMemoryCloudInventory.ofAzurite(azurite);
    const accountId = (await inventory.storageAccounts())[0]?.armId ?? '';
    const store = await openReplicaStore({ inventory });
    let first: number | undefined;
    for (const sizeGib of diskSizesGib) {
      const { seconds, traffic } = await copy(store, accountId, sizeGib * gib);
      first ??= seconds;
      print(
        `${String(sizeGib).padStart(2)} GiB disk with ${dataBytes / mib} MiB, Azurite, page by page: ${seconds.toFixed(2)} s, ` +
          `${traffic.readBytes / mib} MiB read and ${traffic.writtenBytes / mib} MiB written through the app; ` +
          `${(seconds / first).toFixed(2)} times the ${diskSizesGib[0]} GiB disk`,
      );
    }
  } finally {
    await azurite.stop();
  }
  const independent = new InMemoryReplicaStore({ copiesFromSnapshotsAreIndependent: true });
  for (const sizeGib of diskSizesGib) {
    const { traffic } = await copy(independent, 'memory', sizeGib * gib);
    print(
      `${String(sizeGib).padStart(2)} GiB disk with ${dataBytes / mib} MiB, a store that copies snapshots itself: ` +
        `${traffic.storeCopies} calls, ${traffic.readBytes + traffic.writtenBytes} bytes through the app`,
    );
  }
  await benchPlan(print);
}

/** Nobody has to be woken: only time passes. */
async function ended(world: WorkflowWorld, jobName: JobName): Promise<Job> {
  for (;;) {
    const job = await world.job(jobName);
    if (hasEnded(job)) return job;
    await sleep(lookMilliseconds);
    const { nextMs } = world.time;
    if (nextMs !== undefined && nextMs > world.time.now()) world.time.advance(nextMs - world.time.now());
  }
}
const lookMilliseconds = 20;

const groups = 5;
const membersOfGroup = 10;
/** What one VM takes to start, and one to be made ready, in this bench. */
const startMilliseconds = 1000;
const prepareMilliseconds = 1000;

/** A plan of 50 VMs in 5 groups, against its slowest chain and against one VM after the other. */
async function benchPlan(print: (line: string) => void): Promise<void> {
  await inWorld({}, async (world) => {
    const plan = new PlanScene(world);
    await plan.seed(Array.from({ length: groups }, () => membersOfGroup));
    const { compute } = world;
    const [create, start] = [compute.createVm.bind(compute), compute.startVm.bind(compute)];
    compute.createVm = async (specification) => {
      await sleep(prepareMilliseconds);
      return create(specification);
    };
    compute.startVm = async (vmArmId) => {
      await sleep(startMilliseconds);
      return start(vmArmId);
    };
    const startedAt = performance.now();
    const jobName = await plan.begin('UnplannedFailover', { recoveryPoint: { kind: 'latestProcessed' } });
    const job = await ended(world, jobName);
    const seconds = (performance.now() - startedAt) / 1000;
    const vms = groups * membersOfGroup;
    // 20 items are prepared side by side: 50 take three turns.
    const chain = (3 * prepareMilliseconds + groups * startMilliseconds) / 1000;
    const sum = (vms * (prepareMilliseconds + startMilliseconds)) / 1000;
    print(
      `plan of ${vms} VMs in ${groups} groups: ${job.state} in ${seconds.toFixed(1)} s; its slowest chain takes ${chain.toFixed(1)} s ` +
        `(ratio ${(seconds / chain).toFixed(2)}), one VM after the other ${sum.toFixed(1)} s (ratio ${(seconds / sum).toFixed(2)})`,
    );
  });
}
