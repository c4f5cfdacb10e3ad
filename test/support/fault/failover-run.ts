import { FaultWorld } from './world.js';
import assert from 'node:assert/strict';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { Job } from '../../../core/domain/jobs/job.js';
import { read } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { kill, kindOf, type FaultName } from './fault-kinds.js';
import { allowedOperations } from '../../../core/domain/protected-item/state-table.js';
import { pieceBytes } from './images.js';
import { comparePoint } from './verdict.js';

const hour = 3600;
const readBytes = 1024 * 1024;
/** Without faults the first one succeeds: whatever the earlier ones met is over by then. */
const attemptsMax = 4;

export type FailoverKind = 'plannedFailover' | 'unplannedFailover';

export interface FailoverRun {
  problems: string[];
  /** How each attempt's job ended: `Succeeded`, or the code that it failed with. */
  attempts: string[];
  effects: Readonly<Record<string, number>>;
  log: readonly string[];
}

/**
 * One VM is failed over while faults happen, until it succeeds. After a failed attempt the cloud holds nothing, and of a planned
 * one the source runs again and is replicated to whole points; after the one that succeeded the disks in the cloud are those of
 * the source: of a planned failover as it was shut down, of an unplanned one as it was at the recovery point.
 */
export async function runFailover(
  failoverKind: FailoverKind,
  seed: number,
  kinds: readonly FaultName[],
): Promise<FailoverRun> {
  const options = {
    seed,
    vmCount: 2,
    diskMebibytes: 4,
    replicationIntervalSeconds: 300,
    guestPauseSeconds: 20,
    resyncMode: 'immediate',
  } as const;
  return FaultWorld.run(options, async (world) => {
    const random = world.random.stream('faults');
    const problems: string[] = [];
    const attempts: string[] = [];
    await world.protectAll();
    world.startGuests();
    const isProtected = async () => (await world.items()).every((item) => isWhole(item));
    assert(await world.until(isProtected, hour), 'the items are protected');
    await world.advance(random.between(0, 600));
    const subject = async (): Promise<ProtectedItem> => {
      const [item] = await world.items();
      assert(item);
      return item;
    };
    while (attempts.length < attemptsMax && attempts.at(-1) !== 'Succeeded') {
      const jobName = await begin(world, failoverKind, await subject());
      const isFaulty = attempts.length < attemptsMax - 1;
      for (let count = isFaulty ? random.between(1, 4) : 0; count > 0; count--) {
        // It takes ten seconds or so where nothing happens.
        await world.advance(random.pick([0, 0, 1, 4]));
        const kind = kindOf(random.pick(kinds));
        world.note(`FAULT ${kind.name}`);
        await kind.inject(world, random);
        // Few steps of the relay and the site belong to a failover: another death among those.
        if (random.chance(0.7)) kill(world, random, random.pick(['relay', 'app', 'site']), random.pick([5, 30, 150]));
      }
      const hasEnded = async () => (await subject()).activeJob?.jobName !== jobName;
      assert(await world.until(hasEnded, 40 * hour, 60), 'the job ends');
      const stored = await read(world.table, rows.job(world.vaultId, jobName));
      assert(stored);
      attempts.push(stored.value.state === 'Succeeded' ? 'Succeeded' : (stored.value.errors.at(-1)?.code ?? '?'));
      world.note(`ATTEMPT ${attempts.at(-1)} ${JSON.stringify(stored.value.errors)}`);
      for (const process of [world.relay, world.app, world.site]) process?.life.spare();
      await world.advance(hour / 2);
      if (stored.value.state === 'Succeeded')
        problems.push(...(await judgeFailedOver(world, failoverKind, await subject())));
      else if (failoverKind === 'plannedFailover')
        problems.push(...(await judgeGivenBack(world, subject, stored.value)));
      else problems.push(...(await judgeUndone(world, subject)));
      if (problems.length > 0) break;
    }
    if (attempts.at(-1) !== 'Succeeded' && problems.length === 0)
      problems.push(`no attempt succeeded: ${attempts.join()}`);
    return { problems, attempts, effects: { ...world.effects }, log: world.log };
  });
}

const isWhole = ({ state, activeJob, replication }: ProtectedItem): boolean =>
  state === 'Protected' &&
  !(activeJob ?? replication.resyncRequired ?? replication.resync ?? replication.lastError) &&
  replication.appliedCycle === replication.receivedCycle;

async function begin(world: FaultWorld, failoverKind: FailoverKind, item: ProtectedItem) {
  const path = `/replicationFabrics/${item.fabricName}/replicationProtectionContainers/${item.containerName}/replicationProtectedItems/${item.itemName}/${failoverKind}`;
  const body = {
    properties: {
      failoverDirection: 'PrimaryToRecovery',
      providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
    },
  };
  const answer = await world.arm('POST', path, body);
  assert.equal(answer.status, 202, JSON.stringify(answer.body));
  const [begun] = await world.items();
  assert(begun?.activeJob);
  return begun.activeJob.jobName;
}

