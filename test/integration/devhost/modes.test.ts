import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startAzurite, type Azurite } from '../../support/azurite.js';
import { makeAppFolder, startDevhost, type AppFolder, type DevhostProcess } from '../../support/devhost-process.js';

let azurite: Azurite;
let work = '';
const apps: AppFolder[] = [];

async function start(hubName: string, args: string[], source?: string): Promise<DevhostProcess> {
  const hostJson = { extensions: { http: { routePrefix: '' }, durableTask: { hubName } } };
  const app = await makeAppFolder({ hostJson, ...(source === undefined ? {} : { source }) });
  apps.push(app);
  const { connectionString } = azurite;
  return startDevhost({ appFolder: app.folder, connectionString, dataFolder: join(work, hubName), args });
}

before(async () => {
  work = mkdtempSync(join(tmpdir(), 'understudy-modes-'));
  azurite = await startAzurite();
});
after(async () => {
  await azurite.stop();
  await Promise.all(apps.map((app) => app.remove()));
  rmSync(work, { recursive: true, force: true });
});

test('a host that kills itself over and over, keeping nothing in memory, still ends its orchestrations', async () => {
  const args = ['--mode', 'strictTypes,replayEachTurn,killAfterTurns=10', '--speed', '2000'];
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
  const body = (input: unknown) => ({
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(input),
  });
  let started = false;
  for (let hostCount = 1; hostCount <= 8; hostCount++) {
    const host = await start('Killed', args);
    try {
      const instance = async (id: string) => {
        const answer = await fetch(`${host.origin}/runtime/webhooks/durabletask/instances/${id}`);
        return (await answer.json()) as { runtimeStatus: string; output: unknown };
      };
      if (!started) {
        await fetch(`${host.origin}/start/waits/w`, body({}));
        started = true;
        await fetch(`${host.origin}/start/chain/c`, body(names));
      }
      for (;;) {
        const [chain, waits] = [await instance('c'), await instance('w')];
        if (chain.runtimeStatus === 'Completed' && waits.runtimeStatus === 'Completed') {
          assert.deepEqual(
            chain.output,
            names.map((name) => `Hello ${name}!`),
          );
          assert.ok(hostCount > 1, 'the host never killed itself');
          return;
        }
        await sleep(30);
      }
    } catch (error) {
      // The connection ends when the host kills itself; whatever else went wrong is an error.
      if (error instanceof assert.AssertionError) throw error;
      await host.exited;
      assert.equal(host.child.signalCode, 'SIGKILL', host.output());
    } finally {
      await host.end('SIGKILL');
    }
  }
  assert.fail('the orchestrations did not end within 8 hosts');
});

test('an app that asks the clock while it is loaded gets the time; bound to all interfaces, it is not told of loopback', async () => {
  const source = `
    import { createRequire } from 'node:module';
    const { app } = createRequire(${JSON.stringify(import.meta.url)})('@azure/functions');
    const clock = await (await fetch(process.env.UNDERSTUDY_CLOCK_URL)).json();
    app.http('told', { route: 'told', handler: () => ({ jsonBody: { clock, boundTo: process.env.UNDERSTUDY_BOUND_TO ?? null } }) });
  `;
  const host = await start('AllInterfaces', ['--host', '0.0.0.0', '--speed', '60'], source);
  try {
    const told = (await (await fetch(`${host.origin}/told`)).json()) as { clock: { speed: number }; boundTo: unknown };
    assert.equal(told.clock.speed, 60);
    assert.equal(told.boundTo, null);
  } finally {
    assert.equal(await host.end(), 0);
  }
});
