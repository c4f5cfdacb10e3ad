import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const built = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export interface AppFolder {
  folder: string;
  remove(): Promise<void>;
}

/**
 * A folder that is a Functions app: host.json, package.json and an entry file that loads the built module, whose own
 * packages are found from where it lies.
 */
export async function makeAppFolder(
  options: {
    entry?: string;
    hostJson?: Record<string, unknown>;
    packageJson?: Record<string, unknown>;
    source?: string;
  } = {},
): Promise<AppFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-app-'));
  const entry = options.entry ?? built('./fixture-app/main.js');
  const hostJson = {
    version: '2.0',
    extensionBundle: { id: 'Microsoft.Azure.Functions.ExtensionBundle', version: '[4.*, 5.0.0)' },
    extensions: { http: { routePrefix: '' }, durableTask: { hubName: 'Fixture' } },
    functionTimeout: '00:01:00',
    ...options.hostJson,
  };
  const packageJson = { name: 'fixture', type: 'module', main: 'main.js', ...options.packageJson };
  await writeFile(join(folder, 'host.json'), JSON.stringify(hostJson));
  await writeFile(join(folder, 'package.json'), JSON.stringify(packageJson));
  await writeFile(join(folder, 'main.js'), options.source ?? `import ${JSON.stringify(entry)};\n`);
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

export interface DevhostProcess {
  readonly origin: string;
  readonly pid: number;
  readonly child: ChildProcess;
  /** Everything written so far, both streams. */
  output(): string;
  /** Sends the signal, waits for the end, gives the exit code, or null when a signal ended it. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
  exited: Promise<number | null>;
}

export interface DevhostProcessOptions {
  appFolder: string;
  connectionString: string;
  dataFolder: string;
  args?: string[];
  environment?: Record<string, string>;
}

const readyWithinMs = 60_000;

/** Starts the built devhost on a free port (unless `args` names one) and waits until it is ready. */
export async function startDevhost(options: DevhostProcessOptions): Promise<DevhostProcess> {
  const launched = launchDevhost(options);
  const ready = new Promise<string>((resolveOrigin, reject) => {
    const look = () => {
      const origin = /devhost ready(?: |","url":")(http[^\s"]+)/.exec(launched.output())?.[1];
      if (origin !== undefined) resolveOrigin(origin);
    };
    launched.child.stdout?.on('data', look);
    void launched.exited.then((code) => reject(new Error(`devhost ended with ${code}: ${launched.output()}`)));
    setTimeout(() => reject(new Error(`devhost is not ready: ${launched.output()}`)), readyWithinMs).unref();
  });
  try {
    return { ...launched, origin: await ready };
  } catch (error) {
    await launched.end('SIGKILL');
    throw error;
  }
}

/** Starts the built devhost without waiting, for runs that are to fail. */
export function launchDevhost(options: DevhostProcessOptions): Omit<DevhostProcess, 'origin'> {
  const main = resolve(built('../../devhost/main.js'));
  const child = spawn(
    process.execPath,
    [
      ...['--enable-source-maps', main, '--app', options.appFolder, '--data', options.dataFolder, '--port', '0'],
      ...['--exit-with-parent', String(process.pid), ...(options.args ?? [])],
    ],
    {
      env: { ...process.env, AzureWebJobsStorage: options.connectionString, ...options.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = once(child, 'exit').then(() => child.exitCode);
  return {
    child,
    pid: child.pid ?? 0,
    output: () => output,
    exited,
    end: async (signal = 'SIGTERM') => {
      child.kill(signal);
      return exited;
    },
  };
}
