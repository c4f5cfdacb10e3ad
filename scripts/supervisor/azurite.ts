import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { openSync, closeSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { TableServiceClient } from '@azure/data-tables';
import { BlobServiceClient } from '@azure/storage-blob';
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
const startAttempts = 3;

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
  if (earlier?.process && isAlive(earlier.process) && (await answers(earlier, () => false))) {
    return describe(earlier, earlier.process.pid, true);
  }
  const accounts =
    earlier?.accounts ?? servedAccounts.map((name) => ({ name, key: randomBytes(64).toString('base64') }));
  let pid: number | undefined;
  let run: RunFile;
  // Ports that were free a moment ago may have been taken since, by another Azurite that starts now.
  for (let attempt = 1; ; attempt++) {
    run = { ports: await choosePorts(earlier?.ports, attempt), accounts };
    pid = await spawnAzurite(folder, run, options);
    if (pid !== undefined) break;
    if (attempt === startAttempts) {
      throw new Error(`Azurite did not start in ${startAttempts} attempts; see ${join(folder, 'azurite.log')}`);
    }
  }
  const identity = identify(pid);
  const recorded: RunFile = identity ? { ...run, process: identity } : run;
  await writeFile(`${path}.new`, JSON.stringify(recorded, undefined, 2), { mode: 0o600 });
  await rename(`${path}.new`, path);
  return describe(recorded, pid, false);
}

/** The process id once it answers to our keys; undefined where it ended before, or never answered and was ended. */
async function spawnAzurite(
  folder: string,
  run: RunFile,
  { accessLog = false }: { accessLog?: boolean },
): Promise<number | undefined> {
  const log = openSync(join(folder, 'azurite.log'), 'a', 0o600);
  const child = spawn(
    process.execPath,
    [
      createRequire(import.meta.url).resolve('azurite/dist/src/azurite.js'),
      ...['--location', join(folder, 'state'), '--skipApiVersionCheck', '--disableTelemetry'],
      ...(accessLog ? [] : ['--silent']),
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
  let isOver = false;
  child.once('error', () => (isOver = true));
  child.once('exit', () => (isOver = true));
  child.unref();
  if (await answers(run, () => isOver)) return child.pid;
  child.kill('SIGTERM');
  return undefined;
}

/** How the Azurite of a data folder is reached, where it runs. */
export async function readAzurite(dataFolder: string): Promise<Pick<RunningAzurite, 'connectionString'>> {
  const run = await readRunFile(join(dataFolder, 'azurite', 'run.json'));
  if (run?.process === undefined || !isAlive(run.process)) {
    throw new Error(`nothing runs on the data folder ${dataFolder}: start it with "npm start"`);
  }
  return describe(run, run.process.pid, true);
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
async function choosePorts(earlier: RunFile['ports'] | undefined, attempt: number): Promise<RunFile['ports']> {
  const preferred = earlier ?? (attempt === 1 ? wellKnownPorts : undefined);
  if (preferred && (await Promise.all(Object.values(preferred).map(isFree))).every(Boolean)) return preferred;
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

/** Whether Azurite answers in time to this folder's keys for blobs and tables: a stranger on one knows other keys. */
async function answers(run: RunFile, gaveUp: () => boolean): Promise<boolean> {
  const { connectionString } = describe(run, 0, false);
  const retryOptions = { maxTries: 1 };
  const blobs = BlobServiceClient.fromConnectionString(connectionString, { retryOptions });
  const tables = TableServiceClient.fromConnectionString(connectionString, {
    allowInsecureConnection: true,
    retryOptions: { maxRetries: 0 },
  });
  const deadline = Date.now() + readyTimeoutMs;
  while (Date.now() < deadline && !gaveUp()) {
    try {
      await Promise.all([blobs.getProperties(), tables.getProperties()]);
      return !gaveUp();
    } catch {
      await delay(50);
    }
  }
  return false;
}
