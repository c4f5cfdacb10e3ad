import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { replicationLoopInstanceId } from '../../../core/domain/workflows/workflows.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { withReport } from '../../../functions/relay-api/reports.js';
import type { ItemReport } from '../../../core/domain/relay-protocol/wire.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem } from '../../support/api/replicated-items.js';
import { sampleItem, sampleManifest, sampleProgress } from '../../support/sample-item.js';
import { withCycleCounted } from '../../../core/domain/health/statistics.js';

const errorOf = (answer: ApiResponse) =>
  (answer.body as { error: { target?: string; details: { code: string }[] } }).error;

async function world(changes: Partial<ProtectedItem> = {}, progress = {}) {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await ReplicatedItem.put(harness, relay, changes, progress);
  const call = (verb: 'pause' | 'resume', itemId = item.armId) =>
    harness.arm('POST', `/understudy/v1/${verb}Replication`, { itemId });
  return { harness, relay, item, call };
}

const error = { code: 'US5110', message: 'm', recommendedAction: 'a', at: '2026-01-05T09:00:00Z' };

test('a pause reaches the relay’s assignment and wakes the loop; repeating it keeps its time', async () => {
  const { harness, relay, item, call } = await world();
  assert.deepEqual((await call('pause')).body, { itemId: item.armId, paused: true });
  const pausedAt = harness.now.toString();
  harness.now = harness.now.add({ minutes: 5 });
  assert.equal((await call('pause')).status, 200);
  assert.equal((await item.now()).replication.pausedAt, pausedAt);
  assert(harness.rung.includes(replicationLoopInstanceId(item.first.protectionId, 1)));
  const { assignments } = (await relay.call('GET', '/relay/v1/assignments')).body as {
    assignments: { paused: boolean }[];
  };
  assert.equal(assignments[0]?.paused, true);
});

test('a resume ends the pause and every wait, and forgets what only an operator could mend', async () => {
  const blocking = { ...error, blocking: true };
  const { harness, relay, item, call } = await world(
    {},
    {
      paused: true,
      pausedAt: '2026-01-05T09:00:00Z',
      relayError: blocking,
      lastError: blocking,
      resyncRequired: { reason: 'r', message: 'm', at: '', failedAttempts: 1, nextAttemptAt: '2026-01-05T11:00:00Z' },
    },
  );
  assert.deepEqual((await call('resume')).body, { itemId: item.armId, paused: false });
  assert.equal(harness.waitsEnded.length, 1, 'the loop’s own wait ends too');
  const { replication } = await item.now();
  const { paused, pausedAt, resumedAt, resumedCount, relayError, lastError, resyncRequired } = replication;
  assert.deepEqual([paused, pausedAt, resumedAt, resumedCount], [false, undefined, harness.now.toString(), 1]);
  assert.deepEqual([relayError, lastError], [undefined, undefined]);
  assert.deepEqual(resyncRequired, { reason: 'r', message: 'm', at: '', failedAttempts: 1 });
  const { assignments } = (await relay.call('GET', '/relay/v1/assignments')).body as {
    assignments: { paused: boolean; resumedCount: number }[];
  };
  assert.deepEqual([assignments[0]?.paused, assignments[0]?.resumedCount], [false, 1]);
});

test('a resume of what is not paused says "try now": errors that pass by themselves stay told until they have', async () => {
  const { item, call } = await world({}, { relayError: error });
  assert.equal((await call('resume')).status, 200);
  const { resumedCount, resumedAt, relayError } = (await item.now()).replication;
  assert.deepEqual([resumedCount, resumedAt, relayError], [1, undefined, error]);
});

const without: [string, Partial<ProtectedItem>, object][] = [
  ['protection is being enabled', { state: 'EnablingProtection' }, { phase: 'none' }],
  ['a failover runs', { state: 'UnplannedFailoverInProgress' }, {}],
  ['the VM runs in Azure', { state: 'FailoverCommitted' }, { phase: 'stopped' }],
];
for (const [why, changes, progress] of without) {
  test(`there is nothing to pause or resume while ${why}: 409 and US1023`, async () => {
    const { item, call } = await world(changes, progress);
    for (const verb of ['pause', 'resume'] as const) {
      const answer = await call(verb);
      assert.equal(answer.status, 409);
      assert.equal(errorOf(answer).details[0]?.code, 'US1023');
    }
    assert.deepEqual(await item.now(), item.first);
  });
}

test('an id that is none of an item is refused by its place, and one of an absent item is not found', async () => {
  const { item, call } = await world();
  for (const id of ['sql-01', vaultPath]) {
    const answer = await call('pause', id);
    assert.equal(answer.status, 400);
    assert.equal(errorOf(answer).target, '$.itemId');
  }
  assert.equal((await call('pause', item.armId.replace('sql-01', 'other'))).status, 404);
});

