import type { HostClock } from '../contract.js';
import { toError } from '../errors.js';
import type { Log } from '../log.js';
import type { Schedule } from './schedule.js';
import type { ScheduleStatus, ScheduleStatusStore } from './schedule-status.js';

/** What the trigger's input says, and the library turns into `Timer`. */
export interface TimerRun {
  isPastDue: boolean;
  status: ScheduleStatus | undefined;
}

export interface FunctionTimerOptions {
  functionName: string;
  schedule: Schedule;
  runOnStartup: boolean;
  /** Whether the status is kept in storage; without it a run missed while the host was down is lost. */
  useMonitor: boolean;
  clock: HostClock;
  statuses: ScheduleStatusStore;
  invoke: (run: TimerRun) => Promise<void>;
  log: Log;
}

/**
 * Fires one timer function by business time. Runs never overlap; occurrences that pass during a run, or while time is
 * advanced, or while the host is down, are made up for by at most one run with `isPastDue`.
 */
export class FunctionTimer {
  readonly #options: FunctionTimerOptions;
  #status: ScheduleStatus | undefined;
  #running: Promise<void> = Promise.resolve();
  #cancel: () => void = () => undefined;
  #isStopped = false;

  constructor(options: FunctionTimerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { clock, functionName, schedule, runOnStartup, statuses, useMonitor } = this.#options;
    const now = clock.now();
    const saved = useMonitor ? await statuses.read(functionName) : undefined;
    // A status from the future belongs to a clock that was thrown away.
    if (saved !== undefined && saved.lastUpdatedMs <= now) {
      // Next is worked out again: the schedule may have changed since.
      this.#status = { ...saved, nextMs: schedule.next(Math.max(saved.lastUpdatedMs, saved.lastMs ?? 0)) };
    } else {
      this.#status = { lastMs: undefined, nextMs: schedule.next(now), lastUpdatedMs: now };
      await this.#save();
    }
    const missed = this.#status.nextMs <= now;
    if (missed || runOnStartup) void this.#enqueue(() => this.#runDue(missed));
    else this.#arm();
  }

  /** Runs the function now, after a run under way; the schedule stays as it is. */
  fireNow(): void {
    void this.#enqueue(() => this.#options.invoke({ isPastDue: false, status: this.#status }));
  }

  /** Starts no more runs and waits for the one under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    await this.#running;
  }

  #arm(): void {
    if (this.#isStopped || this.#status === undefined) return;
    const { clock, schedule } = this.#options;
    const dueMs = this.#status.nextMs;
    this.#cancel = clock.schedule(dueMs, () => {
      void this.#enqueue(() => this.#runDue(schedule.next(dueMs) <= clock.now()));
    });
  }

  async #runDue(isPastDue: boolean): Promise<void> {
    const { clock, invoke, schedule } = this.#options;
    const status = this.#status;
    const dueMs = Math.min(status?.nextMs ?? Infinity, clock.now());
    try {
      await invoke({ isPastDue, status });
    } finally {
      // A run that failed has been; the next one is the schedule's.
      const now = clock.now();
      this.#status = { lastMs: dueMs, nextMs: schedule.next(now), lastUpdatedMs: now };
      await this.#save();
      this.#arm();
    }
  }

  #enqueue(run: () => Promise<void>): Promise<void> {
    this.#running = this.#running.then(async () => {
      if (this.#isStopped) return;
      try {
        await run();
      } catch (error) {
        const { functionName, log } = this.#options;
        log.error('a timer could not run', { function: functionName, error: toError(error).message });
      }
    });
    return this.#running;
  }

  async #save(): Promise<void> {
    const { functionName, log, statuses, useMonitor } = this.#options;
    if (!useMonitor || this.#status === undefined) return;
    try {
      await statuses.write(functionName, this.#status);
    } catch (error) {
      // The run has happened; at worst it is repeated after the next start, as on the real host.
      log.warn('the status of a timer could not be saved', { function: functionName, error: toError(error).message });
    }
  }
}
