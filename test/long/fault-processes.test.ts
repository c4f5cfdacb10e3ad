import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { seeded } from '../support/durable/seeded.js';
import { judgePoint } from '../support/system/judge-points.js';
import { eventually, logTail, startSystem, type UnderstudySystem } from '../support/system/understudy-system.js';

/** Faults of one round; after each round everything is judged. */
const faultsOfRound = 25;
const rounds = Number(process.env.UNDERSTUDY_LONG_ROUNDS ?? '40');
const seed = Number(process.env.UNDERSTUDY_FAULT_SEED ?? String(Math.floor(Date.now() / 86_400_000)));
const vmNames = ['web-01', 'sql-01'];

/** Real processes, killed by the system: what the simulated machine of test/fault can only play. */
const faults: readonly { name: string; inject: (system: UnderstudySystem) => Promise<unknown> }[] = [
  { name: 'relay killed', inject: (system) => kill(system, 'relay') },
  { name: 'relay killed', inject: (system) => kill(system, 'relay') },
  { name: 'host of the app killed', inject: (system) => kill(system, 'devhost') },
  { name: 'host of the app killed', inject: (system) => kill(system, 'devhost') },
  { name: 'Hyper-V host killed', inject: (system) => kill(system, 'site') },
  { name: 'network cut', inject: (system) => system.site('fault', 'network-cut') },
  { name: 'network slow', inject: (system) => system.site('fault', 'network-slow') },
  { name: 'change log damaged', inject: (system) => system.site('fault', 'log-corrupt', '--vm', 'web-01') },
  { name: 'disk full at the site', inject: (system) => system.site('fault', 'disk-full', '--vm', 'sql-01') },
];

async function kill(system: UnderstudySystem, name: 'relay' | 'devhost' | 'site'): Promise<void> {
  const managed = system.environment.processes[name];
  const pid = await eventually(`${name} runs`, 60_000, () => Promise.resolve(managed.pid));
  process.kill(pid, 'SIGKILL');
}

async function resynchronizeAtOnce({ environment, vault }: UnderstudySystem): Promise<void> {
  const url = `${environment.endpoint}/understudy/v1/replicationSettings?vaultId=${encodeURIComponent(vault.armId)}`;
  const body = JSON.stringify({ resync: { mode: 'immediate', atOnceMax: 4 } });
  const answer = await fetch(url, { method: 'PUT', headers: { 'content-type': 'application/json' }, body });
  assert.equal(answer.status, 200, await answer.text());
}

/** Two points more than there are now, none of them before a resynchronization that is still due. */
async function isReplicatedAgain(system: UnderstudySystem, vmName: string): Promise<void> {
  const before = (await system.points(vmName)).at(-1)?.cycle ?? 0;
  await eventually(
    `${vmName} has two recovery points after cycle ${before}`,
    300_000,
    async () => {
      const { state, replication } = await system.item(vmName);
      const found = (await system.points(vmName)).filter(({ cycle }) => cycle > before);
      const isWhole = state === 'Protected' && !(replication.resyncRequired ?? replication.resync);
      return isWhole && found.length >= 2 ? found : undefined;
    },
    async () =>
      [
        JSON.stringify((await system.item(vmName)).replication),
        await logTail(system, 'relay'),
        await logTail(system, 'devhost'),
      ].join('\n'),
  );
}

test(
  `${rounds * faultsOfRound} faults of real processes: after each round every item is replicated again, and its points equal the source`,
  { timeout: rounds * 600_000 },
  async (t) => {
    t.diagnostic(`seed ${seed}; UNDERSTUDY_FAULT_SEED=${seed} draws the same faults`);
    const random = seeded(seed);
    const system = await startSystem({ speed: 10 });
    const counts = new Map<string, number>();
    let judged = 0;
    try {
      await resynchronizeAtOnce(system);
      await system.site('guest', '--vm', 'web-01', '--rate', '2', '--kind', 'random');
      for (const vmName of vmNames) await system.protectVm(vmName);
      for (let round = 0; round < rounds; round++) {
        for (let count = 0; count < faultsOfRound; count++) {
          const fault = faults[random(faults.length)];
          assert(fault);
          counts.set(fault.name, (counts.get(fault.name) ?? 0) + 1);
          // A site that is just starting takes no faults: the round goes on without this one.
          await fault.inject(system).catch(() => undefined);
          await delay(300 + random(2500));
          if (random(3) === 0) await system.site('clear').catch(() => undefined);
        }
        await eventually('the faults are cleared', 60_000, () => system.site('clear'));
        for (const vmName of vmNames) {
          await isReplicatedAgain(system, vmName);
          for (const point of (await system.points(vmName)).slice(-3)) {
            await judgePoint(system, vmName, point);
            judged++;
          }
        }
      }
      for (const [name, count] of counts) t.diagnostic(`${name}: ${count}`);
      t.diagnostic(`recovery points judged: ${judged}`);
    } finally {
      await system.stop();
    }
  },
);
