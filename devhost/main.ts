#!/usr/bin/env node
import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { z } from 'zod';
import { speedMax } from './clock/business-clock.js';
import { DevhostError, toError } from './errors.js';
import { startHost, type HostOptions, type RunningHost } from './host.js';
import { logLevels } from './log.js';
import { parseModes } from './settings/modes.js';
import { isAlive, processStartTime } from './writer/process-identity.js';

/** The process: arguments, signals, exit codes. */
const exitCodes = { stopped: 0, failed: 1, fenced: 3, interrupted: 130 };
const stopWithinMs = 30_000;
const parentPollMs = 500;

const program = new Command('devhost')
  .description(
    'Runs an Azure Functions app for Node.js (programming model v4) with Durable Functions, on this machine.',
  )
  .option(
    '--app <folder>',
    "the app: the folder with host.json and package.json, whose 'main' names the built files",
    '.',
  )
  .option('--port <number>', 'port to listen on; 0 takes a free one', toPort, 7071)
  .option('--host <address>', 'address to listen on', '127.0.0.1')
  .option('--tls-cert <file>', 'certificate (PEM) for clients that call https only; with --tls-key')
  .option('--tls-key <file>', 'its key (PEM)')
  .option('--tls-port <number>', 'port for https, beside --port; 0 takes a free one', toPort, 7443)
  .option(
    '--data <folder>',
    'where the clock is kept; all other state is in the storage account',
    '.understudy/devhost',
  )
  .option('--speed <factor>', 'business time runs so many times as fast as system time', toSpeed, 1)
  .option(
    '--mode <list>',
    'strictTypes, activitiesTwice, replayEachTurn, killAfterTurns=N: ways of running that show what else only the real host would',
    '',
  )
  .option('--log-level <level>', `${logLevels.join(', ')} (default: host.json's logging.logLevel.default)`, toLogLevel)
  .option('--json', 'one JSON object a line instead of text', false)
  .option('--exit-with-parent <pid>', 'stop, as on SIGTERM, when this process is gone', toPid)
  .addHelpText(
    'after',
    `
Settings: AzureWebJobsStorage (a connection string, or UseDevelopmentStorage=true) is required. It and the app's own
settings come from the environment, or else from local.settings.json in the app's folder.

Prints the functions with their URLs, then "devhost ready http://127.0.0.1:7071". Endpoints beside the app's own:
  /runtime/webhooks/durabletask/…   the durable client's HTTP API
  GET  /admin/devhost/clock         business time; POST {"advance":"PT30M"} moves it forward, {"speed":10} changes its pace
  GET  /admin/devhost/functions     the functions, as JSON
  POST /admin/functions/{name}      runs a timer function now
  GET  /admin/host/status

SIGINT and SIGTERM stop it: it takes no more requests, lets the running ones end, commits, and exits 0. One process at
a time writes to a hub; one that loses the writer's lease exits ${exitCodes.fenced} at once.`,
  );

const optionsSchema = z.object({
  app: z.string(),
  port: z.number(),
  host: z.string(),
  tlsCert: z.string().optional(),
  tlsKey: z.string().optional(),
  tlsPort: z.number(),
  data: z.string(),
  speed: z.number(),
  mode: z.string(),
  logLevel: z.enum(logLevels).optional(),
  json: z.boolean(),
  exitWithParent: z.number().optional(),
});

await main();

