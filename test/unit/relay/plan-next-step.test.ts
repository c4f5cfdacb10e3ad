import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import type { Assignment } from '../../../core/domain/relay-protocol/wire.js';
import { asDiskId } from '../../../core/domain/ids.js';
import type { ClosedCycle, TrackingStatus } from '../../../core/ports/hypervisor-host.js';
import type { ItemState } from '../../../relay/item-state.js';
import { planNextStep, type ItemFacts } from '../../../relay/plan-next-step.js';
import { missedCycleCount } from '../../../relay/rhythm.js';

const diskSize = 64 * 1024 * 1024;
const start = Temporal.Instant.from('2024-03-01T12:00:00Z');
const after = (seconds: number) => start.add({ seconds });

const assignment = (change: Partial<Assignment> = {}): Assignment => ({
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
  disks: [disk('a', diskSize), disk('b', diskSize)],
  ...change,
});
const disk = (diskId: string, receivedThroughBytes: number, appliedThroughBytes = receivedThroughBytes) => ({
  diskId,
  sizeBytes: diskSize,
  receivedThroughBytes,
  appliedThroughBytes,
  digestedThroughBytes: 0,
});
const tracking = (change: Partial<Extract<TrackingStatus, { kind: 'tracking' }>> = {}): TrackingStatus => ({
  kind: 'tracking',
  lastClosedCycle: 3,
  openLogBytes: 100,
  closedLogBytes: 0,
  ...change,
});
const closed = (cycle: number): ClosedCycle => ({
  cycle,
  takenAt: start.toString(),
  consistency: 'crashConsistent',
  logs: [{ diskId: asDiskId('a'), lengthBytes: 10, entryCount: 1 }],
});
const local = (change: Partial<ItemState> = {}): ItemState => ({
  version: 1,
  itemId: 'item',
  protectionId: 'protection',
  epoch: 1,
  missedCycleCount: 0,
  checkpointAt: start.toString(),
  lastSwitchAt: start.toString(),
  ...change,
});
const facts = (change: Partial<ItemFacts> = {}): ItemFacts => ({
  assignment: assignment(),
  tracking: tracking(),
  closedCycles: [],
  local: local(),
  now: after(10),
  ...change,
});

