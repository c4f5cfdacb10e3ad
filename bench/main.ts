import { Argument, Command } from 'commander';
import { benchDataplane } from './dataplane.js';
import { benchDurableEngine } from './durable-engine.js';
import { benchReplication } from './replication.js';
import { benchResync } from './resync.js';
import { benchStorage } from './storage-ceiling.js';

const benches = {
  dataplane: { run: benchDataplane, title: 'formats: VHDX, change logs, transfer logs, in one process' },
  storage: { run: benchStorage, title: 'storage: our stores beside the SDK alone, on Azurite' },
  engine: { run: benchDurableEngine, title: 'devhost: orchestrations of three activities, state in Azurite' },
  resync: { run: benchResync, title: '2 GiB image: resynchronization after 1% changed, beside rsync' },
  replication: { run: benchReplication, title: '2 GiB image: first replication, then a cycle after 1% changed' },
};
type BenchName = keyof typeof benches;
const names = Object.keys(benches) as BenchName[];

const program = new Command('npm run bench --')
  .description('Prints what Understudy costs and how fast it is, beside a peer or a ceiling measured in the same run.')
  .addArgument(new Argument('[names...]', 'which benches (default: all)').choices(names))
  .parse();

for (const name of program.args.length > 0 ? (program.args as BenchName[]) : names) {
  console.log(`\n# ${name}: ${benches[name].title}`);
  await benches[name].run((line) => {
    console.log(line);
  });
}
