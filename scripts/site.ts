import { Command } from 'commander';
import { UnderstudyError } from '../core/domain/errors.js';
import { addServe } from './site/serve-command.js';
import { addVerbs } from './site/verbs.js';

/** The simulated site: `serve` is the site itself, every other verb is its client. */
const program = new Command('site')
  .description(
    'The simulated Hyper-V site: a folder with a VMM cloud, hosts, VMs with VHDX disks and .hrl change logs, and guests that write.\n' +
      '"serve" runs it; every other verb talks to the running site.',
  )
  .option('--site <folder>', 'the site folder', '.understudy/site')
  .option('--json', 'print results as JSON', false)
  .showHelpAfterError()
  .configureHelp({ showGlobalOptions: true });
addServe(program);
addVerbs(program);

program.parseAsync().catch((error: unknown) => {
  const text =
    error instanceof UnderstudyError
      ? `${error.code} ${error.message}\n  ${error.recommendedAction}`
      : String(error instanceof Error ? error.stack : error);
  process.stderr.write(`${text}\n`);
  process.exitCode = 1;
});
