import { FaultWorld, type WorldOptions } from './world.js';
import { kindOf, type ExplainedReason, type FaultName } from './fault-kinds.js';
import { PointWatch } from './point-watch.js';
import { judge, type Verdict } from './verdict.js';

export interface FaultRunOptions extends Partial<WorldOptions> {
  seed: number;
  /** What may happen; each instant draws one of them. */
  kinds: readonly FaultName[];
  /** How many faults. */
  faults?: { least: number; most: number };
}

export interface FaultRun extends Verdict {
  seed: number;
  kinds: readonly FaultName[];
  injected: number;
  /** What the faults did in all: calls that failed, messages that came late, and the like. */
  effects: Readonly<Record<string, number>>;
  cycles: number;
  /** Resynchronizations, by their causes. */
  resyncs: readonly string[];
  log: readonly string[];
}

const hour = 3600;
const defaults = {
  vmCount: 2,
  diskMebibytes: 4,
  replicationIntervalSeconds: 300,
  guestPauseSeconds: 60,
  resyncMode: 'immediate',
} as const;
/** The longest wait of the relay's and the app's schedules is two hours. */
const recoveryHours = 5;

/** One run: protection, hours of faults at instants that the seed gives, an end of all faults, and the verdict. */
export async function runFaults(options: FaultRunOptions): Promise<FaultRun> {
  const { seed, kinds } = options;
  return FaultWorld.run({ ...defaults, ...options }, async (world) => {
    const random = world.random.stream('faults');
    const explained = new Set<ExplainedReason>();
    // Retention thins out points after an hour: those of the faults are compared as they come.
    const watch = new PointWatch(world);
    await world.protectAll();
    world.startGuests();
    // Some runs meet their faults during initial replication already.
    const startsEarly = random.chance(0.4);
    await world.until(
      async () => (await world.items()).every(({ state }) => startsEarly || state === 'Protected'),
      startsEarly ? 0 : hour,
    );
    await world.advance(random.between(0, startsEarly ? 20 : 300));
    const { least, most } = options.faults ?? { least: 2, most: 7 };
    const faults = random.between(least, most);
    for (let count = 0; count < faults; count++) {
      const kind = kindOf(random.pick(kinds));
      world.note(`FAULT ${kind.name}`);
      for (const reason of kind.explains) explained.add(reason);
      await kind.inject(world, random);
      await world.advance(random.between(1, 1000));
      await watch.look();
    }
    // What lasts undoes itself within half an hour.
    for (const process of [world.relay, world.app, world.site]) process?.life.spare();
    await world.advance(hour / 2);
    const caughtUp = async () => {
      await watch.look();
      return (await world.items()).every(
        ({ state, activeJob, replication: { resyncRequired, resync, appliedCycle, receivedCycle, lastError } }) =>
          state === 'Protected' &&
          !(activeJob ?? lastError ?? resyncRequired ?? resync) &&
          appliedCycle === receivedCycle,
      );
    };
    await world.until(caughtUp, recoveryHours * hour, 60);
    // One more cycle, and time for what comes after it.
    await world.advance(400);
    await world.until(caughtUp, 300, 5);
    await watch.look();
    const verdict = await judge(world, explained);
    const cycles = (await world.items()).reduce((sum, { replication }) => sum + replication.appliedCycle, 0);
    return {
      ...verdict,
      pointsCompared: watch.compared,
      problems: [...watch.problems, ...verdict.problems],
      seed,
      kinds,
      injected: faults,
      resyncs: world.resyncReasons.map(({ reason }) => reason),
      effects: { ...world.effects },
      cycles,
      log: world.log,
    };
  });
}
