import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { azuriteAccount, azuriteKey, startAzurite } from '../azurite.js';

/** The built app on devhost with an Azurite of its own. */
export interface RunningApp {
  origin: string;
  /** The same over TLS, with the tests' own certificate (test/support/tls). */
  secureOrigin: string;
  /** ARM id of the one storage account and the one network of its inventory. */
  storageAccountId: string;
  networkId: string;
  /** What the app said, for the message of a failed test. */
  output(): string;
  stop(): Promise<void>;
}

const readyWithinMs = 60_000;
const stoppedWithinMs = 20_000;
const localGroup = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local';

/** `mode`: ways of running that show what else only the real host would (devhost --help). */
export async function startApp(options: { mode?: string } = {}): Promise<RunningApp> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-app-'));
  const azurite = await startAzurite();
  const inventoryPath = join(folder, 'azure.json');
  await writeFile(
    inventoryPath,
    JSON.stringify({
      storageAccounts: [
        {
          name: azuriteAccount,
          kind: 'standard',
          blobEndpoint: `http://127.0.0.1:${azurite.ports.blob}/${azuriteAccount}`,
          accountKey: azuriteKey,
        },
      ],
      networks: [{ name: 'prod', subnets: [{ name: 'default', addressPrefix: '10.10.0.0/24' }] }],
    }),
  );
  const child = spawn(
    process.execPath,
    [
      '--enable-source-maps',
      'dist/devhost/main.js',
      ...['--port', '0', '--data', join(folder, 'devhost'), '--json', '--mode', options.mode ?? ''],
      ...['--tls-cert', 'test/support/tls/cert.pem', '--tls-key', 'test/support/tls/key.pem', '--tls-port', '0'],
    ],
    {
      env: {
        ...process.env,
        AzureWebJobsStorage: azurite.connectionString,
        UNDERSTUDY_AUTH: 'none',
        UNDERSTUDY_AZURE_INVENTORY: inventoryPath,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const lines: string[] = [];
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  const stop = async (): Promise<void> => {
    process.removeListener('exit', killWithUs);
    await end(child);
    await azurite.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const { origin, secureOrigin } = await readyOrigins(child, lines);
    return {
      origin,
      secureOrigin,
      storageAccountId: `${localGroup}/providers/Microsoft.Storage/storageAccounts/${azuriteAccount}`,
      networkId: `${localGroup}/providers/Microsoft.Network/virtualNetworks/prod`,
      output: () => lines.slice(-200).join('\n'),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function readyOrigins(child: ChildProcess, lines: string[]): Promise<{ origin: string; secureOrigin: string }> {
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error('devhost has no output');
  createInterface(stderr).on('line', (line) => lines.push(line));
  return new Promise((resolve, reject) => {
    const refuse = (why: string) => reject(new Error(`devhost ${why}:\n${lines.join('\n')}`));
    const timer = setTimeout(() => refuse('was not ready in time'), readyWithinMs);
    createInterface(stdout).on('line', (line) => {
      lines.push(line);
      const [, origin, secureOrigin] = /"devhost ready","url":"([^"]+)","secureUrl":"([^"]+)"/.exec(line) ?? [];
      if (origin === undefined || secureOrigin === undefined) return;
      clearTimeout(timer);
      resolve({ origin, secureOrigin });
    });
    child.once('exit', () => {
      clearTimeout(timer);
      refuse('ended');
    });
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const patience = setTimeout(() => child.kill('SIGKILL'), stoppedWithinMs);
  await ended;
  clearTimeout(patience);
}
