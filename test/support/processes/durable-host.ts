/**
 * A host process to be killed: the durable engine with the crash app, its state in Azurite, its webhooks on a port.
 * argv[2] is JSON: connectionString, hubName, writerEpoch, killAfterTurns. Prints `ready <origin>`, then one line an
 * activity run.
 */
import { z } from 'zod';
import { createDurableEngine } from '../../../devhost/engine/engine.js';
import { openTableStore } from '../../../devhost/engine/table-store.js';
import { registerCrashApp } from '../durable/crash-app.js';
import { functionAppWorker } from '../durable/function-app.js';
import { serveWebhooks } from '../durable/webhook-server.js';

const options = z
  .object({
    connectionString: z.string(),
    hubName: z.string(),
    writerEpoch: z.number(),
    killAfterTurns: z.number(),
    replayEachTurn: z.boolean(),
  })
  .parse(JSON.parse(process.argv[2] ?? '{}'));

const say = (line: string) => {
  process.stdout.write(`${line}\n`);
};
registerCrashApp((name) => {
  say(`activity ${name}`);
});
const engine = createDurableEngine({
  worker: functionAppWorker,
  clock: {
    now: () => Date.now(),
    schedule: (atMs, callback) => {
      const timer = setTimeout(callback, Math.max(0, atMs - Date.now()));
      return () => clearTimeout(timer);
    },
  },
  modes: {
    strictTypes: true,
    activitiesTwice: false,
    replayEachTurn: options.replayEachTurn,
    killAfterTurns: options.killAfterTurns,
  },
  hubName: options.hubName,
  store: await openTableStore(options),
  log: {
    info: () => undefined,
    warn: (message, fields) => {
      say(`warn ${message} ${JSON.stringify(fields)}`);
    },
    error: (message, fields) => {
      say(`error ${message} ${JSON.stringify(fields)}`);
    },
  },
});
await engine.start();
const { origin } = await serveWebhooks(() => engine);
say(`ready ${origin}`);