describe('what an item does next', () => {
  test('nothing while it is idle, paused or stopped, whatever the site holds', () => {
    const held = { closedCycles: [closed(4)], now: after(10_000) };
    for (const change of [{ phase: 'idle' }, { phase: 'stopped' }, { paused: true }] as const) {
      assert.equal(planNextStep(facts({ ...held, assignment: assignment(change) })).kind, 'rest');
    }
  });

  test('a locked VM of the planned failover under way closes its final cycle at once, sends it, and no more', () => {
    const wanted = { assignment: assignment({ sourceLock: 'job' }), tracking: tracking({ lockId: 'job' }) };
    const final = { lockId: 'job', cycle: 4 };
    assert.equal(planNextStep(facts({ ...wanted, now: after(10) })).kind, 'rest', 'before it is chosen');
    const close = planNextStep(facts({ ...wanted, local: local({ final }) }));
    assert.ok(close.kind === 'switchLogs' && close.cycle === 4);
    const locked = tracking({ lockId: 'job', lastClosedCycle: 4 });
    const send = planNextStep(
      facts({ ...wanted, tracking: locked, closedCycles: [closed(4)], local: local({ final }) }),
    );
    assert.equal(send.kind, 'sendCycle');
    const sent = { assignment: assignment({ sourceLock: 'job', receivedCycle: 4 }), tracking: locked };
    const rest = planNextStep(facts({ ...sent, local: local({ final }), now: after(10_000) }));
    assert.deepEqual(rest, { kind: 'rest', why: 'finalSent' });
  });

  test('a lock that no planned failover wants is lifted, whatever else waits, but not after a failover', () => {
    const lost: TrackingStatus = {
      kind: 'resyncRequired',
      reason: 'hostCrash',
      message: '',
      at: start.toString(),
      lockId: 'old',
    };
    for (const status of [tracking({ lockId: 'old' }), lost]) {
      for (const change of [{}, { paused: true }, { resyncRequired: true }, { sourceLock: 'new' }]) {
        const step = planNextStep(facts({ tracking: status, assignment: assignment(change) }));
        assert.deepEqual(step, { kind: 'unlockSource', lockId: 'old' }, JSON.stringify(change));
      }
      const stopped = planNextStep(facts({ tracking: status, assignment: assignment({ phase: 'stopped' }) }));
      assert.equal(stopped.kind, 'rest');
    }
  });

  test('it rests until an interval after the last log switch, then switches to the next number', () => {
    const rest = planNextStep(facts({ now: after(299) }));
    assert.deepEqual(rest, { kind: 'rest', why: 'nextCycle', until: after(300) });
    const step = planNextStep(facts({ now: after(300) }));
    assert.ok(step.kind === 'switchLogs');
    assert.deepEqual([step.cycle, step.missedCycleCount, step.closesBase], [4, 0, false]);
  });

  test('a closed cycle is sent before any other log is switched, however late it is', () => {
    const late = facts({ closedCycles: [closed(4)], tracking: tracking({ lastClosedCycle: 4 }), now: after(9000) });
    assert.equal(planNextStep(late).kind, 'sendCycle');
  });

  test('a late cycle delays the next, and the intervals that passed count as missed', () => {
    const step = planNextStep(facts({ now: after(3 * 300 + 10) }));
    assert.ok(step.kind === 'switchLogs');
    assert.equal(step.missedCycleCount, 2);
  });

  test('several closed cycles go out in order', () => {
    const step = planNextStep(
      facts({ closedCycles: [closed(4), closed(5)], tracking: tracking({ lastClosedCycle: 5 }) }),
    );
    assert.ok(step.kind === 'sendCycle');
    assert.equal(step.cycle.cycle, 4);
  });

  test('what the app confirmed is discarded at the site first', () => {
    const step = planNextStep(
      facts({
        assignment: assignment({ receivedCycle: 4 }),
        closedCycles: [closed(3), closed(4), closed(5)],
        tracking: tracking({ lastClosedCycle: 5 }),
      }),
    );
    assert.deepEqual(step, { kind: 'discardCycles', throughCycle: 4 });
  });

  test('a gap between site and app asks for a resync, in either direction', () => {
    const gaps: Partial<ItemFacts>[] = [
      { closedCycles: [closed(5)], tracking: tracking({ lastClosedCycle: 5 }) },
      { closedCycles: [], tracking: tracking({ lastClosedCycle: 4 }) },
      { closedCycles: [], tracking: tracking({ lastClosedCycle: 2 }) },
    ];
    for (const gap of gaps) {
      const step = planNextStep(facts(gap));
      assert.ok(step.kind === 'requireResync', step.kind);
      assert.equal(step.reason, 'sequenceGap');
    }
  });

  test("the site's need for a resync is passed on with its reason", () => {
    const lost: TrackingStatus = { kind: 'resyncRequired', reason: 'hostCrash', message: 'log not closed', at: 'then' };
    const step = planNextStep(facts({ tracking: lost }));
    assert.deepEqual(step, { kind: 'requireResync', reason: 'hostCrash', message: 'log not closed', at: 'then' });
  });

  test('a damaged log of the next cycle asks for a resync, one of another epoch does not', () => {
    const unusableLog = { epoch: 1, cycle: 4, reason: 'logCorrupt', message: 'checksum', at: 'then' };
    const held = { closedCycles: [closed(4)], tracking: tracking({ lastClosedCycle: 4 }) };
    const step = planNextStep(facts({ ...held, unusableLog }));
    assert.deepEqual(step, { kind: 'requireResync', reason: 'logCorrupt', message: 'checksum', at: 'then' });
    assert.equal(planNextStep(facts({ ...held, unusableLog: { ...unusableLog, epoch: 2 } })).kind, 'sendCycle');
  });

  test('a cycle that is wanted now does not wait for the interval; the one behind it does', () => {
    const early = { local: local({ lastSwitchAt: start.toString() }), now: after(10) };
    assert.equal(planNextStep(facts({ ...early, switchDueThrough: 4 })).kind, 'switchLogs');
    assert.equal(planNextStep(facts({ ...early, switchDueThrough: 3 })).kind, 'rest');
  });

  test('a clock that was set back makes a cycle due at once, not after the same time once more', () => {
    const ahead = { local: local({ lastSwitchAt: after(7200).toString() }), now: after(10) };
    assert.equal(planNextStep(facts(ahead)).kind, 'switchLogs');
  });

  test('a site without the relationship is an error, not an empty cycle', () => {
    assert.equal(planNextStep(facts({ tracking: { kind: 'notReplicated' } })).kind, 'relationshipMissing');
  });

  test('an application-consistent point is asked for at its frequency, and not with the frequency 0', () => {
    const consistency = (hours: number, last?: Temporal.Instant) => {
      const step = planNextStep(
        facts({
          assignment: assignment({ appConsistentFrequencyHours: hours }),
          local: local(last ? { lastApplicationConsistentAt: last.toString() } : {}),
          now: after(7200),
        }),
      );
      assert.ok(step.kind === 'switchLogs');
      return step.consistency;
    };
    assert.equal(consistency(0), 'crashConsistent');
    assert.equal(consistency(1), 'applicationConsistent');
    assert.equal(consistency(2, start), 'applicationConsistent');
    assert.equal(consistency(3, start), 'crashConsistent');
    assert.equal(consistency(3, after(7260)), 'applicationConsistent', 'the clock was set back since');
  });
});

