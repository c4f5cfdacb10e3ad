import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import pino from 'pino';
import { UnderstudyError } from '../../../core/domain/errors.js';
import type { Assignment, CycleManifest } from '../../../core/domain/relay-protocol/wire.js';
import type { ClosedCycle, TrackingStatus } from '../../../core/ports/hypervisor-host.js';
import { ItemRunner } from '../../../relay/item-runner.js';
import type { ItemState } from '../../../relay/item-state.js';
import type { RelayContext } from '../../../relay/relay-context.js';
import { Turnstile } from '../../../relay/turnstile.js';
import { ManualClock } from '../../support/manual-clock.js';

const assignmentOf = (change: Partial<Assignment> = {}): Assignment => ({
  itemId: 'item',
  protectionId: 'protection',
  vmId: 'vm',
  vmName: 'sql-01',
  epoch: 1,
  phase: 'delta',
  paused: false,
  resyncRequired: false,
  resumedCount: 0,
  replicationIntervalSeconds: 300,
  appConsistentFrequencyHours: 0,
  receivedCycle: 0,
  disks: [{ diskId: 'disk', sizeBytes: 512, receivedThroughBytes: 0, appliedThroughBytes: 0, digestedThroughBytes: 0 }],
  ...change,
});

const failure = (code: string) =>
  new UnderstudyError({ code, message: `failed: ${code}`, recommendedAction: 'mend it' });

/** Everything here happens in memory: after some turns of the event loop nothing moves any more. */
const settle = async () => {
  for (let turns = 0; turns < 50; turns++) await turn();
};

/** One item on a site and an app that do what they are told; a VM to which nothing is written. */
async function startItem(t: TestContext, change: Partial<Assignment> = {}) {
  const notes = new Map<string, ItemState>();
  const clock = new ManualClock('2024-03-01T12:00:00Z');
  const site = {
    failure: undefined as Error | undefined,
    lost: undefined as TrackingStatus | undefined,
    closed: [] as ClosedCycle[],
    freezeFailure: undefined as string | undefined,
    lookCount: 0,
  };
  const app = {
    failure: undefined as Error | undefined,
    manifests: [] as CycleManifest[],
    resyncs: [] as string[],
  };
  const lastClosed = () => site.closed.at(-1)?.cycle ?? 0;
  const context = {
    states: {
      load: (itemId: string) => Promise.resolve(notes.get(itemId)),
      save: (state: ItemState) => {
        notes.set(state.itemId, state);
        return Promise.resolve();
      },
    },
    clock,
    log: pino({ level: 'silent' }),
    progress: { show: () => undefined, drop: () => undefined, close: () => undefined },
    sendingGate: new Turnstile(1),
    uploadGate: new Turnstile(1),
    coalesceGate: new Turnstile(1),
    refreshAssignments: () => undefined,
    reportSoon: () => undefined,
    host: {
      tracking: () => {
        site.lookCount++;
        if (site.failure) return Promise.reject(site.failure);
        const tracking: TrackingStatus = {
          kind: 'tracking',
          lastClosedCycle: lastClosed(),
          openLogBytes: 0,
          closedLogBytes: 0,
        };
        return Promise.resolve(site.lost ?? tracking);
      },
      closedCycles: () => Promise.resolve(site.closed.filter(({ cycle }) => cycle > app.manifests.length)),
      switchLogs: async (_: string, { cycle, consistency }: { cycle: number; consistency: 'crashConsistent' }) => {
        const closed: ClosedCycle = {
          cycle,
          takenAt: (await clock.now()).toString(),
          consistency,
          logs: [{ diskId: 'disk' as ClosedCycle['logs'][number]['diskId'], lengthBytes: 0, entryCount: 0 }],
          ...(site.freezeFailure !== undefined && { freezeFailure: site.freezeFailure }),
        };
        site.closed.push(closed);
        return closed;
      },
      discardCyclesThrough: () => Promise.resolve(),
    },
    client: {
      announceCycle: (_: string, manifest: CycleManifest) => {
        if (app.failure) return Promise.reject(app.failure);
        app.manifests.push(manifest);
        return Promise.resolve({ receivedCycle: manifest.cycle, appliedCycle: manifest.cycle });
      },
      reportResyncRequired: (_: string, { reason }: { reason: string }) => {
        app.resyncs.push(reason);
        return Promise.resolve();
      },
    },
  } as unknown as RelayContext;
  const start = (assignment: Assignment) => new ItemRunner(context, assignment);
  const item = { runner: start(assignmentOf(change)), assignment: assignmentOf(change) };
  t.after(() => item.runner.stop());
  await settle();
  return {
    site,
    app,
    report: async () => {
      await item.runner.observe(true, (await clock.now()).toString()).catch(() => undefined);
      return item.runner.report();
    },
    pass: async (seconds: number) => {
      clock.advance(seconds);
      await settle();
    },
    /** As the app would answer: with what it has received. */
    order: async (next: Partial<Assignment>) => {
      item.assignment = { ...item.assignment, ...next, receivedCycle: app.manifests.length };
      item.runner.update(item.assignment);
      await settle();
    },
    contact: async () => {
      item.runner.retryNow();
      await settle();
    },
    restart: async () => {
      await item.runner.stop();
      item.runner = start({ ...item.assignment, receivedCycle: app.manifests.length });
      await settle();
    },
  };
}

