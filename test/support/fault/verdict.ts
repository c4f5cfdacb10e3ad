import { Temporal } from 'temporal-polyfill';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../../../core/domain/recovery-point/recovery-point.js';
import { transferPrefixOfCycle, transferPrefixOfSegment } from '../../../core/domain/replication/blob-names.js';
import { list } from '../../../core/records/access.js';
import { healthOf, surroundingsOfItem } from '../../../core/records/item-surroundings.js';
import { rows } from '../../../core/records/rows.js';
import { checkOrderedHistory } from '../../../providers/simulated-site/guests/ordered-records.js';
import type { ExplainedReason } from './fault-kinds.js';
import { pieceBytes } from './images.js';
import type { FaultWorld } from './world.js';

/** What a run came to. `problems` is empty where every promise was kept. */
export interface Verdict {
  pointsCompared: number;
  /** Items that wait for a resynchronization, with what they say. */
  waiting: { vmName: string; reason: string }[];
  problems: string[];
}

/** Every ready recovery point of the item against the source at its cycle, byte by byte. Gives what is wrong. */
export async function comparePoint(world: FaultWorld, item: ProtectedItem, point: RecoveryPoint): Promise<string[]> {
  const { images, guest } = world.vmOf(item);
  const what = `${item.vmName}, epoch ${point.epoch}, cycle ${point.cycle}`;
  const image = images.at(point.epoch, point.cycle);
  if (image === undefined) return [`${what}: the source never closed it`];
  const problems: string[] = [];
  const readers: ((offsetBytes: number, lengthBytes: number) => Promise<Buffer>)[] = [];
  for (const [index, disk] of item.disks.entries()) {
    const snapshotId = point.disks.find(({ diskId }) => diskId === disk.diskId)?.snapshotId;
    if (snapshotId === undefined || snapshotId === '') {
      problems.push(`${what}: no snapshot of disk ${index}`);
      continue;
    }
    try {
      const content = await world.replicas.readPages(disk.replica, 0, disk.sourceSizeBytes, snapshotId);
      readers.push(async (offset, length) => content.subarray(offset, offset + length));
      for (const [piece, expected] of (image[index] ?? []).entries()) {
        const found = content.subarray(piece * pieceBytes, (piece + 1) * pieceBytes);
        if (!found.equals(expected)) {
          const at = piece * pieceBytes + found.findIndex((byte, offset) => byte !== expected[offset]);
          problems.push(`${what}: disk ${index} differs from the source at byte ${at}`);
          break;
        }
      }
    } catch (error) {
      problems.push(`${what}: disk ${index} cannot be read: ${String(error)}`);
    }
  }
  if (guest.isOrdered && readers.length === item.disks.length) {
    const history = await checkOrderedHistory(guest.layout, readers);
    if (history.kind !== 'prefix') problems.push(`${what}: not of one instant: ${JSON.stringify(history)}`);
  }
  return problems;
}

/** After the faults are over and time was given: everything that must hold. */
export async function judge(world: FaultWorld, explained: ReadonlySet<ExplainedReason>): Promise<Verdict> {
  const verdict: Verdict = { pointsCompared: 0, waiting: [], problems: [] };
  const { problems } = verdict;
  for (const failure of world.failures) problems.push(`the harness: ${String(failure)}`);
  for (const { vmName, reason, message } of world.resyncReasons) {
    if (explained.has(reason as ExplainedReason)) continue;
    problems.push(`${vmName} was marked for resynchronization, which no fault explains: ${reason}, ${message}`);
  }
  const items = await world.items();
  if (items.length !== world.vms.length) problems.push(`${items.length} items for ${world.vms.length} VMs`);
  for (const item of items) {
    for (const point of await world.points(item.itemId)) {
      if (point.state !== 'ready' || point.protectionId !== item.protectionId) continue;
      verdict.pointsCompared++;
      problems.push(...(await comparePoint(world, item, point)));
    }
    const { resyncRequired } = item.replication;
    if (resyncRequired !== undefined) {
      verdict.waiting.push({ vmName: item.vmName, reason: resyncRequired.reason });
      problems.push(...(await saysSo(world, item)));
    }
    problems.push(...(await isNormal(world, item)));
    problems.push(...(await orphans(world, item)));
  }
  return verdict;
}

