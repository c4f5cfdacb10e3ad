import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { killCount } from '../support/kill-count.js';
import { judgePoint } from '../support/system/judge-points.js';
import { eventually, logTail, startSystem, type UnderstudySystem } from '../support/system/understudy-system.js';

/** Kills of each process during one run. */
const killsOfEach = killCount({ short: 4, long: 10 });
/** Waits between kills are drawn from here, so that they hit initial replication, uploads, applying and idling alike. */
const waitMs = { min: 300, max: 2500 };

/** Deterministic by seed: a failing run can be repeated. */
function randomBySeed(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const victims = ['devhost', 'relay'] as const;

async function killAtRandomPoints(system: UnderstudySystem, random: () => number): Promise<void> {
  const left = victims.flatMap((name) => Array.from({ length: killsOfEach }, () => name));
  while (left.length > 0) {
    const [name = 'relay'] = left.splice(Math.floor(random() * left.length), 1);
    const managed = system.environment.processes[name];
    await delay(waitMs.min + random() * (waitMs.max - waitMs.min));
    const pid = await eventually(
      `${name} runs again`,
      60_000,
      () => Promise.resolve(managed.pid),
      () => logTail(system, name),
    );
    process.kill(pid, 'SIGKILL');
    await eventually(`${name} is seen dead`, 10_000, () => Promise.resolve(managed.pid === pid ? undefined : true));
  }
}

test(`devhost and the relay killed at ${killsOfEach} random points each: replication goes on by itself and the replica equals the source`, async () => {
  const seed = Number(process.env.UNDERSTUDY_KILL_SEED ?? 20261122);
  const system = await startSystem({ speed: 10 });
  try {
    console.log(`killing devhost and the relay ${killsOfEach} times each, seed ${seed}`);
    // Slow enough that the longest time without a relay keeps the change logs below half of the disk.
    await system.site('guest', '--vm', 'web-01', '--rate', '4', '--kind', 'random');
    await system.protectVm('web-01');
    await system.protectVm('sql-01');
    await killAtRandomPoints(system, randomBySeed(seed));
    for (const vmName of ['web-01', 'sql-01']) {
      // Two more points than there are now: replication goes on by itself after the last kill.
      const before = (await system.points(vmName)).at(-1)?.cycle ?? 0;
      const points = await eventually(
        `${vmName} has two recovery points after cycle ${before}`,
        120_000,
        async () => {
          const found = await system.points(vmName);
          return found.filter(({ cycle }) => cycle > before).length >= 2 ? found : undefined;
        },
        async () =>
          `${JSON.stringify((await system.item(vmName)).replication)}\n${await logTail(system, 'relay')}\n${await logTail(system, 'devhost')}`,
      );
      const item = await system.item(vmName);
      assert.equal(item.replication.resyncRequired, undefined, 'nothing was lost, so nothing must be resynchronized');
      for (const point of new Set([points.at(0), points.at(-2), points.at(-1)])) {
        assert.ok(point);
        await judgePoint(system, vmName, point);
      }
    }
    for (const name of victims) {
      const { restarts } = system.environment.processes[name];
      assert.ok(restarts >= killsOfEach, `the supervisor started ${name} again after each kill: ${restarts} restarts`);
    }
  } finally {
    await system.stop();
  }
});

test('the site killed while a guest writes: the item is marked for resynchronization and says so', async () => {
  const system = await startSystem({ speed: 10 });
  try {
    await system.protectVm('sql-01');
    const points = await eventually(
      'sql-01 has a recovery point',
      90_000,
      async () => {
        const found = await system.points('sql-01');
        return found.length > 0 ? found : undefined;
      },
      () => logTail(system, 'relay'),
    );
    const pid = system.environment.processes.site.pid;
    assert.ok(pid);
    process.kill(pid, 'SIGKILL');
    const marked = await eventually(
      'sql-01 is marked for resynchronization',
      60_000,
      async () => {
        const { replication } = await system.item('sql-01');
        return replication.resyncRequired;
      },
      () => logTail(system, 'relay'),
    );
    assert.equal(marked.reason, 'hostCrash');
    const { item } = await system.vault.item('sql-01');
    assert.equal(item.properties?.replicationHealth, 'Critical');
    assert.ok(
      item.properties?.healthErrors?.some((error) =>
        /resync/i.test(`${error.errorMessage} ${error.recommendedAction}`),
      ),
      `the health errors name the resynchronization: ${JSON.stringify(item.properties?.healthErrors)}`,
    );
    // What was whole before stays whole.
    const kept = await system.points('sql-01');
    const last = kept.at(-1);
    assert.ok(last && kept.length >= points.length);
    await judgePoint(system, 'sql-01', last);
  } finally {
    await system.stop();
  }
});
