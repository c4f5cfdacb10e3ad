import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acceptManifest, acceptSegment, type Acceptance } from '../../../../../core/domain/replication/acceptance.js';
import { conflictError } from '../../../../../core/domain/replication/conflict.js';
import {
  mebibyte,
  sampleDisk,
  sampleItem,
  sampleLog,
  sampleManifest,
  sampleProgress,
  sampleSegment,
} from '../../../../support/sample-item.js';

const now = '2026-01-05T12:00:00Z';
const delta = sampleItem({ replication: sampleProgress({ phase: 'delta', receivedCycle: 7, baseClosedByCycle: 3 }) });

function conflictOf(acceptance: Acceptance): string {
  assert.equal(acceptance.kind, 'conflict');
  const error = conflictError(acceptance.conflict);
  assert.equal(error.httpStatus, 409);
  assert.notEqual(error.recommendedAction, '');
  return `${error.code} ${acceptance.conflict.kind}`;
}

test('the next cycle is accepted and moves the received mark', () => {
  const acceptance = acceptManifest(delta, undefined, sampleManifest(8), 'x', now);
  assert.equal(acceptance.kind, 'accepted');
  assert.equal(acceptance.item.replication.receivedCycle, 8);
  assert.equal(acceptance.item.replication.receivedTakenAt, '2026-01-05T10:08:00Z');
  assert.equal(acceptance.item.replication.receivedAt, now);
  assert.equal(acceptance.item.replication.baseClosedByCycle, 3);
});

test('an identical repeat is acknowledged again, the same number with other content is refused', () => {
  assert.deepEqual(acceptManifest(delta, { manifestDigest: 'x' }, sampleManifest(7), 'x', now), { kind: 'repeat' });
  assert.equal(
    conflictOf(acceptManifest(delta, { manifestDigest: 'x' }, sampleManifest(7), 'y', now)),
    'US3002 digestConflict',
  );
});

const refusals: [string, Acceptance, string][] = [
  ['a gap', acceptManifest(delta, undefined, sampleManifest(9), 'x', now), 'US3001 gap'],
  ['an old cycle', acceptManifest(delta, undefined, sampleManifest(5), 'x', now), 'US3006 stale'],
  ['an old epoch', acceptManifest(delta, undefined, sampleManifest(8, { epoch: 0 }), 'x', now), 'US3003 superseded'],
  ['a future epoch', acceptManifest(delta, undefined, sampleManifest(8, { epoch: 2 }), 'x', now), 'US3003 superseded'],
  [
    'another life',
    acceptManifest(delta, undefined, sampleManifest(8, { protectionId: 'other' }), 'x', now),
    'US3003 superseded',
  ],
  [
    'a cycle after failover under the same epoch',
    acceptManifest(
      sampleItem({ replication: sampleProgress({ phase: 'stopped', stopReason: 'failedOver' }) }),
      undefined,
      sampleManifest(1),
      'x',
      now,
    ),
    'US3005 notReplicating',
  ],
  [
    'a cycle while resync is required',
    acceptManifest(
      sampleItem({
        replication: sampleProgress({ phase: 'delta', resyncRequired: { reason: 'hostCrash', message: '', at: now } }),
      }),
      undefined,
      sampleManifest(1),
      'x',
      now,
    ),
    'US3004 resyncRequired',
  ],
  [
    'a cycle without one of the disks',
    acceptManifest(
      delta,
      undefined,
      sampleManifest(8, { disks: [{ diskId: sampleDisk(0).diskId, log: null }] }),
      'x',
      now,
    ),
    'US3007 diskMismatch',
  ],
  [
    'a cycle that names a disk twice',
    acceptManifest(
      delta,
      undefined,
      sampleManifest(8, { disks: [0, 1, 1].map((n) => ({ diskId: sampleDisk(n).diskId, log: null })) }),
      'x',
      now,
    ),
    'US3007 diskMismatch',
  ],
  [
    'a closing cycle before the base is whole',
    acceptManifest(sampleItem(), undefined, sampleManifest(1, { closesBase: true }), 'x', now),
    'US3008 baseIncomplete',
  ],
  [
    'a second closing cycle',
    acceptManifest(delta, undefined, sampleManifest(8, { closesBase: true }), 'x', now),
    'US3008 baseAlreadyClosed',
  ],
  [
    'a cycle before the checkpoint',
    acceptManifest(
      sampleItem({
        replication: {
          phase: 'initialReplication',
          paused: false,
          epoch: 1,
          baseCycle: 0,
          torn: false,
          resumedCount: 0,
          receivedCycle: 0,
          appliedCycle: 0,
          backlogBytes: 0,
          statistics: [],
        },
      }),
      undefined,
      sampleManifest(1),
      'x',
      now,
    ),
    'US3005 notReplicating',
  ],
];
for (const [what, acceptance, expected] of refusals) {
  test(`${what} is refused`, () => {
    assert.equal(conflictOf(acceptance), expected);
  });
}

