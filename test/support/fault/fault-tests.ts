import { runFaults, type FaultRun } from './fault-run.js';
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { z } from 'zod';
import { faultNames, kindOf, type FaultName } from './fault-kinds.js';

/** Seeds that once failed, with what they found: they run for ever. */
const keptSeeds = z.array(
  z.strictObject({ kinds: z.union([z.literal('mixed'), z.string()]), seed: z.int(), found: z.string() }),
);

const mixed = 'mixed';
type Mix = FaultName | typeof mixed;

const kindsOf = (mix: Mix): readonly FaultName[] => (mix === mixed ? faultNames : [mix]);
const nameOf = (mix: Mix): string => (mix === mixed ? 'any fault among all' : kindOf(mix).name);
const isMix = (text: string): text is Mix => text === mixed || faultNames.some((name) => name === text);

/** `UNDERSTUDY_FAULT_SEED=12 UNDERSTUDY_FAULT_KINDS=clockSkew` runs that one alone, and shows its log. */
const only = process.env.UNDERSTUDY_FAULT_SEED;
const onlyMix = process.env.UNDERSTUDY_FAULT_KINDS ?? mixed;
const logLinesShown = 250;
const seedsMax = 12;

/** A test for each mix of faults: its first seeds, and those that were kept. */
export function testFaults(mixes: readonly Mix[], seeds: { first: number; count: number }): void {
  const kept = keptSeeds.parse(JSON.parse(readFileSync('test/fault/seeds.json', 'utf8')));
  for (const { kinds } of kept) assert(isMix(kinds), `test/fault/seeds.json names ${kinds}`);
  for (const mix of mixes) {
    if (only !== undefined && mix !== onlyMix) continue;
    const own = Array.from({ length: seeds.count }, (_, index) => seeds.first + index);
    const chosen =
      only === undefined
        ? [...new Set([...kept.filter(({ kinds }) => kinds === mix).map(({ seed }) => seed), ...own])]
        : [Number(only)];
    test(`${nameOf(mix)}: every recovery point equals the source, every item is Normal again, nothing is left over`, async () => {
      let didSomething = false;
      for (const seed of chosen) didSomething = (await runOne(mix, seed)) || didSomething;
      // A fault may find nothing to break: other seeds then, so that the test proves something.
      for (
        let seed = seeds.first + seeds.count;
        !didSomething && only === undefined && seed < seeds.first + seedsMax;
        seed++
      ) {
        didSomething = await runOne(mix, seed);
      }
      assert(
        didSomething || only !== undefined,
        `in none of the runs did ${nameOf(mix)} do anything: ${chosen.join(', ')}`,
      );
    });
  }
}

/** Whether its faults met anything. */
async function runOne(mix: Mix, seed: number): Promise<boolean> {
  const run = await runFaults({ seed, kinds: kindsOf(mix) });
  record(mix, run);
  if (only !== undefined) console.log(run.log.join('\n'));
  assert(
    run.problems.length === 0,
    [
      `${run.problems.length} promises were not kept; UNDERSTUDY_FAULT_SEED=${seed} UNDERSTUDY_FAULT_KINDS=${mix} replays it:`,
      ...run.problems.slice(0, 20),
      `--- the last ${logLinesShown} lines of its log`,
      ...run.log.slice(-logLinesShown),
    ].join('\n'),
  );
  return Object.keys(run.effects).length > 0;
}

/** Lines for the table that the runner prints at the end (scripts/run-tests.mjs). */
function record(mix: Mix, { problems, cycles, pointsCompared, injected, resyncs, effects }: FaultRun): void {
  const file = process.env.UNDERSTUDY_FAULT_RECORD;
  if (file === undefined) return;
  const kind = nameOf(mix);
  const line = { kind, isOk: problems.length === 0, cycles, points: pointsCompared, injected, resyncs, effects };
  appendFileSync(file, `${JSON.stringify(line)}\n`);
}
