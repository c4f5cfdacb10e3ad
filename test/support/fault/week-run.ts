import { FaultWorld } from './world.js';
import { rpoSeconds } from '../../../core/domain/health/rpo.js';
import { Temporal } from 'temporal-polyfill';
import { faultNames, kindOf, type ExplainedReason, type FaultName } from './fault-kinds.js';
import { PointWatch } from './point-watch.js';
import { judge } from './verdict.js';

export interface LongRunOptions {
  seed: number;
  vmCount: number;
  hours: number;
  replicationIntervalSeconds: 300 | 900;
  /** Mean time from one fault to the next. */
  faultEveryMinutes: number;
  print: (line: string) => void;
}

export interface LongRun {
  businessHours: number;
  reached: string;
  wallSeconds: number;
  cycles: number;
  pointsCompared: number;
  guestWrites: number;
  faults: Readonly<Record<string, number>>;
  effects: Readonly<Record<string, number>>;
  resyncReasons: Readonly<Record<string, number>>;
  resyncJobs: Readonly<Record<string, number>>;
  /** The worst RPO that any item had, and whose and when it was. */
  worstRpo: { seconds: number; vmName: string; at: string };
  problems: readonly string[];
  log: readonly string[];
}

const minute = 60;
const hour = 3600;
const lookSeconds = 5 * minute;

/**
 * A long time unattended: faults of all kinds at random instants, resynchronizations in the vault's window, every recovery
 * point compared with the source soon after it was made, and the verdict in the end.
 */
export async function runLong(options: LongRunOptions): Promise<LongRun> {
  const { seed, vmCount, hours, replicationIntervalSeconds, faultEveryMinutes, print } = options;
  const startedAt = process.hrtime.bigint();
  const wallSeconds = () => Number(process.hrtime.bigint() - startedAt) / 1e9;
  const world = { seed, vmCount, replicationIntervalSeconds, diskMebibytes: 2, guestPauseSeconds: 4 * minute } as const;
  return FaultWorld.run({ ...world, resyncMode: 'window' }, async (world) => {
    const random = world.random.stream('faults');
    const watch = new PointWatch(world);
    const faults: Record<string, number> = {};
    const worstRpo = { seconds: 0, vmName: '', at: '' };
    await world.protectAll();
    world.startGuests();
    await world.until(async () => (await world.items()).every(({ state }) => state === 'Protected'), hour);
    const endMs = world.time.now() + hours * hour * 1000;
    let nextFaultMs = world.time.now();
    for (let looks = 0; world.time.now() < endMs; looks++) {
      if (world.time.now() >= nextFaultMs) {
        const name: FaultName = random.pick(faultNames);
        const { inject } = kindOf(name);
        world.note(`FAULT ${name}`);
        faults[name] = (faults[name] ?? 0) + 1;
        await inject(world, random);
        nextFaultMs = world.time.now() + random.between(1, 2 * faultEveryMinutes) * minute * 1000;
      }
      await world.advance(lookSeconds);
      await watch.look();
      world.forgetCalls();
      const now = Temporal.Instant.fromEpochMilliseconds(world.time.now());
      for (const item of await world.items()) {
        const seconds = rpoSeconds(item, now) ?? 0;
        if (seconds > worstRpo.seconds) Object.assign(worstRpo, { seconds, vmName: item.vmName, at: now.toString() });
      }
      if (looks % (6 * 12) === 0) print(`${now.toString()}: ${watch.compared} points, ${Math.round(wallSeconds())} s`);
    }
    for (const process of [world.relay, world.app, world.site]) process?.life.spare();
    // The last resynchronizations wait for their window.
    await world.until(() => isCaughtUp(world), 24 * hour, lookSeconds);
    await world.advance(lookSeconds);
    await world.until(() => isCaughtUp(world), 20 * minute, 5);
    await watch.look();
    const verdict = await judge(
      world,
      new Set(faultNames.flatMap((name): readonly ExplainedReason[] => kindOf(name).explains)),
    );
    const items = await world.items();
    const sum = (of: readonly number[]) => of.reduce((total, value) => total + value, 0);
    return {
      businessHours: (world.time.now() - world.startedMs) / 3_600_000,
      reached: new Date(world.time.now()).toISOString(),
      wallSeconds: wallSeconds(),
      cycles: sum(items.map(({ replication }) => replication.appliedCycle)),
      pointsCompared: watch.compared + verdict.pointsCompared,
      guestWrites: sum(world.vms.map(({ guest }) => guest.writes)),
      faults,
      effects: { ...world.effects },
      resyncReasons: tally(world.resyncReasons.map(({ reason }) => reason)),
      resyncJobs: tally((await world.resyncJobs()).map(({ state }) => state)),
      worstRpo,
      problems: [...watch.problems, ...verdict.problems],
      log: world.log,
    };
  });
}

async function isCaughtUp(world: FaultWorld): Promise<boolean> {
  return (await world.items()).every(
    ({ state, activeJob, replication: { resyncRequired, resync, appliedCycle, receivedCycle, lastError } }) =>
      state === 'Protected' && !(activeJob ?? lastError ?? resyncRequired ?? resync) && appliedCycle === receivedCycle,
  );
}

function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