test('the closing cycle is accepted once every disk is received whole', () => {
  const disks = [0, 1].map((n) => sampleDisk(n, { baseReceivedThroughBytes: 4 * mebibyte }));
  const acceptance = acceptManifest(
    sampleItem({ disks }),
    undefined,
    sampleManifest(1, { closesBase: true }),
    'x',
    now,
  );
  assert.equal(acceptance.kind, 'accepted');
  assert.equal(acceptance.item.replication.baseClosedByCycle, 1);
});

test('segments are accepted in ascending order without gaps, and repeats are acknowledged', () => {
  const item = sampleItem();
  const first = acceptSegment(item, undefined, sampleSegment(1, 0, 2 * mebibyte));
  assert.equal(first.kind, 'accepted');
  assert.deepEqual(
    first.item.disks.map((disk) => disk.baseReceivedThroughBytes),
    [0, 2 * mebibyte],
  );
  assert.equal(conflictOf(acceptSegment(first.item, undefined, sampleSegment(1, 0, 2 * mebibyte))), 'US3001 gap');
  assert.equal(conflictOf(acceptSegment(first.item, undefined, sampleSegment(1, 0, 4 * mebibyte))), 'US3001 gap');
  const stored = { announcement: sampleSegment(1, 0, 2 * mebibyte) };
  assert.deepEqual(acceptSegment(first.item, stored, sampleSegment(1, 0, 2 * mebibyte)), { kind: 'repeat' });
  assert.equal(
    conflictOf(
      acceptSegment(
        first.item,
        stored,
        sampleSegment(1, 0, 2 * mebibyte, { log: sampleLog({ digest: '1'.repeat(64) }) }),
      ),
    ),
    'US3002 digestConflict',
  );
  const applied = sampleItem({
    disks: [
      sampleDisk(0, { baseReceivedThroughBytes: 2 * mebibyte, baseAppliedThroughBytes: 2 * mebibyte }),
      sampleDisk(1),
    ],
  });
  assert.deepEqual(acceptSegment(applied, undefined, sampleSegment(0, 0, 2 * mebibyte)), { kind: 'repeat' });
});

test('a segment outside its disk or of an unknown disk is refused', () => {
  assert.equal(
    conflictOf(acceptSegment(sampleItem(), undefined, sampleSegment(0, 0, 5 * mebibyte))),
    'US3009 badRange',
  );
  assert.equal(conflictOf(acceptSegment(sampleItem(), undefined, sampleSegment(0, 0, 0))), 'US3009 badRange');
  assert.equal(conflictOf(acceptSegment(sampleItem(), undefined, sampleSegment(7, 0, 1))), 'US3007 diskMismatch');
  assert.equal(conflictOf(acceptSegment(delta, undefined, sampleSegment(0, 0, 2 * mebibyte))), 'US3005 notReplicating');
});
