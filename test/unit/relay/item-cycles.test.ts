import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import pino from 'pino';
import { otherHrl } from '../../../core/dataplane/hrl/errors.js';
import { asDiskId } from '../../../core/domain/ids.js';
import type { Assignment, CycleManifest } from '../../../core/domain/relay-protocol/wire.js';
import { AppRefusedError } from '../../../relay/errors.js';
import { BaseCheckpoint } from '../../../relay/base-checkpoint.js';
import { ItemCycles } from '../../../relay/item-cycles.js';
import { ItemStateStore } from '../../../relay/item-state.js';
import { ItemView } from '../../../relay/item-view.js';
import type { RelayContext } from '../../../relay/relay-context.js';
import { Turnstile } from '../../../relay/turnstile.js';
import { ManualClock } from '../../support/manual-clock.js';

const assignment: Assignment = {
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
  receivedCycle: 3,
  disks: [
    { diskId: 'disk', sizeBytes: 1024, receivedThroughBytes: 1024, appliedThroughBytes: 1024, digestedThroughBytes: 0 },
  ],
};
const takenAt = '2024-03-01T12:00:00Z';
const manifest = (uploadId: string): CycleManifest => ({
  protectionId: 'protection',
  epoch: 1,
  cycle: 4,
  takenAt,
  consistency: 'crashConsistent',
  closesBase: false,
  disks: [
    {
      diskId: 'disk',
      log: { uploadId, lengthBytes: 10, digest: 'a'.repeat(64), etag: 'e', changedBytes: 512, frameCount: 1 },
    },
  ],
});

test('a manifest whose uploaded logs are gone is given up, so that the logs go up again', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-relay-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const states = new ItemStateStore(folder);
  const pendingManifest = manifest('0'.repeat(32));
  const { itemId, protectionId, epoch } = assignment;
  await states.save({ version: 1, itemId, protectionId, epoch, missedCycleCount: 0, pendingManifest });

  const announced: CycleManifest[] = [];
  const gone = { code: 'US1113', message: 'nothing lies there' };
  const context = {
    states,
    clock: new ManualClock(takenAt),
    log: pino({ level: 'silent' }),
    sendingGate: new Turnstile(1),
    refreshAssignments: () => undefined,
    reportSoon: () => undefined,
    host: {
      tracking: () => Promise.resolve({ kind: 'tracking', lastClosedCycle: 4, openLogBytes: 0, closedLogBytes: 1 }),
      closedCycles: () =>
        Promise.resolve([
          {
            cycle: 4,
            takenAt,
            consistency: 'crashConsistent',
            logs: [{ diskId: asDiskId('disk'), lengthBytes: 1, entryCount: 0 }],
          },
        ]),
    },
    client: {
      announceCycle: (_: string, sent: CycleManifest) => {
        announced.push(sent);
        return announced.length === 1
          ? Promise.reject(new AppRefusedError('announcing', 409, gone))
          : Promise.resolve({ receivedCycle: 4, appliedCycle: 3 });
      },
    },
  } as unknown as RelayContext;
  const view = new ItemView(states, assignment);
  const cycles = new ItemCycles(context, context.log, view, new BaseCheckpoint(context, view), () => undefined);

  const first = await cycles.plan();
  assert(first.kind === 'work');
  await assert.rejects(first.run(AbortSignal.timeout(5000)), { code: 'US1113' });
  const second = await cycles.plan();
  assert(second.kind === 'work');
  await second.run(AbortSignal.timeout(5000));
  assert.deepEqual(announced[0], pendingManifest);
  // Prepared anew from the site's log, which in this test holds nothing.
  assert.deepEqual(announced[1]?.disks, [{ diskId: 'disk', log: null }]);
});

test("the rhythm of the cycles goes by the relay's clock: a host whose clock is off neither hurries nor delays it", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-relay-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const hostTime of ['2024-03-01T10:00:00Z', '2024-03-01T14:00:00Z']) {
    const states = new ItemStateStore(folder);
    const clock = new ManualClock(takenAt);
    let lastClosedCycle = 3;
    const logs = [{ diskId: asDiskId('disk'), lengthBytes: 1, entryCount: 0 }];
    const context = {
      states,
      clock,
      log: pino({ level: 'silent' }),
      sendingGate: new Turnstile(1),
      host: {
        tracking: () => Promise.resolve({ kind: 'tracking', lastClosedCycle, openLogBytes: 0, closedLogBytes: 0 }),
        closedCycles: () =>
          Promise.resolve(
            lastClosedCycle === 3 ? [] : [{ cycle: 4, takenAt: hostTime, consistency: 'crashConsistent', logs }],
          ),
        discardCyclesThrough: () => Promise.resolve(),
        switchLogs: () => {
          lastClosedCycle = 4;
          return Promise.resolve({ cycle: 4, takenAt: hostTime, consistency: 'crashConsistent', logs });
        },
      },
      client: { announceCycle: () => Promise.resolve({ receivedCycle: 4, appliedCycle: 3 }) },
    } as unknown as RelayContext;
    const view = new ItemView(states, assignment);
    const cycles = new ItemCycles(context, context.log, view, new BaseCheckpoint(context, view), () => undefined);
    for (const attempt of ['close cycle 4', 'send cycle 4', 'discard logs']) {
      const step = await cycles.plan();
      assert(step.kind === 'work' && step.attempt === attempt);
      await step.run(AbortSignal.timeout(5000));
    }
    assert.equal((await view.local()).lastSwitchAt, takenAt);
    await states.remove('item');
  }
});

test('another log in the place of a closed one asks for a resync, and nothing of it is sent', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-relay-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const states = new ItemStateStore(folder);
  const told: string[] = [];
  const logs = [{ diskId: asDiskId('disk'), lengthBytes: 1, entryCount: 1 }];
  const context = {
    states,
    clock: new ManualClock(takenAt),
    log: pino({ level: 'silent' }),
    sendingGate: new Turnstile(1),
    coalesceGate: new Turnstile(1),
    reportSoon: () => undefined,
    host: {
      tracking: () => Promise.resolve({ kind: 'tracking', lastClosedCycle: 4, openLogBytes: 0, closedLogBytes: 1 }),
      closedCycles: () => Promise.resolve([{ cycle: 4, takenAt, consistency: 'crashConsistent', logs }]),
      openLog: () => Promise.reject(otherHrl('wanted', 'found')),
    },
    client: {
      reportResyncRequired: (_: string, { reason }: { reason: string }) => {
        told.push(reason);
        return Promise.resolve();
      },
    },
  } as unknown as RelayContext;
  const view = new ItemView(states, assignment);
  const cycles = new ItemCycles(context, context.log, view, new BaseCheckpoint(context, view), () => undefined);
  for (const attempt of ['send cycle 4', 'report resync']) {
    const step = await cycles.plan();
    assert(step.kind === 'work' && step.attempt === attempt);
    await step.run(AbortSignal.timeout(5000));
  }
  assert.deepEqual(told, ['logCorrupt']);
});
