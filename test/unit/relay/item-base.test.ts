import assert from 'node:assert/strict';
import { test } from 'node:test';
import pino from 'pino';
import {
  chunkDigest,
  chunkCountOf,
  digestBytes,
  encodeDigestFile,
} from '../../../core/dataplane/resync/digest-file.js';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { ChunkMap } from '../../../core/domain/replication/chunk-map.js';
import type { Assignment, SegmentAnnouncement } from '../../../core/domain/relay-protocol/wire.js';
import { BaseCheckpoint } from '../../../relay/base-checkpoint.js';
import { ItemBase } from '../../../relay/item-base.js';
import type { ItemState, ItemStateStore } from '../../../relay/item-state.js';
import { ItemView } from '../../../relay/item-view.js';
import type { LaneStep } from '../../../relay/lane.js';
import type { RelayContext } from '../../../relay/relay-context.js';
import { Turnstile } from '../../../relay/turnstile.js';
import { ManualClock } from '../../support/manual-clock.js';

const protectionId = '6a1f6a3e-0000-4000-8000-000000000001';
const diskId = 'd15c0000-0000-4000-8000-000000000001';
const chunk = 64 * 1024;
const sizeBytes = 40 * chunk;
const never = new AbortController().signal;
const failure = (code: string) => new UnderstudyError({ code, message: code, recommendedAction: '', retry: 'later' });

const diskOf = (receivedThroughBytes: number, digestedThroughBytes = sizeBytes) => ({
  diskId,
  sizeBytes,
  receivedThroughBytes,
  appliedThroughBytes: receivedThroughBytes,
  digestedThroughBytes,
});
const assignmentOf = (change: Partial<Assignment> = {}): Assignment => ({
  itemId: 'item',
  protectionId,
  vmId: 'vm',
  vmName: 'sql-01',
  epoch: 2,
  phase: 'resynchronization',
  paused: false,
  resyncRequired: false,
  resumedCount: 0,
  replicationIntervalSeconds: 300,
  appConsistentFrequencyHours: 0,
  receivedCycle: 3,
  disks: [diskOf(0)],
  ...change,
});

/** A source whose third chunk differs from the replica's, with everything between them in memory. */
function scene(change: Partial<Assignment> = {}, local: Partial<ItemState> = {}) {
  const replica = Buffer.alloc(sizeBytes, 1);
  const source = Buffer.from(replica);
  source.fill(2, 2 * chunk, 3 * chunk);
  const site = { takeFailure: undefined as Error | undefined, readFailure: undefined as Error | undefined };
  const app = {
    refusedReads: 0,
    damaged: false,
    record: undefined as ChunkMap | undefined,
    beforeAnswer: (): unknown => undefined,
  };
  const seen = { segments: [] as SegmentAnnouncement[], uploadedBytes: 0, grants: 0, lost: 0, taken: 0 };
  const region = { protectionId, diskId, epoch: 2, diskSizeBytes: sizeBytes, fromBytes: 0 };
  const table = Buffer.alloc(chunkCountOf(region) * digestBytes);
  for (let at = 0; at < sizeBytes; at += chunk) {
    chunkDigest(replica.subarray(at, at + chunk)).copy(table, (at / chunk) * digestBytes);
  }
  const file = encodeDigestFile(region, table);
  let stored: ItemState = {
    version: 1,
    itemId: 'item',
    protectionId,
    epoch: 2,
    missedCycleCount: 0,
    baseCycle: 3,
    checkpointAt: '2024-03-01T12:00:00Z',
    ...local,
  };
  const states = {
    load: () => Promise.resolve(stored),
    save: (state: ItemState) => {
      stored = state;
      return Promise.resolve();
    },
  } as unknown as ItemStateStore;
  const context = {
    states,
    clock: new ManualClock(),
    log: pino({ level: 'silent' }),
    sendingGate: new Turnstile(1),
    uploadGate: new Turnstile(1),
    refreshAssignments: () => undefined,
    host: {
      startResynchronization: () => {
        seen.taken++;
        if (site.takeFailure) return Promise.reject(site.takeFailure);
        return Promise.resolve({ checkpointId: 'c', epoch: 2, takenAt: '', disks: [{ diskId, sizeBytes }] });
      },
      changedChunks: () => Promise.resolve(app.record),
      openCheckpointDisk: () =>
        Promise.resolve({
          sizeBytes,
          logicalSectorBytes: 512,
          read: (at: number, length: number) =>
            site.readFailure ? Promise.reject(site.readFailure) : Promise.resolve(source.subarray(at, at + length)),
          async *allocatedRanges() {
            yield { offsetBytes: 0, lengthBytes: sizeBytes };
          },
          close: () => Promise.resolve(),
        }),
    },
    client: {
      requestDigests: () => {
        seen.grants++;
        return Promise.resolve({ url: `https://store/digests?grant=${seen.grants}`, expiresAt: '' });
      },
      requestUpload: () => Promise.resolve({ uploadId: 'u', url: 'https://store/log', expiresAt: '' }),
      announceSegment: (_: string, segment: SegmentAnnouncement) => {
        seen.segments.push(segment);
        app.beforeAnswer();
        return Promise.resolve({ receivedThroughBytes: segment.toBytes, appliedThroughBytes: 0 });
      },
    },
    blobs: {
      readRange: (_: string, at: number, length: number) => {
        if (app.refusedReads-- > 0) return Promise.reject(failure('US6021'));
        const bytes = Buffer.from(file.subarray(at, at + length));
        if (app.damaged) bytes.writeUInt8(bytes.readUInt8(length - 1) ^ 1, length - 1);
        return Promise.resolve(bytes);
      },
      upload: async ({ chunks }: { chunks: AsyncIterable<Buffer> }) => {
        for await (const bytes of chunks) seen.uploadedBytes += bytes.length;
        return { etag: '"1"', lengthBytes: seen.uploadedBytes };
      },
    },
  } as unknown as RelayContext;
  const view = new ItemView(states, assignmentOf(change));
  const checkpoint = new BaseCheckpoint(context, view);
  const base = new ItemBase(context, context.log, view, checkpoint, {
    tracking: () => ({ kind: 'tracking', lastClosedCycle: 3, openLogBytes: 0, closedLogBytes: 0, checkpointId: 'c' }),
    onSent: () => undefined,
    onLost: () => {
      seen.lost++;
    },
  });
  const run = async (step: LaneStep): Promise<void> => {
    assert(step.kind === 'work', step.kind);
    await step.run(never);
  };
  return { site, app, seen, view, checkpoint, base, run, stored: () => stored };
}

