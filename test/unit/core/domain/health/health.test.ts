import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import { failoverHealth } from '../../../../../core/domain/health/failover-health.js';
import type { HealthContext } from '../../../../../core/domain/health/health-context.js';
import { replicationHealth } from '../../../../../core/domain/health/health.js';
import { rpoSeconds } from '../../../../../core/domain/health/rpo.js';
import type { StatisticsBucket } from '../../../../../core/domain/health/statistics-bucket.js';
import { asJobName } from '../../../../../core/domain/ids.js';
import type { ProtectedItem, ReplicationProgress } from '../../../../../core/domain/protected-item/protected-item.js';
import { sampleDisk, sampleHealthContext, sampleItem, sampleProgress } from '../../../../support/sample-item.js';
import { sampleVm } from '../../../../support/sample-site.js';

const now = Temporal.Instant.from('2026-01-05T12:00:00Z');
const ago = (seconds: number): string => now.subtract({ seconds }).toString();
const slot = now.epochMilliseconds / 1_800_000;
const bucket = (changes: Partial<StatisticsBucket>): StatisticsBucket => ({
  slot,
  receivedCount: 0,
  missedCount: 0,
  bytesSum: 0,
  bytesMax: 0,
  latencySumMilliseconds: 0,
  latencyMaxMilliseconds: 0,
  freezeFailureCount: 0,
  ...changes,
});

/** In step: the last cycle is a minute old. */
const itemWith = (changes: Partial<ReplicationProgress>, item: Partial<ProtectedItem> = {}): ProtectedItem =>
  sampleItem({
    state: 'Protected',
    replication: sampleProgress({
      phase: 'delta',
      receivedTakenAt: ago(70),
      receivedAt: ago(60),
      appliedAt: ago(55),
      lastHeartbeatAt: ago(10),
      ...changes,
    }),
    ...item,
  });
const judge = (item: ProtectedItem, context: Partial<HealthContext> = {}): string[] => {
  const health = replicationHealth(item, { ...sampleHealthContext, ...context }, now);
  return [health.level, ...health.reasons.map(({ code }) => code)];
};
const healthOf = (changes: Partial<ReplicationProgress>, context: Partial<HealthContext> = {}): string[] =>
  judge(itemWith(changes), context);
const error = { code: 'US3000', message: 'm', recommendedAction: 'a', at: ago(1) };
const mark = { reason: 'logTooLarge', message: 'm', at: ago(7200) };
const resync = { jobName: asJobName('j'), startedAt: ago(60), cause: 'logTooLarge' };
/** One received and so many missed cycles. */
const counts = (receivedCount: number, missedCount: number) => ({
  statistics: [bucket({ receivedCount, missedCount })],
});

