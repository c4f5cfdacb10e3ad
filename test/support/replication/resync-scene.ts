import assert from 'node:assert/strict';
import type { JobName } from '../../../core/domain/ids.js';
import { resyncChunkBytes } from '../../../core/domain/replication/resync-geometry.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import { nextState } from '../../../core/domain/protected-item/state-table.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { replace } from '../../../core/records/access.js';
import { markResyncRequired } from '../../../core/records/receive-cycle.js';
import { sampleVaultId } from '../sample-item.js';
import type { WorkflowWorld } from './workflow-world.js';

/** What the relay reports when the site's logs broke. */
export async function requireResync(world: WorkflowWorld, reason = 'logTooLarge'): Promise<void> {
  const { itemId, protectionId, replication } = await world.currentItem();
  const at = (await world.clock.now()).toString();
  const report = { protectionId, epoch: replication.epoch, reason, message: `${reason} at the site`, at };
  const received = await markResyncRequired(world.table, sampleVaultId, itemId, report);
  assert.notEqual(received.kind, 'conflict');
}

/** What the door of repairReplication, and the off-hours timer, do: the item's row names the job, in one transaction. */
export async function submitResync(world: WorkflowWorld, compareAll = false): Promise<JobName> {
  const stored = await world.storedItem();
  const item = stored.value;
  const state = nextState(item.state, 'resyncStarted');
  assert(state, `resyncStarted is not allowed in ${item.state}`);
  const { resynchronize } = workflowNames;
  return world.submit(jobKinds.resynchronize, resynchronize, { compareAll }, ({ jobName, createdAt }) => {
    const cause = item.replication.resyncRequired?.reason ?? 'requested';
    const replication = { ...item.replication, resync: { jobName, startedAt: createdAt, cause } };
    return [replace(stored, { ...item, state, replication })];
  });
}

/** From the job's begin until the relay may compare every disk. */
export async function untilDigested(
  world: WorkflowWorld,
  scopes?: Parameters<WorkflowWorld['source']['startResynchronization']>[0],
): Promise<void> {
  await world.until(
    async () => (await world.currentItem()).replication.phase === 'resynchronization' || undefined,
    'the resynchronization to begin',
  );
  assert.equal((await world.source.startResynchronization(scopes)).kind, 'accepted');
  await world.wake();
  await world.until(
    async () => (await world.currentItem()).disks.every((disk) => disk.digestedThroughBytes === disk.sourceSizeBytes),
    'the checksums of every disk',
  );
}

/** From now on: the chunks of the replica disks that were read, in order, as `disk:chunk`. */
export function watchReads({ replicas, item }: WorkflowWorld): () => string[] {
  const read: string[] = [];
  const readPages = replicas.readPages.bind(replicas);
  replicas.readPages = async (blob, offsetBytes, lengthBytes, snapshotId) => {
    const disk = item.disks.findIndex(({ replica }) => replica.blobName === blob.blobName);
    if (disk >= 0 && snapshotId === undefined) {
      for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += resyncChunkBytes) {
        read.push(`${disk}:${at / resyncChunkBytes}`);
      }
    }
    return readPages(blob, offsetBytes, lengthBytes, snapshotId);
  };
  return () => [...new Set(read)].toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }));
}
