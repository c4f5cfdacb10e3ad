import { Command, InvalidArgumentError } from 'commander';
import { join } from 'node:path';
import { startEnvironment, type EnvironmentOptions } from './supervisor/environment.js';

const number = (text: string): number => {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('a number greater than 0 is needed');
  return value;
};

const program = new Command('npm start --')
  .description(
    'Runs Understudy on this machine: Azurite, devhost with the app, the simulated site and a relay.\n' +
      'State is kept in the data folder and taken up again. Ctrl-C stops everything in order.',
  )
  .option('--port <port>', 'port of the app on 127.0.0.1', number, 7071)
  .option('--tls-cert <file>', 'certificate (PEM): the app answers https too, as az and the SDK need; with --tls-key')
  .option('--tls-key <file>', 'its key (PEM)')
  .option('--tls-port <port>', 'port for https on 127.0.0.1', number, 7443)
  .option('--data <folder>', 'where state is kept', '.understudy')
  .option('--site <folder>', 'the simulated site (default: <data>/site); an empty folder is seeded')
  .option('--speed <factor>', 'run business time this many times faster', number, 1)
  .option('--no-relay', 'leave out the relay, e.g. to run it in a debugger')
  .option('--journal', 'the site keeps a journal of acknowledged guest writes, for "npm run site -- disk-at"', false)
  .option('--mode <modes>', "devhost's modes, separated by commas (see docs/devhost.md)")
  .option('--json', 'print one JSON object a line instead of text', false);

interface Options {
  port: number;
  tlsCert?: string;
  tlsKey?: string;
  tlsPort: number;
  data: string;
  site?: string;
  speed: number;
  relay: boolean;
  journal: boolean;
  mode?: string;
  json: boolean;
}

function tlsOf({ tlsCert, tlsKey, tlsPort }: Options): Pick<EnvironmentOptions, 'tls'> {
  if (tlsCert !== undefined && tlsKey !== undefined) {
    return { tls: { certFile: tlsCert, keyFile: tlsKey, port: tlsPort } };
  }
  if (tlsCert === undefined && tlsKey === undefined) return {};
  return program.error('of --tls-cert and --tls-key one is missing; give both, or none');
}

/** How often to look whether the parent process is still there. */
const parentCheckMs = 1_000;

async function main(): Promise<void> {
  const options = program.parse().opts<Options>();
  const tell = (message: string): void => {
    console.log(options.json ? JSON.stringify({ time: new Date().toISOString(), message }) : message);
  };
  let requested: string | undefined;
  let wake: () => void = () => undefined;
  const stopRequested = new Promise<void>((resolve) => (wake = resolve));
  const request = (reason: string): void => {
    requested ??= reason;
    wake();
  };
  process.on('SIGINT', () => {
    request('SIGINT');
  });
  process.on('SIGTERM', () => {
    request('SIGTERM');
  });
  const parent = process.ppid;
  const parentCheck = setInterval(() => {
    if (process.ppid !== parent) request('the parent process ended');
  }, parentCheckMs);

  const starting = startEnvironment({
    port: options.port,
    ...tlsOf(options),
    dataFolder: options.data,
    siteFolder: options.site ?? join(options.data, 'site'),
    speed: options.speed,
    withRelay: options.relay,
    journal: options.journal,
    ...(options.mode === undefined ? {} : { devhostModes: options.mode }),
    tell,
  });
  const environment = await starting;
  if (!options.json) await printFunctions(environment.endpoint);
  if (environment.secureEndpoint !== undefined) tell(`also at ${environment.secureEndpoint}`);
  tell(`ready ${environment.endpoint}`);
  await stopRequested;
  clearInterval(parentCheck);
  tell(`stopping (${requested})`);
  await environment.stop();
  tell('stopped');
}

async function printFunctions(endpoint: string): Promise<void> {
  const response = await fetch(`${endpoint}/admin/devhost/functions`);
  const functions = (await response.json()) as { name: string; trigger: string; url?: string }[];
  console.log('functions:');
  for (const { name, trigger, url } of functions) console.log(`  ${name} (${trigger})${url ? ` ${url}` : ''}`);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
