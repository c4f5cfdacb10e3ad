import { createHash } from 'node:crypto';
import { UnderstudyError } from '../domain/errors.js';
import type { ItemId, VaultId } from '../domain/ids.js';
import type { ProtectedItem } from '../domain/protected-item/protected-item.js';
import { nextState } from '../domain/protected-item/state-table.js';
import type { z } from 'zod';
import type { baseStartedRequest, CycleManifest, SegmentAnnouncement } from '../domain/relay-protocol/wire.js';
import { acceptManifest, acceptSegment, checkEpoch, checkScopes, sendsBase } from '../domain/replication/acceptance.js';
import type { ReplicationConflict } from '../domain/replication/conflict.js';
import type { Clock } from '../ports/clock.js';
import type { StateTable } from '../ports/state-table.js';
import { decideAndCommit, insert, read, replace, upsert, type Stored } from './access.js';
import { rows, vaultPartition } from './rows.js';

/**
 * What the relay API's doors do to the rows: an announcement's row and the item's row change in one transaction, guarded by
 * the item's ETag. A resolved `accepted` or `repeat` is the acknowledgement on which the relay deletes its logs.
 */
export type Received =
  | { kind: 'accepted' | 'repeat'; item: ProtectedItem }
  | { kind: 'conflict'; item: ProtectedItem; conflict: ReplicationConflict };

/** SHA-256 of the manifest as JSON with sorted keys: the same for every spelling of the same manifest. */
export const manifestDigest = (manifest: CycleManifest): string =>
  createHash('sha256').update(canonicalJson(manifest)).digest('hex');

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
    return `{${members.join(',')}}`;
  }
  return JSON.stringify(value);
}

async function readItem(table: StateTable, vaultId: VaultId, itemId: ItemId): Promise<Stored<ProtectedItem>> {
  const stored = await read(table, rows.item(vaultId, itemId));
  if (stored) return stored;
  throw new UnderstudyError({
    code: 'US3013',
    message: `there is no replicated item ${itemId}`,
    possibleCauses: 'Replication of the virtual machine was disabled.',
    recommendedAction: 'Read the assignments again and drop what they do not name.',
    httpStatus: 404,
  });
}

export async function receiveCycle(
  table: StateTable,
  clock: Clock,
  vaultId: VaultId,
  itemId: ItemId,
  manifest: CycleManifest,
): Promise<Received> {
  const digest = manifestDigest(manifest);
  const receivedAt = (await clock.now()).toString();
  const cycleRef = rows.cycle(vaultId, itemId, manifest.cycle);
  return decideAndCommit<Received>(table, vaultPartition(vaultId), async () => {
    const item = await readItem(table, vaultId, itemId);
    const stored = await read(table, cycleRef);
    // A row of an earlier life or epoch under the same number says nothing about this one.
    const comparable = stored && checkEpoch(item.value, stored.value.manifest) === undefined ? stored : undefined;
    const acceptance = acceptManifest(item.value, comparable?.value, manifest, digest, receivedAt);
    if (acceptance.kind === 'conflict') {
      return { operations: [], result: { kind: 'conflict', item: item.value, conflict: acceptance.conflict } };
    }
    if (acceptance.kind === 'repeat') return { operations: [], result: { kind: 'repeat', item: item.value } };
    const row = { manifest, manifestDigest: digest, receivedAt };
    return {
      operations: [replace(item, acceptance.item), stored ? replace(stored, row) : insert(cycleRef, row)],
      result: { kind: 'accepted', item: acceptance.item },
    };
  });
}

