import { resolve } from 'node:path';
import type { Command } from 'commander';
import { openBusinessClock } from '../../providers/business-clock/business-clock.js';
import { seedDefaults } from '../../providers/simulated-site/seed.js';
import { startSiteProcess } from '../../providers/simulated-site/serve.js';
import { byteCount, fraction, wholeNumber } from './arguments.js';

interface ServeOptions {
  site: string;
  port: number;
  journal: boolean;
  seedVms: number;
  seedDiskSize: number;
  seedFill: number;
}

export function addServe(program: Command): void {
  program
    .command('serve')
    .description('Run the site until SIGTERM or Ctrl-C. Prints "site ready …" when it can be called.')
    .option('--port <port>', 'loopback port; 0 takes a free one (it stands in run.json)', wholeNumber, 0)
    .option(
      '--journal',
      "keep the judges' journal for disk-at (also UNDERSTUDY_SITE_JOURNAL=1)",
      process.env.UNDERSTUDY_SITE_JOURNAL === '1',
    )
    .option('--seed-vms <count>', 'VMs of a site seeded into an empty folder', wholeNumber, seedDefaults.vmCount)
    .option(
      '--seed-disk-size <bytes>',
      'size of each seeded disk, for example 64M or 2G',
      byteCount,
      seedDefaults.diskSizeBytes,
    )
    .option(
      '--seed-fill <fraction>',
      'part of each seeded disk that holds data, 0 to 1',
      fraction,
      seedDefaults.fillFraction,
    )
    .addHelpText(
      'after',
      '\nBusiness time comes from UNDERSTUDY_CLOCK_URL where set. SIGTERM closes the change logs: the next start goes on.\nKill -9 is a host crash: the next start marks every replicated VM for resync.',
    )
    .action(async (_options, command: Command) => {
      await serve(command.optsWithGlobals<ServeOptions>());
    });
}

async function serve(options: ServeOptions): Promise<void> {
  const siteFolder = resolve(options.site);
  // Before the site is up: a stop that comes at once must close the change logs too.
  const stopRequested = new Promise<void>((done) => {
    process.once('SIGTERM', () => done());
    process.once('SIGINT', () => done());
  });
  const site = await startSiteProcess({
    siteFolder,
    clock: openBusinessClock(process.env.UNDERSTUDY_CLOCK_URL),
    journal: options.journal,
    port: options.port,
    seed: { vmCount: options.seedVms, diskSizeBytes: options.seedDiskSize, fillFraction: options.seedFill },
  });
  process.stdout.write(`site ready ${siteFolder} on 127.0.0.1:${site.port}\n`);
  await stopRequested;
  await site.stop();
  process.stdout.write('site stopped\n');
}