describe('what holds an item', () => {
  const lost: TrackingStatus = { kind: 'resyncRequired', reason: 'logTooLarge', message: 'half', at: 'then' };
  const phases = ['delta', 'initialReplication', 'resynchronization'] as const;

  test('a site that lost its logs is passed on, also while the item is paused or waits for a resync anyway', () => {
    for (const phase of phases) {
      for (const change of [{ paused: true }, { resyncRequired: true }]) {
        const step = planNextStep(facts({ assignment: assignment({ phase, ...change }), tracking: lost }));
        assert.deepEqual(step, { kind: 'requireResync', reason: 'logTooLarge', message: 'half', at: 'then' });
      }
    }
  });

  test('under a new epoch whose base has not begun, what the site lost before is no news', () => {
    const { checkpointAt: _, ...notBegun } = local({ epoch: 2 });
    const begin = assignment({ phase: 'resynchronization', epoch: 2, disks: [disk('a', 0)] });
    assert.equal(planNextStep(facts({ assignment: begin, tracking: lost, local: notBegun })).kind, 'startBase');
    const paused = planNextStep(facts({ assignment: { ...begin, paused: true }, tracking: lost, local: notBegun }));
    assert.deepEqual(paused, { kind: 'rest', why: 'paused' });
  });

  test('an item that must be resynchronized closes and sends nothing, however late it is', () => {
    const held = { closedCycles: [closed(4)], tracking: tracking({ lastClosedCycle: 4 }), now: after(10_000) };
    for (const phase of phases) {
      const step = planNextStep(facts({ ...held, assignment: assignment({ phase, resyncRequired: true }) }));
      assert.deepEqual(step, { kind: 'rest', why: 'resyncRequired' });
    }
  });

  test('what the app has is discarded while the item is held, so that it does not count as logged', () => {
    for (const change of [{ paused: true }, { resyncRequired: true }]) {
      const step = planNextStep(facts({ assignment: assignment(change), closedCycles: [closed(3)] }));
      assert.deepEqual(step, { kind: 'discardCycles', throughCycle: 3 });
    }
  });

  test('a lost base asks for a resync under its own epoch only', () => {
    const lostBase = { epoch: 1, reason: 'checkpointLost', message: 'gone', at: 'then' };
    const step = planNextStep(facts({ lostBase }));
    assert.deepEqual(step, { kind: 'requireResync', reason: 'checkpointLost', message: 'gone', at: 'then' });
    assert.equal(planNextStep(facts({ lostBase: { ...lostBase, epoch: 2 } })).kind, 'rest');
  });
});

