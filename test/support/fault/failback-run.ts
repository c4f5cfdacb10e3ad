import assert from 'node:assert/strict';
import { asJobName, type JobName } from '../../../core/domain/ids.js';
import { hasEnded } from '../../../core/domain/jobs/transitions.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { allowedOperations } from '../../../core/domain/protected-item/state-table.js';
import { read } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { kill, kindOf, type FaultName } from './fault-kinds.js';
import { pieceBytes } from './images.js';
import { comparePoint } from './verdict.js';
import { FaultWorld } from './world.js';

const hour = 3600;
/** Without faults the first one succeeds: whatever the earlier ones met is over by then. */
const attemptsMax = 4;

export interface FailbackRun {
  problems: string[];
  /** How each attempt's job ended: `Succeeded`, or the code that it failed with. */
  attempts: string[];
  log: readonly string[];
}

/**
 * One VM that runs in the cloud is failed back while faults happen, until that succeeds; then it is committed and replicated
 * again. No two of it ever run. After a failed attempt it runs in the cloud and can be failed back again; after the one that
 * succeeded its disks at the site are those that it had in the cloud, and replication goes on from them to whole points.
 */
export async function runFailback(seed: number, kinds: readonly FaultName[]): Promise<FailbackRun> {
  const options = {
    seed,
    vmCount: 1,
    diskMebibytes: 4,
    replicationIntervalSeconds: 300,
    guestPauseSeconds: 20,
    resyncMode: 'immediate',
  } as const;
  return FaultWorld.run(options, async (world) => {
    const random = world.random.stream('faults');
    const problems: string[] = [];
    const attempts: string[] = [];
    const subject = async (): Promise<ProtectedItem> => {
      const [item] = await world.items();
      assert(item);
      return item;
    };
    const inState = async (state: ProtectedItem['state']) => {
      const item = await subject();
      return item.state === state && item.activeJob === undefined;
    };
    const act = async (path: string, properties: object, state: ProtectedItem['state']): Promise<void> => {
      await begin(world, await subject(), path, properties);
      assert(
        await world.until(() => inState(state), 2 * hour, 10),
        `the item becomes ${state}: ${JSON.stringify(await subject())}`,
      );
    };
    await world.protectAll();
    world.startGuests();
    assert(await world.until(() => inState('Protected'), hour), 'the item is protected');
    const there = {
      failoverDirection: 'PrimaryToRecovery',
      providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
    };
    await act('plannedFailover', there, 'FailoverCommitPending');
    await act('failoverCommit', {}, 'FailoverCommitted');

    while (attempts.length < attemptsMax && attempts.at(-1) !== 'Succeeded') {
      await writeInCloud(world, await subject(), random.between(1, 6), () => random.between(0, 60));
      const isFaulty = attempts.length < attemptsMax - 1;
      const jobName = await begin(world, await subject(), 'plannedFailover', {
        failoverDirection: 'RecoveryToPrimary',
        providerSpecificDetails: {
          instanceType: 'HyperVReplicaAzureFailback',
          dataSyncOption: random.chance(0.5) ? 'ForSynchronization' : 'ForDownTime',
        },
      });
      for (let count = isFaulty ? random.between(1, 4) : 0; count > 0; count--) {
        await world.advance(random.pick([0, 0, 1, 4]));
        const kind = kindOf(random.pick(kinds));
        world.note(`FAULT ${kind.name}`);
        await kind.inject(world, random);
        if (random.chance(0.7)) kill(world, random, random.pick(['relay', 'app', 'site']), random.pick([5, 30, 150]));
      }
      const job = async () => (await read(world.table, rows.job(world.vaultId, jobName)))?.value;
      const isOver = async () => {
        const found = await job();
        if (found?.state === 'Suspended') resume(world, jobName);
        if (await bothRun(world, await subject())) problems.push('the VM runs at the site and in the cloud');
        return found !== undefined && hasEnded(found);
      };
      if (!(await world.until(isOver, 6 * hour, 30))) {
        problems.push(`the job does not end: ${JSON.stringify(await job())} ${JSON.stringify(await subject())}`);
        break;
      }
      const ended = await job();
      assert(ended);
      attempts.push(ended.state === 'Succeeded' ? 'Succeeded' : (ended.errors.at(-1)?.code ?? '?'));
      world.note(`ATTEMPT ${attempts.at(-1)} ${JSON.stringify(ended.errors)}`);
      for (const process of [world.relay, world.app, world.site]) process?.life.spare();
      await world.advance(hour / 2);
      if (await bothRun(world, await subject())) problems.push('the VM runs at the site and in the cloud afterwards');
      problems.push(
        ...(ended.state === 'Succeeded'
          ? await judgeReturned(world, subject)
          : await judgeKept(world, await subject())),
      );
      if (problems.length > 0) break;
    }
    if (problems.length === 0 && attempts.at(-1) !== 'Succeeded')
      problems.push(`no attempt succeeded: ${attempts.join()}`);
    if (problems.length === 0) {
      await act('failoverCommit', {}, 'FailbackCommitted');
      if (world.compute.vms.size > 0) problems.push('the VM in the cloud is left');
      await act('reProtect', {}, 'Protected');
      problems.push(...(await judgeReplicated(world, subject)));
    }
    return { problems, attempts, log: world.log };
  });
}

