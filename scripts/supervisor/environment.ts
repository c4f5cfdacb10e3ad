import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { seedLocalAzure } from '../../providers/local-azure/local-azure.js';
import { startOrAdoptAzurite, type RunningAzurite } from './azurite.js';
import { ManagedProcess } from './managed-process.js';
import { identify, isAlive } from './process-identity.js';

/** The local vault, made by every start. */
export const localSubscriptionId = '00000000-0000-0000-0000-000000000000';
export const localResourceGroup = 'local';
export const localVaultName = 'local';
export const localVaultId = `/subscriptions/${localSubscriptionId}/resourceGroups/${localResourceGroup}/providers/Microsoft.RecoveryServices/vaults/${localVaultName}`;
const apiVersion = '2025-08-01';

export interface EnvironmentOptions {
  port: number;
  dataFolder: string;
  siteFolder: string;
  /** How much faster business time runs than system time. */
  speed: number;
  withRelay: boolean;
  /** The judges' reference: the site keeps its own journal of acknowledged guest writes. */
  journal?: boolean;
  /** Azurite writes a line for every request into its log, for who counts them. */
  azuriteAccessLog?: boolean;
  /** https beside http, for `az` and the SDK as they come. */
  tls?: { certFile: string; keyFile: string; port: number };
  /** devhost's modes, as its command line takes them. */
  devhostModes?: string;
  /** Between a crash of devhost and its next start; absent: longer from crash to crash. */
  devhostRestartWaitMs?: number;
  tell: (message: string) => void;
}

/** Azurite, devhost with the app, the simulated site and a relay, each a process of its own. */
export interface Environment {
  readonly endpoint: string;
  readonly processes: { devhost: ManagedProcess; site: ManagedProcess; relay: ManagedProcess };
  readonly azurite: RunningAzurite;
  readonly secureEndpoint: string | undefined;
  /** Stops devhost and starts it again in these modes, as after a crash. */
  setDevhostModes(modes: string): void;
  /** Stops everything in order, Azurite last. */
  stop(): Promise<void>;
}

/** The folder that holds package.json, host.json and dist. */
export const appRoot = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

const runFile = z.object({ supervisor: z.object({ pid: z.number(), startedAt: z.string() }) });

