import { runFaults } from '../support/fault/fault-run.js';
import { runFailover } from '../support/fault/failover-run.js';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultNames } from '../support/fault/fault-kinds.js';

const runs = Number(process.env.UNDERSTUDY_FAULT_RUNS ?? '1000');
/** Another part of all seeds each day, so that nights add up. */
const first = Number(process.env.UNDERSTUDY_FAULT_SEED ?? String(Math.floor(Date.now() / 86_400_000) * 10_000));

test(`${runs} seeds of random faults keep every promise`, { timeout: runs * 120_000 }, async (t) => {
  t.diagnostic(`seeds ${first} to ${first + runs - 1}; UNDERSTUDY_FAULT_SEED=… npm run test:fault replays one`);
  const failed: string[] = [];
  for (let seed = first; seed < first + runs; seed++) {
    const { problems } = await runFaults({ seed, kinds: faultNames, faults: { least: 4, most: 16 } });
    if (problems.length === 0) continue;
    failed.push(`seed ${seed}: ${problems.slice(0, 5).join('; ')}`);
    t.diagnostic(failed.at(-1) ?? '');
  }
  assert.deepEqual(failed, [], 'keep these seeds in test/fault/seeds.json');
});

/** A failover's run is short, and its faults fall into the failover. */
const failoverRuns = Math.ceil(runs / 4);

test(
  `${failoverRuns} seeds of each failover under faults keep every promise`,
  { timeout: runs * 120_000 },
  async (t) => {
    const failed: string[] = [];
    for (const failoverKind of ['plannedFailover', 'unplannedFailover'] as const) {
      const ends = new Map<string, number>();
      for (let seed = first; seed < first + failoverRuns; seed++) {
        const { problems, attempts } = await runFailover(failoverKind, seed, faultNames);
        for (const end of attempts) ends.set(end, (ends.get(end) ?? 0) + 1);
        if (problems.length > 0) failed.push(`${failoverKind}, seed ${seed}: ${problems.slice(0, 5).join('; ')}`);
      }
      t.diagnostic(`${failoverKind}: ${[...ends].map(([end, count]) => `${end} ${count}`).join(', ')}`);
    }
    assert.deepEqual(failed, []);
  },
);
