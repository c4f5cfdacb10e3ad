import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startAzurite, type Azurite } from '../../support/azurite.js';
import {
  launchDevhost,
  makeAppFolder,
  startDevhost,
  type AppFolder,
  type DevhostProcess,
} from '../../support/devhost-process.js';

let azurite: Azurite;
let app: AppFolder;
let host: DevhostProcess;
let work = '';
const limitBytes = 1_000_000;
const fixtureLog = () => (existsSync(join(work, 'log')) ? readFileSync(join(work, 'log'), 'utf8') : '');

const start = (args: string[] = []) =>
  startDevhost({
    appFolder: app.folder,
    connectionString: azurite.connectionString,
    dataFolder: join(work, 'data'),
    args,
    environment: { FIXTURE_LOG: join(work, 'log'), FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: String(limitBytes) },
  });

before(async () => {
  work = mkdtempSync(join(tmpdir(), 'understudy-host-'));
  [azurite, app] = await Promise.all([
    startAzurite(),
    makeAppFolder({
      hostJson: {
        extensions: { http: { routePrefix: '' }, durableTask: { hubName: 'HostTest' } },
        functionTimeout: '00:00:02',
      },
    }),
  ]);
  host = await start();
});
after(async () => {
  await host.end();
  await azurite.stop();
  await app.remove();
  rmSync(work, { recursive: true, force: true });
});

async function until(what: string, holds: () => boolean | Promise<boolean>, withinMs = 20_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) assert.fail(`${what} did not come about: ${host.output()}`);
    await sleep(50);
  }
}

const json = (body: unknown) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

async function status(instanceId: string): Promise<{ runtimeStatus: string; output: unknown }> {
  const answer = await fetch(`${host.origin}/runtime/webhooks/durabletask/instances/${instanceId}`);
  return (await answer.json()) as { runtimeStatus: string; output: unknown };
}

test('requests reach functions as the real worker hands them over', async () => {
  const body = Buffer.from([0, 1, 254, 255]);
  const answer = await fetch(`${host.origin}/ECHO/caf%C3%A9/42?q=1`, {
    method: 'PUT',
    headers: { 'x-given': 'kept' },
    body,
  });
  assert.equal(answer.status, 201);
  assert.equal(answer.headers.get('x-method'), 'PUT');
  assert.equal(answer.headers.get('set-cookie'), 'seen=yes; path=/; httponly');
  assert.deepEqual(await answer.json(), {
    url: `${host.origin}/ECHO/caf%C3%A9/42?q=1`,
    params: { name: 'café', id: '42' },
    query: { q: '1' },
    header: 'kept',
    body: body.toString('base64'),
  });
  const text = async (path: string) => (await fetch(`${host.origin}${path}`)).text();
  assert.equal(await text('/echo/literal/1'), 'literal');
  assert.equal(await text('/files/a/b.txt'), '{"path":"a/b.txt"}');
  assert.equal(await text('/hooked'), 'before');
  assert.match(await text('/late'), /can only be registered during app startup/);
  const bytes = await fetch(`${host.origin}/bytes`);
  assert.deepEqual(Buffer.from(await bytes.arrayBuffer()), Buffer.from([0, 255, 10, 13]));
});

test('what no function answers is 404, what fails is 500 and logged once, what returns nothing is 204', async () => {
  assert.equal((await fetch(`${host.origin}/nowhere`)).status, 404);
  assert.equal((await fetch(`${host.origin}/echo/x/notanumber`)).status, 404);
  assert.equal((await fetch(`${host.origin}/start/chain`)).status, 404, 'a method of no function');
  const failed = await fetch(`${host.origin}/throws`);
  assert.deepEqual([failed.status, await failed.text()], [500, '']);
  await until('the log line', () => host.output().includes('the function says no'));
  const lines = host.output().split('\n');
  assert.equal(lines.filter((line) => line.includes('Error: the function says no')).length, 1);
  assert.match(host.output(), /function=throws invocationId=[0-9a-f-]{36}/);
  assert.equal((await fetch(`${host.origin}/nothing`)).status, 204);
});

test('a body over the limit is refused with 413', async () => {
  const refused = await fetch(`${host.origin}/echo/big`, { method: 'POST', body: Buffer.alloc(limitBytes + 1) });
  assert.equal(refused.status, 413);
  assert.equal(
    (await fetch(`${host.origin}/echo/big`, { method: 'POST', body: Buffer.alloc(limitBytes) })).status,
    201,
  );
});

test('an invocation that exceeds functionTimeout fails, and the host goes on', async () => {
  assert.equal((await fetch(`${host.origin}/slow/4000`)).status, 500);
  assert.match(host.output(), /Timeout of 2 s exceeded by function 'slow'/);
  assert.equal(await (await fetch(`${host.origin}/slow/1`)).text(), 'slept');
});

test('the app is told where it runs', async () => {
  const port = new URL(host.origin).port;
  assert.deepEqual(await (await fetch(`${host.origin}/environment`)).json(), {
    hostname: `localhost:${port}`,
    clockUrl: `${host.origin}/admin/devhost/clock`,
    boundTo: 'loopback',
  });
});

test('the host’s own endpoints answer to programs of this machine, not to pages of a browser', async () => {
  const from = (headers: Record<string, string>) =>
    new Promise<number>((resolve, reject) => {
      request(`${host.origin}/admin/host/status`, { headers }, (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      })
        .on('error', reject)
        .end();
    });
  assert.equal(await from({}), 200);
  assert.equal(await from({ origin: host.origin }), 200);
  assert.equal(await from({ origin: 'https://elsewhere.example' }), 403);
  assert.equal(await from({ host: 'rebound.example' }), 403);
});