describe('pause', () => {
  test('after a resume the next cycle is due at once if an interval has passed, and else after the interval', () => {
    const paused = { pausedSeconds: 290 };
    assert.equal(planNextStep(facts({ local: local(paused), now: after(301) })).kind, 'switchLogs');
    assert.deepEqual(planNextStep(facts({ local: local(paused), now: after(299) })), {
      kind: 'rest',
      why: 'nextCycle',
      until: after(300),
    });
  });

  test('no cycle is missed while replication is paused', () => {
    const late = after(300 + 3 * 300 + 10);
    assert.equal(missedCycleCount(assignment(), local(), late), 3);
    assert.equal(missedCycleCount(assignment(), local({ pausedSeconds: 600 }), late), 1);
    assert.equal(missedCycleCount(assignment(), local({ pausedAt: after(910).toString() }), late), 2);
    assert.equal(missedCycleCount(assignment(), local({ pausedAt: after(100).toString() }), late), 0);
  });

  test('a new base begins the rhythm anew: the wait for a resync is no missed cycle', () => {
    const base = local({ lastSwitchAt: start.toString(), checkpointAt: after(50_000).toString() });
    assert.equal(missedCycleCount(assignment(), base, after(50_010)), 0);
    assert.deepEqual(planNextStep(facts({ local: base, now: after(50_010) })), {
      kind: 'rest',
      why: 'nextCycle',
      until: after(50_300),
    });
  });
});

test('after an edit the interval and the pauses in it count from then, and a new base begins anew', () => {
  const edited = (at: number, missed: number) => ({
    interval: { seconds: 300, edited: { at: after(at).toString(), missedCycleCount: missed } },
  });
  const late = after(300 + 3 * 300 + 10);
  assert.equal(missedCycleCount(assignment(), local(edited(100, 0)), late), 3, 'due 300 s after the switch as ever');
  assert.equal(missedCycleCount(assignment(), local(edited(870, 1)), late), 2, 'one before, one whole interval since');
  assert.equal(missedCycleCount(assignment(), local({ ...edited(870, 1), pausedSeconds: 100 }), late), 1);
  const again = { ...edited(870, 1), checkpointAt: after(900).toString() };
  assert.equal(missedCycleCount(assignment(), local(again), late), 0);
  const unnoted = local({ interval: { seconds: 900 } });
  assert.equal(missedCycleCount(assignment({ replicationIntervalSeconds: 30 }), unnoted, after(870)), 0);
});

test('a shorter interval counts from the last log switch', () => {
  const shorter = assignment({ replicationIntervalSeconds: 30 });
  assert.equal(planNextStep(facts({ assignment: shorter, now: after(40) })).kind, 'switchLogs');
});