const cases: [
  what: string,
  changes: Partial<ReplicationProgress>,
  expected: string[],
  context?: Partial<HealthContext>,
][] = [
  ['an item in step', {}, ['Normal']],
  ['20% missed', counts(8, 2), ['Normal']],
  ['just over 20% missed', counts(79, 20), ['Warning', 'US3056']],
  ['missed before the monitoring interval', { statistics: [bucket({ slot: slot - 25, missedCount: 99 })] }, ['Normal']],
  [
    'missed in its first half hour',
    { statistics: [bucket({ slot: slot - 24, missedCount: 99 })] },
    ['Warning', 'US3056'],
  ],
  [
    'an average latency of 5 min',
    { statistics: [bucket({ receivedCount: 2, latencySumMilliseconds: 600_000 })] },
    ['Normal'],
  ],
  [
    'a longer one',
    { statistics: [bucket({ receivedCount: 2, latencySumMilliseconds: 600_002 })] },
    ['Warning', 'US3057'],
  ],
  ['an hour since the last send', { receivedAt: ago(3600) }, ['Normal']],
  ['more than an hour since the last send', { receivedAt: ago(3601) }, ['Warning', 'US3054']],
  ['RPO at its threshold', { receivedTakenAt: ago(1800), ...counts(100, 0) }, ['Normal']],
  ['RPO above it', { receivedTakenAt: ago(1801), ...counts(100, 0) }, ['Warning', 'US3058']],
  ['RPO above a lower one', {}, ['Warning', 'US3058'], { rpoThresholdSeconds: 60 }],
  ['a pause', { paused: true, pausedAt: ago(60) }, ['Warning', 'US3052']],
  [
    'a long pause',
    { paused: true, receivedTakenAt: ago(9000), receivedAt: ago(9000) },
    ['Warning', 'US3052', 'US3058'],
  ],
  ['initial replication', { phase: 'initialReplication', ...counts(1, 9) }, ['Warning', 'US3053']],
  ['an error of the relay that is tried again', { relayError: error }, ['Warning', 'US3000']],
  ['an error of the app that is tried again', { lastError: error }, ['Warning', 'US3000']],
  [
    'an error of the relay, and nothing received for more than an hour',
    { relayError: error, receivedAt: ago(3601) },
    ['Critical', 'US3000', 'US3054'],
  ],
  [
    'an error of the app, and nothing applied for more than an hour',
    { lastError: error, appliedAt: ago(3601) },
    ['Critical', 'US3000'],
  ],
  ['one that an operator must mend', { relayError: { ...error, blocking: true } }, ['Critical', 'US3000']],
  [
    'the same error on both sides, one of them blocking',
    { relayError: error, lastError: { ...error, blocking: true } },
    ['Critical', 'US3000'],
  ],
  ['a failed freeze', { freezeFailure: { message: 'm', at: ago(9) } }, ['Warning', 'US3062']],
  [
    'a failed freeze where no such points are wanted any more',
    { freezeFailure: { message: 'm', at: ago(9) } },
    ['Normal'],
    { policy: { replicationIntervalSeconds: 300, appConsistentFrequencyHours: 0 } },
  ],
  ['5 min of silence', { lastHeartbeatAt: ago(300) }, ['Normal']],
  ['more', { lastHeartbeatAt: ago(301) }, ['Critical', 'US3051']],
  ['silence of the item, not of its relay', { lastHeartbeatAt: ago(301) }, ['Normal'], { relayHeardAt: ago(9) }],
  ['a required resynchronization', { resyncRequired: mark }, ['Critical', 'US3050']],
  ['torn disks with nothing under way', { torn: true, appliedTakenAt: ago(70) }, ['Critical', 'US3050']],
  ['a resynchronization that is about to begin', { resyncRequired: mark, resync }, ['Critical', 'US3055']],
  [
    'a running one, of which the recovery points age',
    { phase: 'resynchronization', torn: true, resync, appliedTakenAt: ago(9000), receivedAt: ago(9000) },
    ['Critical', 'US3055', 'US3058'],
  ],
  ['nothing that is replicated', { phase: 'stopped', resyncRequired: mark, lastError: error }, ['None']],
  ['nothing that is replicated yet', { phase: 'none', lastHeartbeatAt: ago(999) }, ['None']],
];
for (const [what, changes, expected, context] of cases) {
  test(`${what}: ${expected.join(' ')}`, () => {
    assert.deepEqual(healthOf(changes, context), expected);
  });
}

test('cycles that should have come by now count as missed, but only where cycles are due', () => {
  const silent = { receivedTakenAt: ago(900), ...counts(7, 0) };
  assert.deepEqual(healthOf({ ...silent, receivedTakenAt: ago(899) }), ['Normal'], '1 of 8');
  assert.deepEqual(healthOf(silent), ['Warning', 'US3056'], '2 of 9');
  for (const none of [{ paused: true, pausedAt: ago(890) }, { resyncRequired: mark }, { resumedAt: ago(599) }]) {
    assert(!healthOf({ ...silent, ...none }).includes('US3056'), JSON.stringify(none));
  }
});