async function main(): Promise<void> {
  const options = optionsSchema.parse(program.parse().opts());
  // Whoever reads our lines may be gone before us; that must not end the host in the middle of its work.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  // As in the real worker: after an error that nobody caught, the process is in no state to go on.
  process.on('uncaughtException', (error) => {
    process.stderr.write(`devhost ends: an error was thrown that nobody caught: ${String(toError(error).stack)}\n`);
    process.exit(exitCodes.failed);
  });
  let running: RunningHost | undefined;
  let isStopping = false;
  const stop = (why: string, again: number) => {
    if (isStopping) process.exit(again);
    isStopping = true;
    void shutDown(running, why);
  };
  process.on('SIGINT', () => stop('SIGINT', exitCodes.interrupted));
  process.on('SIGTERM', () => stop('SIGTERM', exitCodes.interrupted));
  if (options.exitWithParent !== undefined) watchParent(options.exitWithParent, () => stop('the parent is gone', 1));
  try {
    running = await startHost({
      appFolder: resolve(options.app),
      dataFolder: resolve(options.data),
      port: options.port,
      host: options.host,
      ...tlsOf(options),
      speed: options.speed,
      modes: parseModes(options.mode),
      json: options.json,
      logLevel: options.logLevel,
      writeLine: (line) => process.stdout.write(`${line}\n`),
      onFenced: (reason) => {
        process.stderr.write(`devhost stops: ${reason}\n`);
        process.exit(exitCodes.fenced);
      },
    });
  } catch (error) {
    const expected = error instanceof DevhostError;
    process.stderr.write(`devhost cannot start: ${expected ? error.message : String(toError(error).stack)}\n`);
    if (expected && error.cause instanceof Error) process.stderr.write(`${error.cause.stack ?? ''}\n`);
    process.exit(exitCodes.failed);
  }
  report(running, options.json);
}

function tlsOf({ tlsCert, tlsKey, tlsPort }: z.output<typeof optionsSchema>): Pick<HostOptions, 'tls'> {
  if (tlsCert !== undefined && tlsKey !== undefined) {
    return { tls: { certFile: tlsCert, keyFile: tlsKey, port: tlsPort } };
  }
  if (tlsCert === undefined && tlsKey === undefined) return {};
  throw new DevhostError('badArguments', 'of --tls-cert and --tls-key one is missing; give both, or none');
}

function report(host: RunningHost, json: boolean): void {
  if (json) {
    host.log.info('functions', { functions: host.functions });
    const ready = { message: 'devhost ready', url: host.origin, secureUrl: host.secureOrigin, pid: process.pid };
    process.stdout.write(`${JSON.stringify(ready)}\n`);
    return;
  }
  process.stdout.write('Functions:\n');
  for (const { name, trigger, url, methods, schedule } of host.functions) {
    const detail = url === undefined ? `${trigger} ${schedule ?? ''}` : `[${(methods ?? []).join(',')}] ${url}`;
    process.stdout.write(`  ${name}: ${detail.trim()}\n`);
  }
  if (host.secureOrigin !== undefined) process.stdout.write(`also at ${host.secureOrigin}\n`);
  process.stdout.write(`devhost ready ${host.origin}\n`);
}

async function shutDown(host: RunningHost | undefined, why: string): Promise<void> {
  const patience = setTimeout(() => {
    process.stderr.write(`devhost did not stop within ${stopWithinMs / 1000} s\n`);
    process.exit(exitCodes.failed);
  }, stopWithinMs);
  host?.log.info(`stopping: ${why}`);
  try {
    await host?.stop();
  } catch (error) {
    process.stderr.write(`devhost stopped badly: ${String(toError(error).stack)}\n`);
    process.exit(exitCodes.failed);
  }
  clearTimeout(patience);
  process.exit(exitCodes.stopped);
}

function watchParent(pid: number, onGone: () => void): void {
  const startTime = processStartTime(pid);
  const timer = setInterval(() => {
    if (isAlive(pid) && processStartTime(pid) === startTime) return;
    clearInterval(timer);
    onGone();
  }, parentPollMs);
}

function toPort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new InvalidArgumentError('a port is 0 to 65535');
  return port;
}

function toSpeed(text: string): number {
  const speed = Number(text);
  if (!(speed > 0 && speed <= speedMax)) throw new InvalidArgumentError(`a speed is over 0 and up to ${speedMax}`);
  return speed;
}

function toPid(text: string): number {
  const pid = Number(text);
  if (!Number.isInteger(pid) || pid < 1) throw new InvalidArgumentError('a process id is a positive number');
  return pid;
}

function toLogLevel(text: string): string {
  if (!logLevels.some((level) => level === text)) throw new InvalidArgumentError(`one of ${logLevels.join(', ')}`);
  return text;
}