async function presentHealth(world: FaultWorld, item: ProtectedItem) {
  const now = Temporal.Instant.fromEpochMilliseconds(world.time.now());
  return healthOf(item, await surroundingsOfItem(world.table, world.vaultId, item), now);
}

async function saysSo(world: FaultWorld, item: ProtectedItem): Promise<string[]> {
  const { level, reasons } = await presentHealth(world, item);
  const isSaid = level === 'Critical' && reasons.some(({ code }) => code === 'US3050');
  return isSaid ? [] : [`${item.vmName} waits for a resync, and its health is ${level} ${JSON.stringify(reasons)}`];
}

/** Warnings that look back over the interval of Hyper-V Replica's statistics: what the faults cost is truly told for a day. */
const remembered: ReadonlySet<string> = new Set(['US3056', 'US3057']);

async function isNormal(world: FaultWorld, item: ProtectedItem): Promise<string[]> {
  const problems: string[] = [];
  const { phase, receivedCycle, appliedCycle } = item.replication;
  const health = await presentHealth(world, item);
  if (item.state !== 'Protected' || phase !== 'delta') problems.push(`${item.vmName} is ${item.state}, ${phase}`);
  if (item.activeJob !== undefined) problems.push(`${item.vmName} is still in job ${item.activeJob.scenarioName}`);
  if (health.reasons.some(({ code }) => !remembered.has(code)))
    problems.push(`${item.vmName} is ${health.level}: ${JSON.stringify(health.reasons)}`);
  if (appliedCycle !== receivedCycle)
    problems.push(`${item.vmName}: ${appliedCycle} of ${receivedCycle} cycles applied`);
  const points = await world.points(item.itemId);
  if (!points.some(({ cycle, state }) => cycle === appliedCycle && state === 'ready')) {
    problems.push(`${item.vmName} has no recovery point of cycle ${appliedCycle}`);
  }
  return problems;
}

/** Blobs, snapshots and rows that nothing names any more. */
async function orphans(world: FaultWorld, item: ProtectedItem): Promise<string[]> {
  const { vaultId, table, transfers, replicas } = world;
  const { itemId, protectionId, vmName, replication } = item;
  const problems: string[] = [];
  const points = await world.points(itemId);
  const isWaiting = replication.resyncRequired !== undefined;
  for (const { cycle, state, epoch } of points) {
    const isUnderWay = isWaiting && state === 'intent' && cycle > replication.appliedCycle;
    if (state !== 'ready' && !isUnderWay) problems.push(`${vmName}: point ${epoch}/${cycle} is left in ${state}`);
  }
  const cycles = await list(table, rows.cycles(vaultId, itemId));
  for (const { value } of cycles) {
    // The last applied one is kept to recognise a repeat.
    if (value.manifest.cycle < replication.appliedCycle)
      problems.push(`${vmName}: row of cycle ${value.manifest.cycle}`);
  }
  const segments = await list(table, rows.segments(vaultId, itemId));
  if (replication.phase === 'delta' && segments.length > 0) problems.push(`${vmName}: ${segments.length} segment rows`);

  const named = [
    ...cycles
      .filter(({ value }) => value.manifest.cycle > replication.appliedCycle)
      .map(({ value: { manifest } }) => transferPrefixOfCycle(protectionId, manifest.epoch, manifest.cycle)),
    // What the relay has sent of the cycle that it is about to announce.
    transferPrefixOfCycle(protectionId, replication.epoch, replication.receivedCycle + 1),
    ...segments.map(
      ({
        value: {
          announcement: { epoch, diskId, fromBytes },
        },
      }) => transferPrefixOfSegment(protectionId, epoch, diskId, fromBytes),
    ),
  ];
  for await (const name of transfers.listBelow(world.accountId, `${protectionId}/`)) {
    if (!named.some((prefix) => name.startsWith(prefix))) problems.push(`${vmName}: orphan blob ${name}`);
  }
  for (const disk of item.disks) {
    for (const { snapshotId, fence } of await replicas.listSnapshots(disk.replica)) {
      const isNamed =
        disk.lastSnapshot?.snapshotId === snapshotId ||
        points.some(({ disks }) => disks.some((of) => of.diskId === disk.diskId && of.snapshotId === snapshotId));
      if (!isNamed) problems.push(`${vmName}: orphan snapshot of disk ${disk.lun}, ${JSON.stringify(fence)}`);
    }
  }
  return problems;
}