test('an orchestration runs through the app’s own client, and a timer of the clock fires when time is advanced', async () => {
  const started = await fetch(`${host.origin}/start/chain/c1`, json(['a', 'b']));
  assert.equal(started.status, 202);
  const { statusQueryGetUri } = (await started.json()) as { statusQueryGetUri: string };
  assert.ok(statusQueryGetUri.startsWith(`${host.origin}/runtime/webhooks/durabletask/instances/c1`));
  await until('the chain', async () => (await status('c1')).runtimeStatus === 'Completed');
  assert.deepEqual((await status('c1')).output, ['Hello a!', 'Hello b!']);

  await fetch(`${host.origin}/start/failing/f1`, json({}));
  await until('the failure', async () => (await status('f1')).runtimeStatus === 'Failed');

  await fetch(`${host.origin}/start/waits/w1`, json({}));
  await until('the start', async () => (await status('w1')).runtimeStatus === 'Running');
  const bad = await fetch(`${host.origin}/admin/devhost/clock`, json({ advance: 'half an hour' }));
  assert.equal(bad.status, 400);
  const moved = await fetch(`${host.origin}/admin/devhost/clock`, json({ advance: 'PT30M' }));
  const { now, speed } = (await moved.json()) as { now: string; speed: number };
  assert.equal(speed, 1);
  assert.ok(Date.parse(now) - Date.now() > 29 * 60_000);
  await until('the wait', async () => (await status('w1')).runtimeStatus === 'Completed');
  // The same advance passed six occurrences of the five-minute timer: one run.
  await until('the timer', () => fixtureLog().includes('"timer":"everyFiveMinutes","isPastDue":true'));
});

test('a timer is fired by hand, and functions are listed', async () => {
  const before = fixtureLog().split('everyFiveMinutes').length;
  assert.equal((await fetch(`${host.origin}/admin/functions/EveryFiveMinutes`, json({}))).status, 202);
  await until('the run', () => fixtureLog().split('everyFiveMinutes').length > before);
  assert.equal((await fetch(`${host.origin}/admin/functions/chain`, json({}))).status, 404);
  const listed = (await (await fetch(`${host.origin}/admin/devhost/functions`)).json()) as {
    name: string;
    url?: string;
  }[];
  assert.equal(listed.find(({ name }) => name === 'rest')?.url, `${host.origin}/files/{*path}`);
});

test('a second host waits for the hub, and takes a killed one over at once, with state, time and timers', async () => {
  const time = async () => ((await (await fetch(`${host.origin}/admin/devhost/clock`)).json()) as { now: string }).now;
  await fetch(`${host.origin}/start/waits/w2`, json({}));
  await until('the start', async () => (await status('w2')).runtimeStatus === 'Running');
  const before = await time();
  await host.end('SIGKILL');
  const killedAtMs = Date.now();
  host = await start();
  const tookMs = Date.now() - killedAtMs;
  assert.ok(tookMs < 12_000, `the take-over took ${tookMs} ms: it waited for the lease of 15 s`);
  assert.match(host.output(), /epoch=2/);
  assert.ok((await time()) >= before);
  const rival = launchDevhost({
    appFolder: app.folder,
    connectionString: azurite.connectionString,
    dataFolder: join(work, 'rival'),
  });
  try {
    await until('the wait', () => rival.output().includes('waiting for the writer of the hub'));
    await sleep(1000);
    assert.doesNotMatch(rival.output(), /devhost ready/);
  } finally {
    await rival.end('SIGKILL');
  }
  await fetch(`${host.origin}/admin/devhost/clock`, json({ advance: 'PT31M' }));
  await until('the wait', async () => (await status('w2')).runtimeStatus === 'Completed');
});

test('SIGTERM lets running requests end, runs the app’s hooks, frees the hub and exits 0', async () => {
  const slow = fetch(`${host.origin}/slow/1000`);
  await until('the slow request', () => fixtureLog().split('slow began').length > 3);
  const [code, answer] = await Promise.all([host.end('SIGTERM'), slow]);
  assert.equal(await answer.text(), 'slept');
  assert.equal(code, 0);
  assert.match(fixtureLog(), /appTerminate/);
  host = await start(['--json', '--log-level', 'info']);
  assert.match(host.output(), /"epoch":3/);
});

test('an app that cannot be loaded keeps the host from starting, and says why', async () => {
  const cases: [options: Parameters<typeof makeAppFolder>[0], message: RegExp][] = [
    [{ packageJson: { main: 'dist/*.js' } }, /Found zero files matching the supplied pattern/],
    [{ source: `throw new Error('not today');` }, /unable to load entry point "main.js": not today/],
    [{ hostJson: { extensions: { durableTask: { hubName: 'no-hub' } } } }, /C6: the hub name 'no-hub'/],
  ];
  for (const [options, message] of cases) {
    const broken = await makeAppFolder({
      ...options,
      hostJson: { extensions: { durableTask: { hubName: 'Broken' } }, ...options?.hostJson },
    });
    const run = launchDevhost({
      appFolder: broken.folder,
      connectionString: azurite.connectionString,
      dataFolder: join(work, 'broken'),
    });
    assert.equal(await run.exited, 1, run.output());
    assert.match(run.output(), message);
    await broken.remove();
  }
});

test('a host goes when its parent has gone', async () => {
  const child = launchDevhost({
    appFolder: app.folder,
    connectionString: azurite.connectionString,
    dataFolder: join(work, 'orphan'),
    args: ['--exit-with-parent', '2147483646'],
  });
  const code = await Promise.race([child.exited, sleep(15_000).then(() => 'still there')]);
  if (code === 'still there') await child.end('SIGKILL');
  assert.equal(code, 0, child.output());
});
