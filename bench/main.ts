import { Argument, Command, InvalidArgumentError } from 'commander';
import { z } from 'zod';
import { benchApi } from './api.js';
import { benchChurn } from './churn.js';
import { benchDataplane } from './dataplane.js';
import { benchDurableEngine } from './durable-engine.js';
import { benchFailover } from './failover.js';
import { benchManyVms, type ManyVmsOptions } from './many-vms.js';
import { benchReplication } from './replication.js';
import { benchResync } from './resync.js';
import { benchStorage } from './storage-ceiling.js';

interface Bench {
  title: string;
  run: (print: (line: string) => void, options: ManyVmsOptions) => Promise<void>;
}

const benches = {
  dataplane: { run: benchDataplane, title: 'formats: VHDX, change logs, transfer logs, in one process' },
  storage: { run: benchStorage, title: 'storage: our stores beside the SDK alone, on Azurite' },
  engine: { run: benchDurableEngine, title: 'devhost: orchestrations of three activities, state in Azurite' },
  resync: { run: benchResync, title: '2 GiB image: resynchronization after 1% changed, beside rsync' },
  replication: { run: benchReplication, title: '2 GiB image: first replication, then a cycle after 1% changed' },
  'many-vms': { run: benchManyVms, title: 'many VMs of small churn at 300 s: missed cycles and the cost of each' },
  failover: {
    run: benchFailover,
    title: 'a failover’s copies by the data, not the disk’s size; a plan by its slowest chain',
  },
  api: { run: benchApi, title: 'a vault of 1,000 items: requests a second of the ten commonest operations' },
  churn: { run: benchChurn, title: 'one VM: scattered writes a second that it can hold with RPO under a minute' },
} satisfies Record<string, Bench>;
type BenchName = keyof typeof benches;
const names = Object.keys(benches) as BenchName[];

const positive = (text: string): number => {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('a number over 0');
  return value;
};

const program = new Command('npm run bench --')
  .description('Prints what Understudy costs and how fast it is, beside a peer or a ceiling measured in the same run.')
  .addArgument(new Argument('[names...]', 'which benches (default: all)').choices(names))
  .option('--vms <count>', 'many-vms: how many', positive, 200)
  .option('--minutes <number>', 'many-vms: how long to measure, in business time', positive, 30)
  .option('--speed <factor>', 'many-vms: how much faster than system time business time runs', positive, 1)
  .option('--find-speed', 'many-vms: doubles the speed until cycles are missed', false)
  .parse();

const options = z
  .object({ vms: z.int(), minutes: z.number(), speed: z.number(), findSpeed: z.boolean() })
  .parse(program.opts());

for (const name of program.args.length > 0 ? (program.args as BenchName[]) : names) {
  const { run, title }: Bench = benches[name];
  console.log(`\n# ${name}: ${title}`);
  await run((line) => {
    console.log(line);
  }, options);
}
