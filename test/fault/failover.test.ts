import { runFailover, type FailoverKind } from '../support/fault/failover-run.js';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultNames, type FaultName } from '../support/fault/fault-kinds.js';

const only = process.env.UNDERSTUDY_FAULT_SEED;
const runs = Number(process.env.UNDERSTUDY_FAULT_RUNS ?? '3');
const seeds = only === undefined ? Array.from({ length: runs }, (_, index) => index + 1) : [Number(only)];
const crashes: readonly FaultName[] = ['relayKilled', 'appKilled', 'siteKilled'];
const promises: Record<FailoverKind, string> = {
  plannedFailover: 'moves the VM whole, or gives it back and can be run again',
  unplannedFailover: 'runs the VM from a whole point, or leaves nothing and can be run again',
};

for (const [name, kinds] of [
  ['processes die', crashes],
  ['anything happens', faultNames],
] as const) {
  for (const failoverKind of ['plannedFailover', 'unplannedFailover'] as const) {
    test(`${failoverKind} while ${name}: ${promises[failoverKind]}`, async (t) => {
      const ends = new Map<string, number>();
      for (const seed of seeds) {
        const run = await runFailover(failoverKind, seed, kinds);
        if (only !== undefined) console.log(run.log.join('\n'));
        const told = [`seed ${seed}, ${name}:`, ...run.problems, ...run.log.slice(-200)].join('\n');
        assert.deepEqual(run.problems, [], told);
        for (const end of run.attempts) ends.set(end, (ends.get(end) ?? 0) + 1);
      }
      t.diagnostic([...ends].map(([end, count]) => `${end}: ${count}`).join(', '));
    });
  }
}
