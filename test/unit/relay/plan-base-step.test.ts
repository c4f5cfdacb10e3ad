import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { resyncRegionBytes } from '../../../core/domain/replication/resync-geometry.js';
import { ChunkMap } from '../../../core/domain/replication/chunk-map.js';
import type { Assignment } from '../../../core/domain/relay-protocol/wire.js';
import type { TrackingStatus } from '../../../core/ports/hypervisor-host.js';
import type { ItemState } from '../../../relay/item-state.js';
import { segmentDataBytes, segmentsAheadMax } from '../../../relay/limits.js';
import { planBaseStep, regionAfter, type BaseProgress } from '../../../relay/plan-base-step.js';

const mebibyte = 1024 * 1024;
const region = resyncRegionBytes;
const diskSize = 3 * region + 40 * mebibyte;

const disk = (diskId: string, receivedThroughBytes: number, change: Partial<Assignment['disks'][number]> = {}) => ({
  diskId,
  sizeBytes: diskSize,
  receivedThroughBytes,
  appliedThroughBytes: receivedThroughBytes,
  digestedThroughBytes: 0,
  ...change,
});
const assignment = (change: Partial<Assignment> = {}): Assignment => ({
  itemId: 'item',
  protectionId: 'protection',
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
  disks: [disk('a', diskSize), disk('b', region)],
  ...change,
});
const tracking: TrackingStatus = { kind: 'tracking', lastClosedCycle: 3, openLogBytes: 0, closedLogBytes: 0 };
const lost: TrackingStatus = { kind: 'resyncRequired', reason: 'hostCrash', message: '', at: '' };
const local: ItemState = {
  version: 1,
  itemId: 'item',
  protectionId: 'protection',
  epoch: 2,
  missedCycleCount: 0,
  checkpointAt: '2024-03-01T12:00:00Z',
};
const progress = (change: Partial<BaseProgress> = {}): BaseProgress => ({
  announced: [],
  records: undefined,
  isHashed: () => false,
  ...change,
});
const plan = (change: Partial<Assignment> = {}, has: Partial<BaseProgress> = {}) =>
  planBaseStep({ assignment: assignment(change), tracking, local }, progress(has));
const regionOf = (diskId: string, fromBytes: number, toBytes: number) => ({
  diskId,
  diskSizeBytes: diskSize,
  fromBytes,
  toBytes,
});
const record = (...marks: number[]) => {
  const map = ChunkMap.empty(diskSize);
  for (const at of marks) map.mark(at, 512);
  return map;
};

describe('any base', () => {
  const phases = ['initialReplication', 'resynchronization'] as const;

  test('nothing before the checkpoint is announced, while held, or when the logs are lost', () => {
    for (const phase of phases) {
      const disks = [disk('a', 0, { digestedThroughBytes: region })];
      assert.notEqual(plan({ phase, disks }).kind, 'rest');
      const { checkpointAt: _, ...unannounced } = local;
      const facts: Parameters<typeof planBaseStep>[0] = { assignment: assignment({ phase, disks }), tracking, local };
      assert.equal(planBaseStep({ ...facts, local: unannounced }, progress()).kind, 'rest');
      assert.equal(planBaseStep({ ...facts, tracking: lost }, progress()).kind, 'rest');
      for (const change of [{ paused: true }, { resyncRequired: true }]) {
        assert.equal(plan({ phase, disks, ...change }).kind, 'rest');
      }
    }
  });

  test('nothing in other phases, and nothing once all is received', () => {
    for (const phase of ['idle', 'delta', 'stopped'] as const) assert.equal(plan({ phase }).kind, 'rest');
    for (const phase of phases) assert.equal(plan({ phase, disks: [disk('a', diskSize)] }).kind, 'rest');
  });

  test('it stays a few segments ahead of what is applied', () => {
    for (const phase of phases) {
      const disks = [disk('a', region, { appliedThroughBytes: 0, digestedThroughBytes: diskSize })];
      const ahead = (count: number, lengthBytes: number) =>
        Array.from({ length: count }, (_, index) => ({ diskId: 'a', toBytes: index + 1, lengthBytes }));
      const announced = ahead(segmentsAheadMax, 1);
      assert.equal(plan({ phase, disks }, { announced }).kind, 'rest');
      assert.notEqual(plan({ phase, disks }, { announced: announced.slice(1) }).kind, 'rest');
      assert.equal(plan({ phase, disks }, { announced: ahead(4, segmentDataBytes) }).kind, 'rest');
      assert.notEqual(plan({ phase, disks }, { announced: ahead(3, segmentDataBytes) }).kind, 'rest');
      const applied = [disk('a', region, { appliedThroughBytes: 1, digestedThroughBytes: diskSize })];
      assert.notEqual(plan({ phase, disks: applied }, { announced }).kind, 'rest');
    }
  });
});

test('initial replication goes disk by disk from where the app has received', () => {
  const disks = [disk('a', diskSize), disk('b', 1024)];
  assert.deepEqual(plan({ phase: 'initialReplication', disks }), { kind: 'sendSegment', diskId: 'b', fromBytes: 1024 });
});

describe('resynchronization', () => {
  test('a region is compared as soon as the replica’s checksums of it are there', () => {
    const disks = [disk('a', diskSize), disk('b', region, { digestedThroughBytes: region + 1 })];
    assert.deepEqual(plan({ disks }), { kind: 'sendDifferences', region: regionOf('b', region, 2 * region) });
  });

  test('until then it is hashed, once', () => {
    const disks = [disk('b', region, { digestedThroughBytes: region })];
    assert.deepEqual(plan({ disks }), { kind: 'hashRegion', region: regionOf('b', region, 2 * region) });
    assert.equal(plan({ disks }, { isHashed: ({ fromBytes }) => fromBytes === region }).kind, 'rest');
  });

  test('the last region ends with the disk', () => {
    const disks = [disk('b', 3 * region, { digestedThroughBytes: diskSize })];
    assert.deepEqual(plan({ disks }), { kind: 'sendDifferences', region: regionOf('b', 3 * region, diskSize) });
  });

  test('regions without a changed chunk are passed over together, without waiting for checksums', () => {
    const records = new Map([['b', record(3 * region - 1024)]]);
    const from = (at: number) => plan({ disks: [disk('b', at)] }, { records });
    assert.deepEqual(from(0), { kind: 'passOver', region: regionOf('b', 0, 2 * region) });
    assert.deepEqual(from(2 * region), { kind: 'hashRegion', region: regionOf('b', 2 * region, 3 * region) });
    assert.deepEqual(from(3 * region), { kind: 'passOver', region: regionOf('b', 3 * region, diskSize) });
  });

  test('a disk without any change is one piece', () => {
    const records = new Map([['b', record()]]);
    const step = plan({ disks: [disk('b', 0)] }, { records });
    assert.deepEqual(step, { kind: 'passOver', region: regionOf('b', 0, diskSize) });
  });

  test('the region to hash ahead is the next one that is compared', () => {
    const first = regionOf('b', 0, region);
    assert.deepEqual(regionAfter(first, undefined), regionOf('b', region, 2 * region));
    assert.deepEqual(regionAfter(first, record(0, 3 * region)), regionOf('b', 3 * region, diskSize));
    assert.equal(regionAfter(first, record(0)), undefined);
    assert.equal(regionAfter(regionOf('b', 3 * region, diskSize), undefined), undefined);
  });
});
