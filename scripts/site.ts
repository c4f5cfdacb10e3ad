import { Command } from 'commander';
import { addServe } from './site/serve-command.js';
import { addVerbs } from './site/verbs.js';
import { tellFailure } from './tell-failure.js';

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

await program.parseAsync().catch(tellFailure);