async function begin(world: FaultWorld, item: ProtectedItem, operation: string, properties: object): Promise<JobName> {
  const path = `/replicationFabrics/${item.fabricName}/replicationProtectionContainers/${item.containerName}/replicationProtectedItems/${item.itemName}/${operation}`;
  const answer = await world.arm('POST', path, { properties });
  assert.equal(answer.status, 202, JSON.stringify(answer.body));
  const jobName = /replicationOperationStatus\/([^/?]+)/.exec(answer.headers?.['Azure-AsyncOperation'] ?? '')?.[1];
  assert(jobName);
  return asJobName(jobName);
}

/** An operator completes it. Nobody waits: the app may be dead, or slow, and time passes only while the run lets it. */
function resume(world: FaultWorld, jobName: JobName): void {
  world.arm('POST', `/replicationJobs/${jobName}/resume`, { properties: {} }).catch(() => undefined);
}

async function writeInCloud(world: FaultWorld, item: ProtectedItem, count: number, chunk: () => number): Promise<void> {
  for (let write = 0; write < count; write++) {
    for (const { blob } of item.failover?.disks ?? []) {
      const found = await world.replicas.properties(blob);
      assert(found);
      await world.replicas.writePages(blob, chunk() * pieceBytes, Buffer.alloc(4096, write + 1), found.fence);
    }
  }
}

/** The site may be dead just then: its VM does not run while it is. */
async function runsAtSite(world: FaultWorld, item: ProtectedItem): Promise<boolean> {
  const listed = await world.callSite('list', {}).catch(() => undefined);
  return listed?.vms.find(({ vmId }) => vmId === item.vmId)?.powerState === 'running';
}

async function bothRun(world: FaultWorld, item: ProtectedItem): Promise<boolean> {
  const inCloud = [...world.compute.vms.values()].some(({ powerState }) => powerState === 'running');
  return inCloud && (await runsAtSite(world, item));
}

async function judgeKept(world: FaultWorld, item: ProtectedItem): Promise<string[]> {
  const problems: string[] = [];
  if (!allowedOperations(item).includes('Failback')) problems.push(`${item.state} allows no other failback`);
  const vms = [...world.compute.vms.values()];
  if (vms.length !== 1 || vms[0]?.powerState !== 'running')
    problems.push(`in the cloud: ${JSON.stringify(vms.map(({ powerState }) => powerState))}`);
  if (await runsAtSite(world, item)) problems.push('the VM runs at the site');
  if (world.compute.exports.size > 0) problems.push('disks are still held for the failback');
  const status = await world.callSite('failbackStatus', { vmId: item.vmId, protectionId: item.protectionId });
  if (status.kind === 'prepared' || status.kind === 'preparing') problems.push('the site still has side images');
  return problems;
}

/** What the VM started from at the site, by its journal, is what it had in the cloud when it was shut down there. */
async function judgeReturned(world: FaultWorld, subject: () => Promise<ProtectedItem>): Promise<string[]> {
  const problems: string[] = [];
  const item = await subject();
  if (item.state !== 'FailbackCommitPending') problems.push(`the item is ${item.state}`);
  if (!(await world.until(() => runsAtSite(world, item), hour, 30))) problems.push('the VM does not run at the site');
  const image = world.vmOf(item).images.at(item.failback?.round?.epoch ?? 0, item.replication.receivedCycle);
  if (!image) return [...problems, 'the site has no journal of the disks that it put in place'];
  for (const [index, { blob }] of (item.failover?.disks ?? []).entries()) {
    const content = await world.replicas.readPages(blob, 0, item.disks[index]?.sourceSizeBytes ?? 0);
    for (const [piece, expected] of (image[index] ?? []).entries()) {
      if (content.subarray(piece * pieceBytes, (piece + 1) * pieceBytes).equals(expected)) continue;
      problems.push(`disk ${index} came back otherwise in piece ${piece}`);
    }
  }
  return problems;
}

async function judgeReplicated(world: FaultWorld, subject: () => Promise<ProtectedItem>): Promise<string[]> {
  const before = (await subject()).replication.appliedCycle;
  const goesOn = async () => (await subject()).replication.appliedCycle > before + 1;
  if (!(await world.until(goesOn, hour, 30)))
    return [`replication does not go on: ${JSON.stringify((await subject()).replication)}`];
  const item = await subject();
  const problems: string[] = [];
  if (item.replication.resyncRequired !== undefined)
    problems.push(`a resync is required: ${item.replication.resyncRequired.message}`);
  const points = (await world.points(item.itemId)).filter(({ state }) => state === 'ready');
  if (points.length === 0) problems.push('there is no recovery point');
  const siteEpoch = Math.max(...(await siteEpochs(world)));
  for (const point of points) problems.push(...(await comparePoint(world, item, { ...point, epoch: siteEpoch })));
  return problems;
}

const siteEpochs = async (world: FaultWorld): Promise<number[]> =>
  (await world.callSite('list', {})).vms.flatMap(({ epoch }) => epoch ?? []);