test('what an operator must mend blocks at once, and only a resume, another order or epoch tries it again', async (t) => {
  const { site, app, report, pass, order, contact } = await startItem(t);
  assert.equal(app.manifests.length, 1);
  site.failure = failure('US5005');
  await pass(300);
  const { lastError, activity } = await report();
  assert.equal(activity, 'waitingToRetry');
  assert.deepEqual(
    [lastError?.code, lastError?.blocking, lastError?.nextAttemptAt, lastError?.recommendedAction],
    ['US5005', true, undefined, 'mend it'],
  );
  site.failure = undefined;
  await pass(24 * 3600);
  await contact();
  await order({ appConsistentFrequencyHours: 1 });
  assert.equal(app.manifests.length, 1, 'neither time nor contact nor a mere change tries it again');
  await order({ resumedCount: 1 });
  assert.equal(app.manifests.length, 2);
  assert.equal((await report()).lastError, undefined);

  for (const next of [{ epoch: 2 }, { paused: true }] as const) {
    site.failure = failure('US5005');
    await pass(300);
    assert.equal((await report()).lastError?.blocking, true);
    site.failure = undefined;
    await order(next);
    assert.equal((await report()).lastError, undefined);
  }
});

test('a relay that the app does not trust goes on when contact is back, for nobody tells it that it is trusted again', async (t) => {
  const { app, report, pass, contact } = await startItem(t);
  app.failure = failure('US5111');
  await pass(300);
  assert.equal((await report()).lastError?.blocking, true);
  app.failure = undefined;
  await pass(3600);
  assert.equal(app.manifests.length, 1);
  await contact();
  assert.ok(app.manifests.length > 1);
});

test('what may pass is tried again by schedule, and renewed contact or a resume ends a wait at once', async (t) => {
  const { site, app, report, pass, order, contact } = await startItem(t);
  app.failure = failure('US5110');
  await pass(300);
  const { lastError } = await report();
  assert.deepEqual([lastError?.blocking, lastError?.nextAttemptAt], [undefined, '2024-03-01T12:06:00Z']);
  app.failure = undefined;
  await pass(59);
  assert.equal(app.manifests.length, 1);
  await pass(1);
  assert.equal(app.manifests.length, 2);

  for (const end of [contact, () => order({ resumedCount: 1 })]) {
    const before = app.manifests.length;
    app.failure = failure('US5110');
    await pass(300);
    app.failure = undefined;
    await end();
    assert.ok(app.manifests.length > before);
  }
  assert.equal(site.closed.length, app.manifests.length);
});

test('a log that grows too large while the item is paused is reported once, and told as what it is', async (t) => {
  const { site, app, report, pass, order } = await startItem(t);
  await order({ paused: true });
  assert.equal((await report()).activity, 'paused');
  site.lost = {
    kind: 'resyncRequired',
    reason: 'logTooLarge',
    message: 'half of the disk',
    at: '2024-03-01T12:00:00Z',
  };
  await report();
  await settle();
  assert.deepEqual(app.resyncs, ['logTooLarge']);
  await pass(3600);
  await report();
  await settle();
  assert.deepEqual(app.resyncs, ['logTooLarge']);
  assert.equal(site.closed.length, 1);
});

