import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runFailback } from '../support/fault/failback-run.js';
import { faultNames, type FaultName } from '../support/fault/fault-kinds.js';

const only = process.env.UNDERSTUDY_FAULT_SEED;
const runs = Number(process.env.UNDERSTUDY_FAULT_RUNS ?? '3');
const seeds = only === undefined ? Array.from({ length: runs }, (_, index) => index + 1) : [Number(only)];
const crashes: readonly FaultName[] = ['relayKilled', 'appKilled', 'siteKilled'];

for (const [name, kinds] of [
  ['processes die', crashes],
  ['anything happens', faultNames],
] as const) {
  test(`a failback while ${name}: brings the VM back whole, or leaves it in the cloud and can be run again`, async (t) => {
    const ends = new Map<string, number>();
    for (const seed of seeds) {
      const run = await runFailback(seed, kinds);
      if (only !== undefined) console.log(run.log.join('\n'));
      assert.deepEqual(
        run.problems,
        [],
        [`seed ${seed}, ${name}:`, ...run.problems, ...run.log.slice(-200)].join('\n'),
      );
      for (const end of run.attempts) ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    t.diagnostic([...ends].map(([end, count]) => `${end}: ${count}`).join(', '));
  });
}
