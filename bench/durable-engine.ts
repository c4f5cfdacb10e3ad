import { performance } from 'node:perf_hooks';
import type { OrchestrationContext } from 'durable-functions';
import type { HostClock } from '../devhost/contract.js';
import { createDurableEngine } from '../devhost/engine/engine.js';
import { openTableStore } from '../devhost/engine/table-store.js';
import { startAzurite } from '../test/support/azurite.js';
import { df, functionAppWorker } from '../test/support/durable/function-app.js';

const orchestrationCount = 200;
const activitiesEach = 3;
const warmUpCount = 20;

const systemClock: HostClock = {
  now: () => Date.now(),
  schedule: (atMs, callback) => {
    const timer = setTimeout(callback, Math.max(0, atMs - Date.now()));
    return () => clearTimeout(timer);
  },
};

/**
 * Orchestrations a second of three activities each, with their state in Azurite as a process of its own. Counts the
 * whole way: start by the HTTP surface, four turns, three activities, the last commit.
 */
export async function benchDurableEngine(print: (line: string) => void = console.log): Promise<void> {
  const silent = () => undefined;
  df.app.activity('benchStep', { handler: (n: number) => n + 1 });
  df.app.orchestration('benchChain', function* (context: OrchestrationContext) {
    let n = 0;
    for (let step = 0; step < activitiesEach; step++) n = (yield context.df.callActivity('benchStep', n)) as number;
    return n;
  });
  const azurite = await startAzurite();
  try {
    const meter = { requestCount: 0 };
    const engine = createDurableEngine({
      worker: functionAppWorker,
      clock: systemClock,
      modes: { strictTypes: true, activitiesTwice: false, replayEachTurn: false, killAfterTurns: 0 },
      hubName: 'Bench',
      store: await openTableStore({
        connectionString: azurite.connectionString,
        hubName: 'Bench',
        writerEpoch: 1,
        meter,
      }),
      log: {
        info: silent,
        warn: silent,
        error: (message, fields) => {
          print(`${message} ${JSON.stringify(fields)}`);
        },
      },
    });
    await engine.start();
    const one = async (id: string) => {
      const answer = await engine.handleWebhook({
        method: 'POST',
        url: new URL(`http://127.0.0.1/runtime/webhooks/durabletask/orchestrators/benchChain/${id}?timeout=60`),
        headers: { 'content-type': 'application/json' },
        body: Buffer.from('null'),
      });
      if (answer.status !== 200 || answer.body !== String(activitiesEach)) {
        throw new Error(`orchestration ${id} ended with ${answer.status} ${answer.body}`);
      }
    };
    const run = async (prefix: string, count: number, clients: number) => {
      let next = 0;
      const client = async () => {
        while (next < count) await one(`${prefix}${next++}`);
      };
      await Promise.all(Array.from({ length: clients }, client));
    };
    await run('warm', warmUpCount, 4);
    for (const clients of [1, 16]) {
      const count = clients === 1 ? orchestrationCount / 4 : orchestrationCount;
      meter.requestCount = 0;
      const cpuBefore = process.cpuUsage();
      const startedAt = performance.now();
      await run(`c${clients}-`, count, clients);
      const seconds = (performance.now() - startedAt) / 1000;
      const cpu = process.cpuUsage(cpuBefore);
      print(
        `durable engine, ${clients} client${clients === 1 ? '' : 's'}: ${(count / seconds).toFixed(1)} orchestrations/s ` +
          `of ${activitiesEach} activities (target 20), ${(meter.requestCount / count).toFixed(1)} table requests each, ` +
          `${((cpu.user + cpu.system) / 1000 / count).toFixed(1)} ms CPU of the host each`,
      );
    }
    await engine.stop();
  } finally {
    await azurite.stop();
  }
}