describe('initial replication', () => {
  const half = [disk('a', diskSize), disk('b', 1024)];
  const initial = (change: Partial<Assignment> = {}) =>
    assignment({ phase: 'initialReplication', receivedCycle: 0, disks: half, ...change });
  const begun = tracking({ lastClosedCycle: 0, checkpointId: 'c' });

  test('it starts with the checkpoint, also while the site still asks for a resync of the epoch before', () => {
    const notBegun: ItemState = {
      version: 1,
      itemId: 'item',
      protectionId: 'protection',
      epoch: 2,
      missedCycleCount: 0,
    };
    const lost: TrackingStatus = { kind: 'resyncRequired', reason: 'hostCrash', message: '', at: '' };
    const step = planNextStep(facts({ assignment: initial({ epoch: 2 }), local: notBegun, tracking: lost }));
    assert.equal(step.kind, 'startBase');
  });

  test('cycles are closed at the interval meanwhile', () => {
    const resting = facts({ assignment: initial(), tracking: begun, local: local() });
    assert.equal(planNextStep(resting).kind, 'rest');
    const step = planNextStep({ ...resting, now: after(301) });
    assert.ok(step.kind === 'switchLogs');
    assert.equal(step.closesBase, false);
  });

  test('with the last piece received a cycle is closed at once, and completes it', () => {
    const disks = [disk('a', diskSize), disk('b', diskSize, 1024)];
    const step = planNextStep(facts({ assignment: initial({ disks }), tracking: begun }));
    assert.ok(step.kind === 'switchLogs');
    assert.deepEqual([step.cycle, step.closesBase], [1, true]);
  });

  test('the chosen cycle keeps completing it after a kill between the choice, the switch and the manifest', () => {
    const disks = [disk('a', diskSize), disk('b', diskSize)];
    const chosen = { assignment: initial({ disks }), local: local({ closingCycle: 1 }) };
    const before = planNextStep(facts({ ...chosen, tracking: tracking({ lastClosedCycle: 0 }) }));
    assert.ok(before.kind === 'switchLogs' && before.closesBase);
    const switched = facts({ ...chosen, tracking: tracking({ lastClosedCycle: 1 }), closedCycles: [closed(1)] });
    const sending = planNextStep(switched);
    assert.ok(sending.kind === 'sendCycle' && sending.closesBase);
    const accepted = planNextStep(
      facts({
        ...chosen,
        assignment: initial({ disks, receivedCycle: 1 }),
        tracking: tracking({ lastClosedCycle: 1 }),
        now: after(300),
      }),
    );
    assert.ok(accepted.kind === 'switchLogs' && !accepted.closesBase && accepted.cycle === 2);
  });

  test('cycles that were closed before are sent first, without completing it', () => {
    const disks = [disk('a', diskSize), disk('b', diskSize)];
    const step = planNextStep(
      facts({ assignment: initial({ disks }), tracking: tracking({ lastClosedCycle: 1 }), closedCycles: [closed(1)] }),
    );
    assert.ok(step.kind === 'sendCycle' && !step.closesBase);
  });

  test('the checkpoint is kept until every byte of the base is applied', () => {
    const received = [disk('a', diskSize), disk('b', diskSize, diskSize - 1)];
    const kept = planNextStep(facts({ assignment: initial({ disks: received }), tracking: begun }));
    assert.notEqual(kept.kind, 'releaseCheckpoint');
    const applied = [disk('a', diskSize), disk('b', diskSize)];
    const step = planNextStep(facts({ assignment: initial({ disks: applied }), tracking: begun }));
    assert.deepEqual(step, { kind: 'releaseCheckpoint', checkpointId: 'c' });
  });

  test('a checkpoint whose base the site’s logs broke goes once the app knows, and none that is about to begin', () => {
    const disks = [disk('a', diskSize), disk('b', diskSize, 0)];
    const broken = {
      kind: 'resyncRequired',
      reason: 'hostCrash',
      message: 'found',
      at: start.toString(),
      checkpointId: 'c',
    } as const;
    const untold = planNextStep(facts({ assignment: initial({ disks }), tracking: broken }));
    assert.equal(untold.kind, 'requireResync');
    const told = planNextStep(facts({ assignment: initial({ disks, resyncRequired: true }), tracking: broken }));
    assert.deepEqual(told, { kind: 'releaseCheckpoint', checkpointId: 'c' });
    const next = assignment({ phase: 'resynchronization', epoch: 2, disks });
    const { checkpointAt: _, ...notBegun } = local();
    const begin = planNextStep(facts({ assignment: next, tracking: broken, local: notBegun }));
    assert.equal(begin.kind, 'startBase');
  });

  test('a checkpoint goes once the app wants the base anew, also where the site tracks on', () => {
    const disks = [disk('a', diskSize), disk('b', diskSize, 0)];
    const wanted = planNextStep(facts({ assignment: initial({ disks, resyncRequired: true }), tracking: begun }));
    assert.deepEqual(wanted, { kind: 'releaseCheckpoint', checkpointId: 'c' });
  });

  test('a checkpoint that stands after a failover goes; a site that is silent is asked again', () => {
    const disks = [disk('a', diskSize), disk('b', diskSize, 0)];
    const stopped = assignment({ phase: 'stopped', epoch: 2, disks });
    const silent = planNextStep(
      facts({ assignment: stopped, tracking: { kind: 'notReplicated' }, isSiteSilent: true }),
    );
    assert(silent.kind === 'rest' && silent.until !== undefined);
    assert.deepEqual(planNextStep(facts({ assignment: stopped, tracking: begun })), {
      kind: 'releaseCheckpoint',
      checkpointId: 'c',
    });
  });
});
