import assert from 'node:assert/strict';
import { test } from 'node:test';
import { disksToSnapshot, planNextStep, planSlices } from '../../../../core/domain/replication/next-step.js';
import {
  mebibyte,
  sampleDisk,
  sampleItem,
  sampleLog,
  sampleManifest,
  sampleProgress,
} from '../../../support/sample-item.js';

const item = sampleItem();
const asked = { protectionId: item.protectionId, epoch: 1 };
const none = { segments: [], nextManifest: undefined };
const whole = (index: number) =>
  sampleDisk(index, { baseReceivedThroughBytes: 4 * mebibyte, baseAppliedThroughBytes: 4 * mebibyte });

test('another life, another epoch, a stopped item and a missing one are all superseded', () => {
  assert.equal(planNextStep(undefined, asked, none).kind, 'superseded');
  assert.equal(planNextStep(item, { ...asked, epoch: 2 }, none).kind, 'superseded');
  assert.equal(planNextStep(item, { ...asked, protectionId: 'other' }, none).kind, 'superseded');
  for (const phase of ['none', 'stopped'] as const) {
    assert.equal(planNextStep(sampleItem({ replication: sampleProgress({ phase }) }), asked, none).kind, 'superseded');
  }
});

test('pieces of the base are applied disk by disk, without gaps, a bounded number at once', () => {
  const segments = [
    { diskIndex: 1, fromBytes: 0, toBytes: 10 },
    { diskIndex: 0, fromBytes: 20, toBytes: 30 },
    { diskIndex: 0, fromBytes: 0, toBytes: 10 },
    { diskIndex: 0, fromBytes: 10, toBytes: 20 },
    { diskIndex: 0, fromBytes: 40, toBytes: 50 },
  ];
  assert.deepEqual(planNextStep(item, asked, { ...none, segments }), {
    kind: 'applySegments',
    diskIndex: 0,
    segments: [
      { fromBytes: 0, toBytes: 10 },
      { fromBytes: 10, toBytes: 20 },
      { fromBytes: 20, toBytes: 30 },
    ],
  });
  const many = Array.from({ length: 50 }, (_, index) => ({ diskIndex: 0, fromBytes: index, toBytes: index + 1 }));
  const step = planNextStep(item, asked, { ...none, segments: many });
  assert.equal(step.kind === 'applySegments' && step.segments.length, 8);
});

test('no cycle is applied before the base of every disk is', () => {
  const half = sampleItem({
    disks: [whole(0), sampleDisk(1)],
    replication: sampleProgress({ receivedCycle: 1 }),
  });
  assert.equal(planNextStep(half, asked, { ...none, nextManifest: sampleManifest(1) }).kind, 'idle');
});

test('cycles closed during initial replication make no point; the one that closes the base does', () => {
  const disks = [whole(0), whole(1)];
  const before = sampleItem({ disks, replication: sampleProgress({ receivedCycle: 1 }) });
  const first = planNextStep(before, asked, { ...none, nextManifest: sampleManifest(1) });
  assert.equal(first.kind === 'applyCycle' && first.seal, false);
  const closing = sampleItem({
    disks,
    replication: sampleProgress({ receivedCycle: 3, appliedCycle: 2, baseClosedByCycle: 3 }),
  });
  const last = planNextStep(closing, asked, { ...none, nextManifest: sampleManifest(3) });
  assert.equal(last.kind === 'applyCycle' && last.seal, true);
  const finished = sampleItem({
    disks,
    replication: sampleProgress({ receivedCycle: 4, appliedCycle: 3, baseClosedByCycle: 3 }),
  });
  assert.equal(planNextStep(finished, asked, none).kind, 'finishInitialReplication');
});

test('a cycle out of order is never applied', () => {
  const delta = sampleItem({
    replication: sampleProgress({ phase: 'delta', receivedCycle: 9, appliedCycle: 7, baseClosedByCycle: 1 }),
  });
  assert.equal(planNextStep(delta, asked, { ...none, nextManifest: sampleManifest(9) }).kind, 'idle');
  assert.equal(planNextStep(delta, asked, { ...none, nextManifest: sampleManifest(8) }).kind, 'applyCycle');
});

test('after damage nothing is applied until a resync', () => {
  const damaged = sampleItem({
    replication: sampleProgress({
      phase: 'delta',
      receivedCycle: 9,
      appliedCycle: 8,
      baseClosedByCycle: 1,
      resyncRequired: { reason: 'applyFailed', message: '', at: '' },
    }),
  });
  assert.equal(planNextStep(damaged, asked, { ...none, nextManifest: sampleManifest(9) }).kind, 'blocked');
});

test('large logs are cut into parts of their own, small ones share an activity, and every part is dealt once', () => {
  const manifest = sampleManifest(1, {
    disks: [
      { diskId: sampleDisk(0).diskId, log: sampleLog({ lengthBytes: 100 * mebibyte }) },
      { diskId: sampleDisk(1).diskId, log: sampleLog({ lengthBytes: 1000 }) },
    ],
  });
  assert.deepEqual(planSlices(item, manifest), [
    [{ diskIndex: 0, sliceIndex: 0, sliceCount: 4 }],
    [{ diskIndex: 0, sliceIndex: 1, sliceCount: 4 }],
    [{ diskIndex: 0, sliceIndex: 2, sliceCount: 4 }],
    [{ diskIndex: 0, sliceIndex: 3, sliceCount: 4 }],
    [{ diskIndex: 1, sliceIndex: 0, sliceCount: 1 }],
  ]);
  assert.deepEqual(planSlices(item, sampleManifest(1, { disks: [] })), []);
});

test('a point takes a snapshot of what changed, and of every disk that has none', () => {
  const lastSnapshot = { snapshotId: 's', epoch: 1, cycle: 1 };
  const both = sampleItem({ disks: [sampleDisk(0, { lastSnapshot }), sampleDisk(1, { lastSnapshot })] });
  assert.deepEqual(disksToSnapshot(both, sampleManifest(2)), [0]);
  assert.deepEqual(disksToSnapshot(item, sampleManifest(2)), [0, 1]);
});