export async function startEnvironment(options: EnvironmentOptions): Promise<Environment> {
  const dataFolder = resolve(options.dataFolder);
  const siteFolder = resolve(options.siteFolder);
  const logFolder = join(dataFolder, 'logs');
  await mkdir(logFolder, { recursive: true });
  const release = await claimFolder(dataFolder);
  const endpoint = `http://127.0.0.1:${options.port}`;
  const azurite = await startOrAdoptAzurite(join(dataFolder, 'azurite'), {
    accessLog: options.azuriteAccessLog === true,
  });
  options.tell(`Azurite ${azurite.adopted ? 'adopted' : 'started'} (pid ${azurite.pid}, ${azurite.blobEndpointBase})`);
  const azureFile = join(dataFolder, 'azure.json');
  await seedLocalAzure(azureFile, { blobEndpointBase: azurite.blobEndpointBase, accounts: azurite.accounts });

  const env: NodeJS.ProcessEnv = {
    ...process.env,
    AzureWebJobsStorage: azurite.connectionString,
    FUNCTIONS_WORKER_RUNTIME: 'node',
    UNDERSTUDY_AUTH: 'none',
    UNDERSTUDY_AZURE_INVENTORY: azureFile,
    UNDERSTUDY_CLOCK_URL: `${endpoint}/admin/devhost/clock`,
  };
  const managed = (
    name: string,
    script: string,
    args: () => string[],
    readyLine: RegExp,
    restartWaitMs?: number,
  ): ManagedProcess =>
    new ManagedProcess({
      name,
      command: process.execPath,
      args: () => ['--enable-source-maps', join(appRoot, 'dist', script), ...args()],
      env,
      readyLine,
      logFile: join(logFolder, `${name}.log`),
      restartAfterCrash: true,
      ...(restartWaitMs === undefined ? {} : { restartWaitMs }),
      tell: options.tell,
    });
  let devhostModes = options.devhostModes ?? '';
  const { tls } = options;
  const secureEndpoint = tls === undefined ? undefined : `https://127.0.0.1:${tls.port}`;
  const devhost = managed(
    'devhost',
    'devhost/main.js',
    () => [
      ...['--app', appRoot, '--port', String(options.port), '--data', join(dataFolder, 'devhost')],
      ...['--speed', String(options.speed), '--mode', devhostModes],
      ...(tls === undefined
        ? []
        : ['--tls-cert', tls.certFile, '--tls-key', tls.keyFile, '--tls-port', String(tls.port)]),
    ],
    /devhost ready/,
    options.devhostRestartWaitMs,
  );
  const site = managed(
    'site',
    'scripts/site.js',
    () => ['serve', '--site', siteFolder, ...(options.journal ? ['--journal'] : [])],
    /site ready/,
  );
  const relayData = join(dataFolder, 'relay');
  const relay = managed(
    'relay',
    'relay/main.js',
    () => ['run', '--data', relayData, '--site', siteFolder],
    /in contact with/,
  );

  const stop = async (): Promise<void> => {
    // The relay first, while the app still answers it; Azurite last, when nobody writes any more.
    await relay.stop();
    await site.stop();
    await devhost.stop();
    await azurite.stop();
    await release();
  };
  try {
    await devhost.start();
    options.tell(`devhost up on ${endpoint}`);
    await site.start();
    options.tell(`site up in ${siteFolder}`);
    await putVault(endpoint);
    if (options.withRelay) {
      if (!(await exists(join(relayData, 'identity.json')))) await registerRelay(endpoint, relayData, siteFolder, env);
      await relay.start();
      options.tell('relay up');
    }
  } catch (error) {
    await stop();
    throw error;
  }
  const setDevhostModes = (modes: string): void => {
    devhostModes = modes;
    devhost.signal('SIGTERM');
  };
  return { endpoint, secureEndpoint, azurite, processes: { devhost, site, relay }, setDevhostModes, stop };
}

/** One supervisor a data folder: a second one would start a second site and relay on the same files. */
async function claimFolder(dataFolder: string): Promise<() => Promise<void>> {
  const path = join(dataFolder, 'supervisor.json');
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text !== undefined) {
    const { supervisor } = runFile.parse(JSON.parse(text));
    if (isAlive(supervisor)) {
      throw new Error(
        `${dataFolder} is in use by another "npm start" (pid ${supervisor.pid}): stop that, or pass another --data`,
      );
    }
  }
  const supervisor = identify(process.pid);
  await writeFile(`${path}.new`, JSON.stringify({ supervisor }), { mode: 0o600 });
  await rename(`${path}.new`, path);
  return () => rm(path, { force: true });
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function request(method: string, url: string, body: unknown): Promise<unknown> {
  const response = await fetch(url, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${url} answered ${response.status}: ${text}`);
  return text === '' ? undefined : JSON.parse(text);
}

async function putVault(endpoint: string): Promise<void> {
  await request('PUT', `${endpoint}${localVaultId}?api-version=${apiVersion}`, {
    location: 'local',
    sku: { name: 'Standard' },
    properties: {},
  });
}

const keyResponse = z.object({ registrationKey: z.string() });

async function registerRelay(
  endpoint: string,
  relayData: string,
  siteFolder: string,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const { registrationKey } = keyResponse.parse(
    await request('POST', `${endpoint}/understudy/v1/registrationKeys`, { vaultId: localVaultId }),
  );
  await mkdir(relayData, { recursive: true });
  const keyFile = join(relayData, 'registration.key');
  const file = await open(keyFile, 'w', 0o600);
  await file.writeFile(registrationKey);
  await file.close();
  const register = new ManagedProcess({
    name: 'relay register',
    command: process.execPath,
    args: () => [
      join(appRoot, 'dist/relay/main.js'),
      'register',
      ...['--key-file', keyFile, '--data', relayData, '--site', siteFolder],
    ],
    env,
    readyLine: /registered/,
    logFile: join(dirname(relayData), 'logs', 'relay.log'),
    restartAfterCrash: false,
    tell: () => undefined,
  });
  await register.start();
  await register.ended();
  await rm(keyFile, { force: true });
}