test('an item that must be resynchronized closes and sends nothing until the app orders otherwise', async (t) => {
  const { site, app, report, pass, order } = await startItem(t);
  await order({ resyncRequired: true });
  await pass(3600);
  assert.equal((await report()).activity, 'resyncRequired');
  assert.deepEqual([site.closed.length, app.manifests.length], [1, 1]);
  await order({ resyncRequired: false });
  assert.equal(app.manifests.length, 2);
});

test('after a resume the next cycle is due at once, paused time is not missed, and what was missed before stands in the manifest', async (t) => {
  const { app, report, pass, order, restart } = await startItem(t);
  assert.equal(app.manifests[0]?.missedCycleCount, undefined);
  await pass(100);
  await order({ paused: true });
  // The relay is restarted during the pause: it lasts all the same.
  await pass(1000);
  await restart();
  await pass(1000);
  assert.equal((await report()).missedCycleCount, 0);
  await order({ paused: false });
  assert.equal(app.manifests.length, 2);
  assert.equal(app.manifests[1]?.missedCycleCount, undefined);

  app.failure = failure('US5110');
  await pass(300);
  await pass(3 * 300);
  assert.equal((await report()).missedCycleCount, 2, 'the closed cycle waits; two were due since');
  app.failure = undefined;
  await order({ resumedCount: 1 });
  assert.deepEqual(
    app.manifests.slice(2).map(({ cycle, missedCycleCount }) => [cycle, missedCycleCount]),
    [
      [3, undefined],
      [4, 2],
    ],
  );
  assert.equal((await report()).missedCycleCount, 0);
});

test('an edited interval takes effect in the next cycle: who sleeps for the old one wakes', async (t) => {
  const { app, pass, order } = await startItem(t, { replicationIntervalSeconds: 900 });
  await pass(40);
  assert.equal(app.manifests.length, 1);
  await order({ replicationIntervalSeconds: 30 });
  assert.equal(app.manifests.length, 2);
  await order({ replicationIntervalSeconds: 300 });
  await pass(299);
  assert.equal(app.manifests.length, 2);
  await pass(1);
  assert.equal(app.manifests.length, 3);
});

test('an interval that was shortened missed no cycle before it held', async (t) => {
  const { app, report, pass, order } = await startItem(t, { replicationIntervalSeconds: 900 });
  await pass(870);
  await order({ replicationIntervalSeconds: 30 });
  assert.deepEqual(
    app.manifests.map(({ cycle, missedCycleCount }) => [cycle, missedCycleCount]),
    [
      [1, undefined],
      [2, undefined],
    ],
  );
  assert.equal((await report()).missedCycleCount, 0);
});

test('what was missed by each interval counts by it, over an edit and a restart', async (t) => {
  const { app, report, pass, order, restart } = await startItem(t, { replicationIntervalSeconds: 300 });
  app.failure = failure('US5110');
  await pass(300);
  // Two by the first interval, and four by the second since it holds.
  await pass(3 * 300 + 10);
  await order({ replicationIntervalSeconds: 30 });
  assert.equal((await report()).missedCycleCount, 2);
  await restart();
  await pass(4 * 30);
  assert.equal((await report()).missedCycleCount, 6);
  // A longer one takes nothing back.
  await order({ replicationIntervalSeconds: 900 });
  assert.equal((await report()).missedCycleCount, 6);
  await order({ replicationIntervalSeconds: 300 });
  app.failure = undefined;
  await order({ resumedCount: 1 });
  assert.deepEqual(
    app.manifests.slice(1).map(({ cycle, missedCycleCount }) => [cycle, missedCycleCount]),
    [
      [2, undefined],
      [3, 6],
    ],
  );
  assert.equal((await report()).missedCycleCount, 0);
});

test('a guest that could not be frozen is told in the manifest', async (t) => {
  const { site, app, pass } = await startItem(t, { appConsistentFrequencyHours: 1 });
  site.freezeFailure = 'the writer timed out '.repeat(100);
  await pass(300);
  assert.equal(app.manifests[1]?.freezeFailure?.length, 1000);
  assert.match(app.manifests[1].freezeFailure, /^the writer timed out/);
});