const isRunning = async (world: FaultWorld, item: ProtectedItem): Promise<boolean> =>
  (await world.callSite('list', {})).vms.find(({ vmId }) => vmId === item.vmId)?.powerState === 'running';

async function judgeFailedOver(world: FaultWorld, failoverKind: FailoverKind, item: ProtectedItem): Promise<string[]> {
  const problems: string[] = [];
  if (item.state !== 'FailoverCommitPending') problems.push(`the item is ${item.state}`);
  if (world.compute.vms.size !== 1) problems.push(`${world.compute.vms.size} virtual machines`);
  return [...problems, ...(await (failoverKind === 'plannedFailover' ? sourceIsOff : disksArePoint)(world, item))];
}

/** The point's disks, whatever the guest wrote since. */
async function disksArePoint(world: FaultWorld, item: ProtectedItem): Promise<string[]> {
  const problems: string[] = [];
  const point = (await world.points(item.itemId)).find(({ cycle }) => cycle === item.failover?.cycle);
  const image = point && world.vmOf(item).images.at(point.epoch, point.cycle);
  if (!image) return ['the failover’s point is none that the source closed'];
  for (const [index, { blob }] of (item.failover?.disks ?? []).entries()) {
    const content = await world.replicas.readPages(blob, 0, item.disks[index]?.sourceSizeBytes ?? 0);
    for (const [piece, expected] of (image[index] ?? []).entries()) {
      if (content.subarray(piece * pieceBytes, (piece + 1) * pieceBytes).equals(expected)) continue;
      problems.push(`disk ${index} differs from cycle ${point.cycle} in piece ${piece}`);
    }
  }
  return problems;
}

/** Nothing is left of the attempt; what was received before is still there to fail over to. */
async function judgeUndone(world: FaultWorld, subject: () => Promise<ProtectedItem>): Promise<string[]> {
  const item = await subject();
  const problems: string[] = [];
  if (!allowedOperations(item).includes('UnplannedFailover')) problems.push(`${item.state} allows no other failover`);
  if (world.compute.vms.size > 0) problems.push('a virtual machine is left');
  if (item.failover !== undefined) problems.push('the failover is still noted');
  if ((await world.points(item.itemId)).some(({ pinnedBy }) => pinnedBy.length > 0)) problems.push('a point is pinned');
  return problems;
}

/** The disks are the source's as it was shut down, and nobody starts it. */
async function sourceIsOff(world: FaultWorld, item: ProtectedItem): Promise<string[]> {
  const problems: string[] = [];
  if (await isRunning(world, item)) problems.push('the source runs beside its virtual machine in the cloud');
  const power = await world
    .callSite('power', { vm: item.vmName, powerState: 'running' })
    .catch((error: unknown) => error);
  if (!(power instanceof Error)) problems.push('the source can be started after the failover');
  for (const [diskIndex, disk] of item.disks.entries()) {
    const blob = item.failover?.disks.find(({ diskId }) => diskId === disk.diskId)?.blob;
    if (blob === undefined) return [...problems, `no disk ${diskIndex} in the cloud`];
    for (let offsetBytes = 0; offsetBytes < disk.sourceSizeBytes; offsetBytes += readBytes) {
      const lengthBytes = Math.min(readBytes, disk.sourceSizeBytes - offsetBytes);
      const { dataBase64 } = await world.callSite('read', { vm: item.vmName, diskIndex, offsetBytes, lengthBytes });
      const copy = await world.replicas.readPages(blob, offsetBytes, lengthBytes);
      if (!copy.equals(Buffer.from(dataBase64, 'base64')))
        problems.push(`disk ${diskIndex} differs near ${offsetBytes}`);
    }
  }
  return problems;
}

async function judgeGivenBack(world: FaultWorld, subject: () => Promise<ProtectedItem>, job: Job): Promise<string[]> {
  const problems: string[] = [];
  const isBack = async () => isWhole(await subject()) && (await isRunning(world, await subject()));
  if (!(await world.until(isBack, 6 * hour, 60))) {
    const item = await subject();
    const power = (await isRunning(world, item)) ? 'running' : 'off';
    problems.push(
      `after ${JSON.stringify(job.errors)} the source is ${power}, the item ${item.state} ${JSON.stringify(item.replication)}`,
    );
    return problems;
  }
  const before = (await subject()).replication.appliedCycle;
  if (!(await world.until(async () => (await subject()).replication.appliedCycle > before + 1, hour, 30))) {
    problems.push('no cycles after the source was given back');
  }
  const item = await subject();
  for (const point of await world.points(item.itemId)) {
    if (point.state === 'ready') problems.push(...(await comparePoint(world, item, point)));
    if (point.pinnedBy.length > 0) problems.push(`cycle ${point.cycle} is still pinned`);
  }
  if (world.compute.vms.size > 0) problems.push('a virtual machine is left');
  return problems;
}
