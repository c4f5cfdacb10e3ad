import { z } from 'zod';
import type { DurableEngine, HostClock, RegisteredFunction, Worker } from '../contract.js';
import { DevhostError } from '../errors.js';
import type { Log } from '../log.js';
import { FunctionTimer, type TimerRun } from './function-timer.js';
import { parseSchedule, type Schedule } from './schedule.js';
import type { ScheduleStatus, ScheduleStatusStore } from './schedule-status.js';

const timerBinding = z.object({
  schedule: z.string(),
  runOnStartup: z.boolean().nullish(),
  useMonitor: z.boolean().nullish(),
});

export interface TimersOptions {
  worker: Worker;
  engine: DurableEngine;
  origin: string;
  clock: HostClock;
  statuses: ScheduleStatusStore;
  environment: NodeJS.ProcessEnv;
  log: Log;
}

/** All timer functions of the app. */
export class Timers {
  readonly #timers: ReadonlyMap<string, FunctionTimer>;

  constructor(options: TimersOptions) {
    const { clock, environment, log, statuses, worker } = options;
    const timers = new Map<string, FunctionTimer>();
    for (const registered of worker.functions.values()) {
      if (registered.trigger !== 'timer') continue;
      const { schedule, runOnStartup, useMonitor } = readTimer(registered, environment);
      const timer = new FunctionTimer({
        functionName: registered.name,
        schedule,
        runOnStartup,
        useMonitor,
        clock,
        statuses,
        log,
        invoke: (run) => invoke(options, registered, run),
      });
      timers.set(registered.name.toLowerCase(), timer);
    }
    this.#timers = timers;
  }

  async start(): Promise<void> {
    await Promise.all([...this.#timers.values()].map((timer) => timer.start()));
  }

  /** False when there is no timer function of the name. */
  fireNow(functionName: string): boolean {
    const timer = this.#timers.get(functionName.toLowerCase());
    timer?.fireNow();
    return timer !== undefined;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#timers.values()].map((timer) => timer.stop()));
  }
}

export function readTimer(
  registered: RegisteredFunction,
  environment: NodeJS.ProcessEnv,
): { schedule: Schedule; runOnStartup: boolean; useMonitor: boolean } {
  const { schedule: text, runOnStartup, useMonitor } = timerBinding.parse(registered.triggerBinding);
  const schedule = parseSchedule(resolveSetting(text, environment), timeZone(environment));
  return { schedule, runOnStartup: runOnStartup ?? false, useMonitor: (useMonitor ?? true) && schedule.isMonitored };
}

/** `%NAME%` stands for an app setting. */
function resolveSetting(text: string, environment: NodeJS.ProcessEnv): string {
  const name = /^%(.+)%$/.exec(text)?.[1];
  if (name === undefined) return text;
  const value = environment[name];
  if (value === undefined)
    throw new DevhostError('badSchedule', `the schedule ${text} names a setting that is not set`);
  return value;
}

function timeZone(environment: NodeJS.ProcessEnv): string {
  const zone = environment.WEBSITE_TIME_ZONE ?? 'UTC';
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone;
  } catch {
    throw new DevhostError('badTimeZone', `WEBSITE_TIME_ZONE '${zone}' is no IANA time zone such as Europe/Berlin`);
  }
}

async function invoke({ engine, origin, worker }: TimersOptions, registered: RegisteredFunction, run: TimerRun) {
  await worker.invoke({
    functionName: registered.name,
    inputData: [
      { name: registered.triggerBinding.name, data: { json: timerJson(run) } },
      ...registered.durableClientBindings.map(({ name }) => ({ name, data: { string: engine.clientBinding(origin) } })),
    ],
    triggerMetadata: {},
  });
}

function timerJson({ isPastDue, status }: TimerRun): string {
  return JSON.stringify({
    Schedule: { AdjustForDST: true },
    ScheduleStatus: status === undefined ? null : statusJson(status),
    IsPastDue: isPastDue,
  });
}

function statusJson({ lastMs, nextMs, lastUpdatedMs }: ScheduleStatus) {
  const iso = (ms: number) => new Date(ms).toISOString();
  // .NET's default of a date that was never set.
  return {
    Last: lastMs === undefined ? '0001-01-01T00:00:00' : iso(lastMs),
    Next: iso(nextMs),
    LastUpdated: iso(lastUpdatedMs),
  };
}