export async function receiveSegment(
  table: StateTable,
  clock: Clock,
  vaultId: VaultId,
  itemId: ItemId,
  announcement: SegmentAnnouncement,
): Promise<Received> {
  const receivedAt = (await clock.now()).toString();
  return decideAndCommit<Received>(table, vaultPartition(vaultId), async () => {
    const item = await readItem(table, vaultId, itemId);
    const diskIndex = item.value.disks.findIndex(({ diskId }) => diskId === announcement.diskId);
    const segmentRef = rows.segment(vaultId, itemId, Math.max(diskIndex, 0), announcement.fromBytes);
    const stored = diskIndex < 0 ? undefined : await read(table, segmentRef);
    const comparable = stored && checkEpoch(item.value, stored.value.announcement) === undefined ? stored : undefined;
    const acceptance = acceptSegment(item.value, comparable?.value, announcement);
    if (acceptance.kind === 'conflict') {
      return { operations: [], result: { kind: 'conflict', item: item.value, conflict: acceptance.conflict } };
    }
    if (acceptance.kind === 'repeat') return { operations: [], result: { kind: 'repeat', item: item.value } };
    const row = { announcement, receivedAt };
    return {
      operations: [replace(item, acceptance.item), stored ? replace(stored, row) : insert(segmentRef, row)],
      result: { kind: 'accepted', item: acceptance.item },
    };
  });
}

/** The relay has logs and a checkpoint for every disk: the base is sent from here on. */
export async function markBaseStarted(
  table: StateTable,
  vaultId: VaultId,
  itemId: ItemId,
  report: z.output<typeof baseStartedRequest>,
): Promise<Received> {
  return decideAndCommit<Received>(table, vaultPartition(vaultId), async () => {
    const stored = await readItem(table, vaultId, itemId);
    const item = stored.value;
    const { phase, stopReason, checkpointAt } = item.replication;
    const conflict: ReplicationConflict | undefined =
      checkEpoch(item, report) ??
      (phase !== 'delta' && !sendsBase(phase)
        ? { kind: 'notReplicating', phase, stopReason }
        : checkpointAt !== undefined && checkpointAt !== report.checkpointAt
          ? { kind: 'baseRestarted', startedAt: checkpointAt, announcedAt: report.checkpointAt }
          : checkScopes(item, report.scopes));
    if (conflict) return { operations: [], result: { kind: 'conflict', item, conflict } };
    if (checkpointAt !== undefined) return { operations: [], result: { kind: 'repeat', item } };
    const changed: ProtectedItem = {
      ...item,
      state: nextState(item.state, 'protectionEnabled') ?? item.state,
      replication: { ...item.replication, checkpointAt: report.checkpointAt },
    };
    // Only where the app offered a start for the site's record is that record good for anything.
    const scopes = item.replication.resync?.changedSince === undefined ? [] : (report.scopes ?? []);
    const operations = scopes.map(({ diskId, groupBytes, bitmap }) => {
      const diskIndex = item.disks.findIndex((disk) => disk.diskId === diskId);
      return upsert(rows.resyncScope(vaultId, itemId, diskIndex), { epoch: report.epoch, groupBytes, bitmap });
    });
    return {
      operations: [replace(stored, changed), ...operations],
      result: { kind: 'accepted', item: changed },
    };
  });
}

/** The site can no longer vouch for its change logs. The first reason stays: what follows is its consequence. */
export async function markResyncRequired(
  table: StateTable,
  vaultId: VaultId,
  itemId: ItemId,
  report: { protectionId: string; epoch: number; reason: string; message: string; at: string },
): Promise<Received> {
  return decideAndCommit<Received>(table, vaultPartition(vaultId), async () => {
    const stored = await readItem(table, vaultId, itemId);
    const item = stored.value;
    const conflict = checkEpoch(item, report);
    if (conflict) return { operations: [], result: { kind: 'conflict', item, conflict } };
    if (item.replication.resyncRequired) return { operations: [], result: { kind: 'repeat', item } };
    const { reason, message, at } = report;
    const changed: ProtectedItem = {
      ...item,
      replication: { ...item.replication, resyncRequired: { reason, message, at } },
    };
    return { operations: [replace(stored, changed)], result: { kind: 'accepted', item: changed } };
  });
}