test('settings have the usual defaults, are replaced whole, and refuse what means nothing', async () => {
  const { harness } = await world();
  const path = `/understudy/v1/replicationSettings?vaultId=${vaultPath}`;
  const defaults = {
    resync: { mode: 'window', windowStart: '18:30', windowEnd: '06:00', atOnceMax: 2 },
    rpoThresholdSeconds: 1800,
  };
  assert.deepEqual((await harness.arm('GET', path)).body, defaults);
  const wanted = {
    resync: { mode: 'window', windowStart: '20:00', windowEnd: '05:30', timeZone: 'America/New_York', atOnceMax: 5 },
    rpoThresholdSeconds: 900,
  };
  assert.deepEqual((await harness.arm('PUT', path, wanted)).body, wanted);
  assert.deepEqual((await harness.arm('GET', path)).body, wanted);
  const wrong: [object, string][] = [
    [{ resync: { timeZone: 'Europe/Atlantis' } }, '$.resync.timeZone'],
    [{ resync: { mode: 'never' } }, '$.resync.mode'],
    [{ resync: { windowStart: '24:00' } }, '$.resync.windowStart'],
    [{ resync: { windowStart: '06:00' } }, '$.resync.windowEnd'],
    [{ resync: { atOnceMax: 0 } }, '$.resync.atOnceMax'],
    [{ rpoThresholdSeconds: 59 }, '$.rpoThresholdSeconds'],
    [{ resyncMode: 'manual' }, '$'],
  ];
  for (const [body, target] of wrong) {
    const answer = await harness.arm('PUT', path, body);
    assert.equal(answer.status, 400, JSON.stringify(body));
    assert.equal(errorOf(answer).target, target);
  }
  assert.deepEqual((await harness.arm('GET', path)).body, wanted);
  assert.deepEqual((await harness.arm('PUT', path, {})).body, defaults);
  assert.equal((await harness.arm('GET', '/understudy/v1/replicationSettings')).status, 400);
  assert.equal((await harness.arm('GET', path.replace('/local?', '/other?').replace(/local$/, 'other'))).status, 404);
});

test('statistics tell the monitoring interval, what is still to be sent, and health with its reasons', async () => {
  const { harness, item } = await world();
  const takenAt = harness.now.subtract({ seconds: 20 }).toString();
  const counted = withCycleCounted(
    item.first.replication,
    sampleManifest(4, { takenAt, missedCycleCount: 1, freezeFailure: 'no VSS' }),
    harness.now.toString(),
  );
  await item.progress({
    ...counted,
    backlogBytes: 4096,
    resync: { jobName: 'job-1' as never, startedAt: takenAt, cause: 'requested' },
    resyncProgress: { comparedBytes: 10, totalBytes: 100, sentBytes: 1 },
  });
  const answer = await harness.arm('GET', `/understudy/v1/replicationStatistics?itemId=${item.armId}`);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const { reasons, ...rest } = answer.body as { reasons: { code: string; recommendedAction: string }[] };
  assert.deepEqual(JSON.parse(JSON.stringify(rest)), {
    itemId: item.armId,
    vmName: 'sql-01',
    health: 'Critical',
    rpoSeconds: 60,
    paused: false,
    lastSendAt: '2026-01-05T09:59:02Z',
    lastHeartbeatAt: '2026-01-05T10:00:00Z',
    backlogBytes: 4096,
    monitoringInterval: { from: '2026-01-05T09:00:00Z', to: '2026-01-05T10:00:00Z' },
    cycles: { succeeded: 1, missed: 1, total: 2, missedPercent: 50 },
    cycleBytes: { average: 1000, largest: 1000 },
    latencySeconds: { average: 20, largest: 20 },
    freezeFailureCount: 1,
    resynchronization: {
      jobName: 'job-1',
      cause: 'requested',
      startedAt: takenAt,
      comparedBytes: 10,
      totalBytes: 100,
      sentBytes: 1,
    },
  });
  assert.deepEqual(
    reasons.map(({ code }) => code),
    ['US3055', 'US3056', 'US3062'],
  );
  assert.equal((await harness.arm('GET', '/understudy/v1/replicationStatistics?itemId=sql-01')).status, 400);
});

test('a report is the whole truth of the relay’s side, and says nothing of the app’s own errors', () => {
  const own = { ...error, code: 'US3000' };
  const item = sampleItem({
    replication: sampleProgress({
      lastError: own,
      relayError: error,
      resyncProgress: { comparedBytes: 1, totalBytes: 2, sentBytes: 0 },
    }),
  });
  const report: ItemReport = {
    itemId: item.itemId,
    protectionId: item.protectionId,
    epoch: 1,
    activity: 'idle',
    backlogBytes: 7,
  };
  const quiet = withReport(item, report, 'now').replication;
  assert.deepEqual(
    [quiet.relayError, quiet.lastError, quiet.resyncProgress, quiet.backlogBytes, quiet.lastHeartbeatAt],
    [undefined, own, undefined, 7, 'now'],
  );
  const progress = { comparedBytes: 2, totalBytes: 2, sentBytes: 1 };
  const loud = withReport(
    item,
    { ...report, resynchronization: progress, lastError: { ...error, blocking: true, nextAttemptAt: 'later' } },
    'now',
  ).replication;
  assert.deepEqual(
    [loud.relayError, loud.lastError, loud.resyncProgress],
    [{ ...error, blocking: true }, own, progress],
  );
});
