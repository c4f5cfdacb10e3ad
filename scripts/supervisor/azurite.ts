import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { openSync, closeSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { freePorts } from './free-port.js';
import { identify, isAlive } from './process-identity.js';

/** Azurite as a process of its own: found again and adopted by the next start, ended by SIGTERM only, which saves its state. */
export interface RunningAzurite {
  readonly pid: number;
  readonly adopted: boolean;
  readonly connectionString: string;
  readonly blobEndpointBase: string;
  /** Name and key of each storage account that it serves, the app's own first. */
  readonly accounts: { name: string; key: string }[];
  stop(): Promise<void>;
}

const appAccount = 'devstoreaccount1';
const servedAccounts = [appAccount, 'replicas', 'premium'];
const wellKnownPorts = { blob: 10000, queue: 10001, table: 10002 };
const readyTimeoutMs = 30_000;
const stopTimeoutMs = 30_000;

/** `<data>/azurite/run.json`: ports and keys stay the same over restarts, so that endpoints written elsewhere hold. */
const runFile = z.object({
  ports: z.object({ blob: z.number(), queue: z.number(), table: z.number() }),
  accounts: z.array(z.object({ name: z.string(), key: z.string() })),
  process: z.object({ pid: z.number(), startedAt: z.string() }).optional(),
});
type RunFile = z.infer<typeof runFile>;

export async function startOrAdoptAzurite(
  folder: string,
  options: { accessLog?: boolean } = {},
): Promise<RunningAzurite> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'run.json');
  const earlier = await readRunFile(path);
  if (earlier?.process && isAlive(earlier.process) && (await answers(earlier.ports.blob, readyTimeoutMs))) {
    return describe(earlier, earlier.process.pid, true);
  }
  const run: RunFile = {
    ports: await choosePorts(earlier?.ports),
    accounts: earlier?.accounts ?? servedAccounts.map((name) => ({ name, key: randomBytes(64).toString('base64') })),
  };
  const log = openSync(join(folder, 'azurite.log'), 'a', 0o600);
  const child = spawn(
    process.execPath,
    [
      createRequire(import.meta.url).resolve('azurite/dist/src/azurite.js'),
      ...['--location', join(folder, 'state'), '--skipApiVersionCheck', '--disableTelemetry'],
      ...(options.accessLog === true ? [] : ['--silent']),
      ...Object.entries(run.ports).flatMap(([service, port]) => [
        ...[`--${service}Host`, '127.0.0.1'],
        ...[`--${service}Port`, String(port)],
      ]),
    ],
    {
      detached: true,
      stdio: ['ignore', log, log],
      env: {
        ...process.env,
        AZURITE_ACCOUNTS: run.accounts.map(({ name, key }) => `${name}:${key}`).join(';'),
      },
    },
  );
  closeSync(log);
  let failure: Error | undefined;
  child.once('error', (error) => (failure = error));
  child.once('exit', (code) => (failure ??= new Error(`exit code ${code}`)));
  child.unref();
  const pid = child.pid;
  if (pid === undefined || !(await answers(run.ports.blob, readyTimeoutMs, () => failure !== undefined))) {
    throw new Error(`Azurite did not start (${failure?.message ?? 'no answer'}); see ${join(folder, 'azurite.log')}`);
  }
  const identity = identify(pid);
  const recorded: RunFile = identity ? { ...run, process: identity } : run;
  await writeFile(`${path}.new`, JSON.stringify(recorded, undefined, 2), { mode: 0o600 });
  await rename(`${path}.new`, path);
  return describe(recorded, pid, false);
}

async function readRunFile(path: string): Promise<RunFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    return undefined; // The first start in this folder.
  }
  return runFile.parse(JSON.parse(text));
}

function describe(run: RunFile, pid: number, adopted: boolean): RunningAzurite {
  const key = run.accounts.find(({ name }) => name === appAccount)?.key ?? '';
  const endpoint = (service: keyof RunFile['ports']): string => `http://127.0.0.1:${run.ports[service]}/${appAccount}`;
  return {
    pid,
    adopted,
    accounts: run.accounts,
    blobEndpointBase: `http://127.0.0.1:${run.ports.blob}`,
    connectionString:
      `DefaultEndpointsProtocol=http;AccountName=${appAccount};AccountKey=${key};` +
      `BlobEndpoint=${endpoint('blob')};QueueEndpoint=${endpoint('queue')};TableEndpoint=${endpoint('table')};`,
    stop: async () => {
      const identity = run.process;
      if (!identity || !isAlive(identity)) return;
      process.kill(pid, 'SIGTERM');
      const deadline = Date.now() + stopTimeoutMs;
      while (isAlive(identity)) {
        if (Date.now() > deadline)
          throw new Error(`Azurite (pid ${pid}) still runs ${stopTimeoutMs / 1000} s after SIGTERM`);
        await delay(50);
      }
    },
  };
}

/** The ports of the last run, else the well-known ones, else free ones. */
async function choosePorts(earlier: RunFile['ports'] | undefined): Promise<RunFile['ports']> {
  for (const ports of earlier ? [earlier] : [wellKnownPorts]) {
    if ((await Promise.all(Object.values(ports).map(isFree))).every(Boolean)) return ports;
  }
  if (earlier) {
    throw new Error(
      `the ports ${Object.values(earlier).join(', ')} that Azurite used here are taken by another process; ` +
        'stop it (endpoints of replicated data name these ports)',
    );
  }
  const [blob = 0, queue = 0, table = 0] = await freePorts(3);
  return { blob, queue, table };
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => {
      resolve(false);
    });
    server.listen(port, '127.0.0.1', () =>
      server.close(() => {
        resolve(true);
      }),
    );
  });
}

async function answers(port: number, timeoutMs: number, gaveUp = () => false): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (Date.now() < deadline && !gaveUp()) {
    const connected = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => {
        resolve(false);
      });
    });
    if (connected) return true;
    await delay(50);
  }
  return false;
}