test('disks that differ from the source’s are told, each kind by its code; excluded ones are not', () => {
  const disks = [sampleDisk(0), sampleDisk(1)];
  const [vmDisk] = sampleVm().disks;
  assert(vmDisk);
  const vmWith = (...sizes: [number, number][]) => ({
    vm: {
      disks: sizes.map(([number, sizeBytes]) => ({ ...vmDisk, diskId: sampleDisk(number).diskId, sizeBytes })),
      cpuCount: 2,
      memoryMegabytes: 4096,
      nics: [],
    },
  });
  const size = sampleDisk(0).sourceSizeBytes;
  const item = itemWith({}, { disks, excludedDiskIds: [sampleDisk(7).diskId] });
  assert.deepEqual(judge(item, vmWith([0, size], [1, size], [7, 1])), ['Normal']);
  assert.deepEqual(judge(item, vmWith([0, size], [1, size], [8, 1])), ['Warning', 'US3059']);
  assert.deepEqual(judge(item, vmWith([0, size], [1, size + 1])), ['Critical', 'US3060']);
  assert.deepEqual(judge(item, vmWith([0, size])), ['Critical', 'US3061']);
  assert.deepEqual(judge(item, vmWith([0, 1], [8, 1])), ['Critical', 'US3060', 'US3061', 'US3059']);
});

test('RPO counts from the source’s time of the last state that the replica can be brought to', () => {
  const rpo = (changes: Partial<ReplicationProgress>, item: Partial<ProtectedItem> = {}) =>
    rpoSeconds(itemWith({ receivedTakenAt: ago(42), appliedTakenAt: ago(300), ...changes }, item), now);
  assert.equal(rpo({}), 42);
  assert.equal(rpo({ phase: 'resynchronization', torn: true }), 300, 'a cycle on an open base leads nowhere');
  assert.equal(rpo({ phase: 'resynchronization', torn: true, baseClosedByCycle: 9 }), 42);
  assert.equal(
    rpo({ resyncRequired: { ...mark, reason: 'applyFailed' } }),
    300,
    'what cannot be applied leads nowhere',
  );
  assert.equal(rpo({ resyncRequired: mark }), 42);
  assert.equal(rpo({ phase: 'initialReplication' }, { state: 'InitialReplicationInProgress' }), undefined);
  assert.equal(rpoSeconds(sampleItem(), now), undefined);
});

test('a test VM that is up for more than 14 days is told, and never before', () => {
  const upFor = (days: number) =>
    judge(
      itemWith(
        {},
        { testFailover: { jobName: asJobName('t'), state: 'waiting', startedAt: ago(days * 86_400), disks: [] } },
      ),
    );
  assert.deepEqual(upFor(13.9), ['Normal']);
  assert.deepEqual(upFor(14.1), ['Warning', 'US3063']);
});

test('after a failover nothing is judged but that the source runs beside it', () => {
  const failover = {
    ...{ jobName: asJobName('f'), kind: 'unplanned' as const, recoveryPointId: 'p', recoveryPointAt: ago(60) },
    ...{ cycle: 1, disks: [] },
  };
  const stopped = (code: string) =>
    itemWith(
      { phase: 'stopped', relayError: { ...error, code, blocking: true } },
      { state: 'FailoverCommitted', failover },
    );
  assert.deepEqual(judge(stopped('US5123')), ['Critical', 'US5123']);
  assert.deepEqual(judge(stopped('US5001')), ['None']);
});

test('what a failover would come to: nothing without a whole point, and not all where the source has a new disk', () => {
  const health = (item: ProtectedItem, vm = sampleHealthContext.vm) => failoverHealth(item, { vm });
  const item = itemWith({ appliedTakenAt: ago(70) });
  assert.equal(health(item), 'Normal');
  const { appliedTakenAt: _, ...replication } = item.replication;
  assert.equal(health({ ...item, replication }), 'Critical');
  assert.equal(health(itemWith({ phase: 'stopped', appliedTakenAt: ago(70) })), 'None');
  const [disk] = sampleVm().disks;
  assert(disk);
  const known = { ...item, disks: [sampleDisk(0, { diskId: disk.diskId as never, sourceSizeBytes: disk.sizeBytes })] };
  assert.equal(
    health(known, sampleVm({ disks: [disk, { ...disk, diskId: 'd15c0000-0000-4000-8000-00000000ffff' }] })),
    'Warning',
  );
});
