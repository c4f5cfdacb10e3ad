import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import { silentLog } from '../../../devhost/log.js';
import { FunctionTimer, type TimerRun } from '../../../devhost/timers/function-timer.js';
import { parseSchedule } from '../../../devhost/timers/schedule.js';
import type { ScheduleStatus } from '../../../devhost/timers/schedule-status.js';

class HandClock {
  ms: number;
  readonly #entries = new Set<{ atMs: number; callback: () => void }>();
  constructor(start: string) {
    this.ms = Date.parse(start);
  }
  now() {
    return this.ms;
  }
  schedule(atMs: number, callback: () => void) {
    const entry = { atMs, callback };
    this.#entries.add(entry);
    return () => void this.#entries.delete(entry);
  }
  async set(to: string) {
    this.ms = Date.parse(to);
    for (const entry of [...this.#entries]) {
      if (entry.atMs <= this.ms && this.#entries.delete(entry)) entry.callback();
    }
    await turn();
  }
}

function timer(clock: HandClock, options: { saved?: ScheduleStatus; runOnStartup?: boolean; schedule?: string } = {}) {
  const statuses = new Map<string, ScheduleStatus>();
  if (options.saved !== undefined) statuses.set('sweep', options.saved);
  const runs: TimerRun[] = [];
  let hold: Promise<void> | undefined;
  const subject = new FunctionTimer({
    functionName: 'sweep',
    schedule: parseSchedule(options.schedule ?? '0 0 * * * *', 'UTC'),
    runOnStartup: options.runOnStartup ?? false,
    useMonitor: true,
    clock,
    statuses: {
      read: async (name) => statuses.get(name),
      write: async (name, status) => void statuses.set(name, status),
    },
    invoke: async (run) => {
      runs.push(run);
      await hold;
    },
    log: silentLog,
  });
  return {
    subject,
    runs,
    statuses,
    holdRuns: (promise: Promise<void>) => {
      hold = promise;
    },
  };
}

const at = (text: string) => Date.parse(text);

test('a timer runs at each occurrence and keeps its status', async () => {
  const clock = new HandClock('2026-01-01T00:10:00Z');
  const { subject, runs, statuses } = timer(clock);
  await subject.start();
  assert.equal(runs.length, 0);
  await clock.set('2026-01-01T01:00:00Z');
  await clock.set('2026-01-01T02:00:00Z');
  assert.deepEqual(
    runs.map(({ isPastDue, status }) => [isPastDue, status?.lastMs, status?.nextMs]),
    [
      [false, undefined, at('2026-01-01T01:00:00Z')],
      [false, at('2026-01-01T01:00:00Z'), at('2026-01-01T02:00:00Z')],
    ],
  );
  assert.equal(statuses.get('sweep')?.nextMs, at('2026-01-01T03:00:00Z'));
  await subject.stop();
});

test('runs missed while the host was down are made up for once, as past due', async () => {
  const clock = new HandClock('2026-01-01T09:30:00Z');
  const saved = {
    lastMs: at('2026-01-01T01:00:00Z'),
    nextMs: at('2026-01-01T02:00:00Z'),
    lastUpdatedMs: at('2026-01-01T01:00:01Z'),
  };
  const { subject, runs } = timer(clock, { saved });
  await subject.start();
  await turn();
  assert.deepEqual(
    runs.map(({ isPastDue }) => isPastDue),
    [true],
  );
  await clock.set('2026-01-01T10:00:00Z');
  assert.deepEqual(
    runs.map(({ isPastDue }) => isPastDue),
    [true, false],
  );
  await subject.stop();
});

test('many occurrences passed by an advance of the clock give one run, past due', async () => {
  const clock = new HandClock('2026-01-01T00:10:00Z');
  const { subject, runs } = timer(clock);
  await subject.start();
  await clock.set('2026-01-03T00:10:00Z');
  assert.deepEqual(
    runs.map(({ isPastDue }) => isPastDue),
    [true],
  );
  await subject.stop();
});

test('a run is never overlapped by the next, nor by one started by hand', async () => {
  const clock = new HandClock('2026-01-01T00:10:00Z');
  const { subject, runs, holdRuns } = timer(clock);
  await subject.start();
  let release: () => void = () => undefined;
  holdRuns(
    new Promise((resolve) => {
      release = resolve;
    }),
  );
  await clock.set('2026-01-01T01:00:00Z');
  await clock.set('2026-01-01T02:00:00Z');
  subject.fireNow();
  await turn();
  assert.equal(runs.length, 1);
  release();
  await turn();
  await turn();
  assert.equal(runs.length, 2);
  await subject.stop();
});

test('runOnStartup runs at start; a status from the future is not believed', async () => {
  const clock = new HandClock('2026-01-01T00:10:00Z');
  const saved = {
    lastMs: at('2027-01-01T00:00:00Z'),
    nextMs: at('2027-01-01T01:00:00Z'),
    lastUpdatedMs: at('2027-01-01T00:00:00Z'),
  };
  const { subject, runs } = timer(clock, { saved, runOnStartup: true });
  await subject.start();
  await turn();
  assert.deepEqual(
    runs.map(({ isPastDue, status }) => [isPastDue, status?.nextMs]),
    [[false, at('2026-01-01T01:00:00Z')]],
  );
  await subject.stop();
});
