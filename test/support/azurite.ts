import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePorts } from '../../scripts/supervisor/free-port.js';

/** Azurite's public account name and key, the same in every Azurite of the world. */
export const azuriteAccount = 'devstoreaccount1';
export const azuriteKey = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

export interface AzuritePorts {
  blob: number;
  queue: number;
  table: number;
}

export interface Azurite {
  readonly connectionString: string;
  readonly ports: AzuritePorts;
  readonly folder: string;
  /** Ends Azurite by SIGTERM, which makes it write its state out; removes the folder when it was made by the starter. */
  stop(): Promise<void>;
}

const readyWithinMs = 30_000;
const stoppedWithinMs = 10_000;
const startAttempts = 3;

export function azuriteConnectionString(ports: AzuritePorts): string {
  const endpoint = (port: number) => `http://127.0.0.1:${port}/${azuriteAccount}`;
  return (
    `DefaultEndpointsProtocol=http;AccountName=${azuriteAccount};AccountKey=${azuriteKey};` +
    `BlobEndpoint=${endpoint(ports.blob)};QueueEndpoint=${endpoint(ports.queue)};TableEndpoint=${endpoint(ports.table)};`
  );
}

/**
 * Starts Azurite (blob, queue, table) as a child process on free ports of 127.0.0.1 and waits until it answers.
 * Pass `folder` (and `ports`, to keep the connection string) to start again on the state of an earlier one.
 */
export async function startAzurite(options: { folder?: string; ports?: AzuritePorts } = {}): Promise<Azurite> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'understudy-azurite-')));
  let lastFailure = '';
  for (let attempt = 1; attempt <= startAttempts; attempt++) {
    const ports = options.ports ?? (await choosePorts());
    const child = spawnAzurite(folder, ports);
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    if (await answers(child, ports)) {
      return {
        connectionString: azuriteConnectionString(ports),
        ports,
        folder,
        stop: async () => {
          await terminate(child);
          if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
        },
      };
    }
    await terminate(child);
    lastFailure = output;
  }
  throw new Error(`Azurite did not start in ${startAttempts} attempts: ${lastFailure}`);
}

async function choosePorts(): Promise<AzuritePorts> {
  const [blob = 0, queue = 0, table = 0] = await freePorts(3);
  return { blob, queue, table };
}

function spawnAzurite(folder: string, ports: AzuritePorts): ChildProcess {
  const entry = createRequire(import.meta.url).resolve('azurite/dist/src/azurite.js');
  const args = [entry, '--location', folder, '--skipApiVersionCheck', '--disableTelemetry', '--silent'];
  for (const [service, port] of Object.entries(ports)) {
    args.push(`--${service}Host`, '127.0.0.1', `--${service}Port`, String(port));
  }
  const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const killWithUs = () => child.kill('SIGTERM');
  process.once('exit', killWithUs);
  child.once('exit', () => process.removeListener('exit', killWithUs));
  return child;
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

async function answers(child: ChildProcess, ports: AzuritePorts): Promise<boolean> {
  const deadline = Date.now() + readyWithinMs;
  while (isRunning(child) && Date.now() < deadline) {
    const open = await Promise.all(Object.values(ports).map(isOpen));
    // A stranger may hold a port that Azurite then fails to bind: it exits, so look once more at the process.
    if (open.every(Boolean)) {
      await sleep(50);
      return isRunning(child);
    }
    await sleep(50);
  }
  return false;
}

async function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

async function terminate(child: ChildProcess): Promise<void> {
  if (!isRunning(child)) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const patience = setTimeout(() => child.kill('SIGKILL'), stoppedWithinMs);
  await ended;
  clearTimeout(patience);
}