test('of a region the chunks that differ are sent, and counted', async () => {
  const { base, run, seen, stored } = scene();
  await run(await base.plan());
  assert.deepEqual(
    seen.segments.map(({ fromBytes, toBytes, log }) => [fromBytes, toBytes, log?.changedBytes]),
    [[0, sizeBytes, chunk]],
  );
  assert.equal(stored().resynchronization?.differingBytes, chunk);
  assert.equal(stored().resynchronization?.sentBytes, seen.uploadedBytes);
  assert.equal(stored().resynchronization?.digestBytes, 256 + digestBytes + 40 * digestBytes);
  assert.equal((await base.plan()).kind, 'rest');
  await base.close();
});

test('before the checksums are there the source is hashed, once', async () => {
  const { base, run, seen, view } = scene({ disks: [diskOf(0, 0)] });
  await run(await base.plan());
  assert.equal((await base.plan()).kind, 'rest');
  assert.equal(seen.segments.length, 0);
  view.update(assignmentOf());
  await run(await base.plan());
  assert.equal(seen.segments.length, 1);
  await base.close();
});

test('checksums whose grant ran out are read by a fresh one; one that is refused too is a failure', async () => {
  const { base, run, seen, app } = scene();
  app.refusedReads = 1;
  await run(await base.plan());
  assert.deepEqual([seen.grants, seen.segments.length], [2, 1]);
  await base.close();
  const refused = scene();
  refused.app.refusedReads = 2;
  await assert.rejects(refused.run(await refused.base.plan()), { code: 'US6021' });
  assert.equal(refused.seen.segments.length, 0);
  await refused.base.close();
});

test('damaged checksums are never believed: nothing is sent or passed over on their word', async () => {
  const { base, run, seen, app } = scene();
  app.damaged = true;
  await assert.rejects(run(await base.plan()), { code: 'US2061' });
  assert.deepEqual([seen.segments.length, seen.uploadedBytes], [0, 0]);
  app.damaged = false;
  await run(await base.plan());
  assert.equal(seen.segments.length, 1);
  await base.close();
});

test('a record of changes spares what it does not mark, and a disk without a mark needs no checksums at all', async () => {
  const changedSince = { epoch: 1, cycle: 3 };
  const { base, run, seen, app } = scene({ changedSince, disks: [diskOf(0, 0)] }, { usesRecords: true });
  app.record = ChunkMap.empty(sizeBytes);
  await run(await base.plan());
  assert.deepEqual(
    seen.segments.map(({ fromBytes, toBytes, log }) => [fromBytes, toBytes, log]),
    [[0, sizeBytes, null]],
  );
  assert.equal(seen.grants, 0);
  await base.close();
});

test('a checkpoint or a record that is gone is no failure to try again, but a need for a resync', async () => {
  const changedSince = { epoch: 1, cycle: 3 };
  const lostRecord = scene({ changedSince }, { usesRecords: true });
  assert.equal((await lostRecord.base.plan()).kind, 'rest');
  assert.equal(lostRecord.checkpoint.lost?.reason, 'changeRecordLost');

  const released = scene();
  released.site.readFailure = failure('US5007');
  await released.run(await released.base.plan());
  assert.equal((await released.base.plan()).kind, 'rest');
  assert.equal(released.checkpoint.lost?.reason, 'checkpointLost');
  assert.deepEqual([released.seen.lost, released.seen.segments.length], [1, 0]);
});

test('once all is received the checkpoint is asked for no more: it may be released', async () => {
  const { base, site, seen, checkpoint } = scene({ disks: [diskOf(sizeBytes)] });
  site.takeFailure = failure('US5013');
  assert.equal((await base.plan()).kind, 'rest');
  assert.deepEqual([seen.taken, checkpoint.lost], [0, undefined]);
});

test('a disk that cannot be read says which and where', async () => {
  const { base, site, run } = scene();
  site.readFailure = failure('US2011');
  await assert.rejects(run(await base.plan()), (error: UnderstudyError) => {
    assert.match(error.message, new RegExp(`${diskId}.*from byte 0 on.*US2011`));
    return error.code === 'US5122';
  });
  await base.close();
});

test('what was found under one epoch is never noted or confirmed under the next', async () => {
  const { app, base, run, view, stored } = scene();
  app.beforeAnswer = () => view.update(assignmentOf({ epoch: 3 }));
  await assert.rejects(run(await base.plan()), /epoch 2 is over/);
  assert.equal(view.assignment.disks[0]?.receivedThroughBytes, 0);
  assert.deepEqual([(await view.local()).epoch, (await view.local()).checkpointAt], [3, undefined]);
  assert.equal(stored().resynchronization, undefined);
  await base.close();
});
