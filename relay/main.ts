#!/usr/bin/env node
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { UnderstudyError } from '../core/domain/errors.js';
import { openBlobTransfer } from '../providers/azure-storage/blob-transfer.js';
import { openBusinessClock } from '../providers/business-clock/business-clock.js';
import { openLineFaults, openSimulatedSite } from '../providers/simulated-site/client.js';
import { openAppClient } from './app-client.js';
import { RegistrationKeyUnreadableError, SettingInvalidError } from './errors.js';
import { privateKeyOf, readRegisteredIdentity } from './identity.js';
import { overFaultyLine } from './line-faults.js';
import { openLog } from './log.js';
import { isLocked, lockDataFolder } from './process-lock.js';
import { barsProgress, linesProgress } from './progress.js';
import { registerRelay } from './register.js';
import { Relay } from './relay.js';
import { describeStatus } from './describe-status.js';
import { readStatus } from './status-file.js';
import { relayVersion } from './version.js';

/** The composition of the relay, and the only file of it that reads the environment and the command line. */

const dataOption = () =>
  new Option('--data <folder>', "the relay's own folder: identity, state of the items, log")
    .env('UNDERSTUDY_RELAY_DATA')
    .default('.understudy/relay');
const siteOption = () =>
  new Option('--site <folder>', 'the simulated site to replicate from')
    .env('UNDERSTUDY_SITE')
    .default('.understudy/site');
const identityIn = (dataFolder: string) => join(dataFolder, 'identity.json');

/** A stop that takes longer than this is cut short: everything that matters is on disk at any instant. */
const stopWithinMilliseconds = 5000;

const program = new Command('relay')
  .description(
    'The on-premises part of Understudy: reads the changes of Hyper-V virtual machines and sends them to the app in Azure.\n' +
      'It only dials out. Register it once with a key from the vault, then let it run.',
  )
  .version(relayVersion)
  .showHelpAfterError()
  .addHelpText(
    'after',
    `
Settings:
  UNDERSTUDY_CLOCK_URL   where business time is served (devhost); unset: system time

First use:
  $ relay register --key-file key.txt     the key is valid for 5 days and registers one relay
  $ relay run

Killing the relay at any point loses nothing: at the next start it goes on where the site and the app say it was.
Errors carry a code (US5110); docs/errors.md has a paragraph on each.`,
  );

program
  .command('register')
  .description('bind this relay to a vault by a registration key; repeating it with the same key is safe')
  .requiredOption('--key-file <file>', 'file that holds the registration key, as the vault gave it')
  .option('--replace', 'give up an identity that was registered by another key', false)
  .addOption(dataOption())
  .addOption(siteOption())
  .action(async (options: { keyFile: string; data: string; site: string; replace: boolean }) => {
    const { keyFile, replace } = options;
    const keyText = await readFile(keyFile, 'utf8').catch((cause: unknown) => {
      throw new RegistrationKeyUnreadableError(keyFile, cause instanceof Error ? cause.message : String(cause), cause);
    });
    const host = openSimulatedSite({ siteFolder: options.site });
    const identityFile = identityIn(options.data);
    const { registered, vaultId, endpoint } = await registerRelay({ keyFile, keyText, identityFile, host, replace });
    console.log(`registered at ${endpoint}`);
    console.log(`  vault   ${vaultId}`);
    console.log(`  fabric  ${registered.fabricName}`);
    console.log(`  relay   ${registered.relayId}`);
    console.log(`The identity is in ${identityFile}. Start the relay with "relay run".`);
  });

program
  .command('run')
  .description('replicate: follow the assignments of the app until stopped (Ctrl-C)')
  .addOption(dataOption())
  .addOption(siteOption())
  .addOption(new Option('--log-format <format>', 'what is printed').choices(['text', 'json']).default('text'))
  .addOption(
    new Option('--log-level <level>', 'least level that is printed').choices(['debug', 'info', 'warn']).default('info'),
  )
  .option('--scripts <folder>', 'what recovery plans may run here, by name (default: "scripts" in the data folder)')
  .option('--no-progress', 'plain lines instead of progress bars, also on a terminal')
  .action(run);

program
  .command('status')
  .description('show what the running relay last reported of itself')
  .addOption(dataOption())
  .option('--json', 'machine-readable', false)
  .action(async (options: { data: string; json: boolean }) => {
    const identity = await readRegisteredIdentity(identityIn(options.data));
    const [status, isRunning] = await Promise.all([readStatus(options.data), isLocked(options.data)]);
    if (options.json) console.log(JSON.stringify({ isRunning, status }, undefined, 2));
    else console.log(describeStatus({ endpoint: identity.endpoint, isRunning, status }));
    if (!isRunning) process.exitCode = 3;
  });

interface RunOptions {
  data: string;
  site: string;
  scripts?: string;
  logFormat: 'text' | 'json';
  logLevel: 'debug' | 'info' | 'warn';
  progress: boolean;
}

async function run(options: RunOptions): Promise<void> {
  const clockUrl = process.env.UNDERSTUDY_CLOCK_URL;
  if (clockUrl !== undefined && clockUrl !== '' && !URL.canParse(clockUrl)) {
    throw new SettingInvalidError('UNDERSTUDY_CLOCK_URL', clockUrl, 'an http address');
  }
  const dataFolder = options.data;
  const identityFile = identityIn(dataFolder);
  const identity = await readRegisteredIdentity(identityFile);
  const { relayId } = identity.registered;
  const unlock = await lockDataFolder(dataFolder);
  const hasBars = process.stdout.isTTY && options.progress && options.logFormat === 'text';
  const log = openLog({ dataFolder, format: options.logFormat, level: options.logLevel, output: process.stdout });
  const { endpoint } = identity;
  const client = openAppClient(endpoint, { relayId, privateKey: privateKeyOf(identity, identityFile) });
  // The simulated site's line is cut or slow on demand, too.
  const faults = openLineFaults({ siteFolder: options.site });
  const relay = new Relay({
    ...overFaultyLine({ client, blobs: openBlobTransfer(), endpoint }, faults),
    host: openSimulatedSite({ siteFolder: options.site }),
    clock: openBusinessClock(clockUrl),
    dataFolder,
    scriptsFolder: resolve(options.scripts ?? join(dataFolder, 'scripts')),
    log,
    progress: hasBars ? barsProgress(process.stdout) : linesProgress(log),
    endpoint,
    relayId,
  });
  log.info({ relayId, pid: process.pid }, `relay ${relayVersion} runs: ${identity.endpoint}, site ${options.site}`);

  let isStopping = false;
  const stop = (signal: NodeJS.Signals) => {
    if (isStopping) return;
    isStopping = true;
    log.info(`${signal}: stopping`);
    const end = (exitCode: number) => {
      unlock();
      process.exit(exitCode);
    };
    setTimeout(() => {
      log.warn('stopping takes too long; what is under way is taken up again at the next start');
      end(0);
    }, stopWithinMilliseconds).unref();
    relay.stop().then(
      () => {
        log.info('stopped');
        end(0);
      },
      (error: unknown) => {
        log.error({ err: error }, 'stopping failed');
        end(1);
      },
    );
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
}

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof UnderstudyError)) throw error;
  console.error(`${error.code} ${error.message}`);
  if (error.possibleCauses !== '') console.error(`  Possible causes: ${error.possibleCauses}`);
  console.error(`  What to do: ${error.recommendedAction}`);
  process.exitCode = 1;
}
