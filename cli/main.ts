import { Command } from 'commander';
import { exportPoint } from './export.js';
import { addFailoverCommands, addJobCommands } from './failover-commands.js';
import { protect } from './protect.js';
import { addPlanCommands } from './plan-commands.js';
import { addReplicationCommands } from './replication-commands.js';
import { formatTable, time } from './table.js';
import { Vault } from './vault-client.js';

const local = {
  endpoint: 'http://127.0.0.1:7071',
  subscription: '00000000-0000-0000-0000-000000000000',
  resourceGroup: 'local',
  vault: 'local',
  storageAccount: 'replicas',
  network: 'prod',
};

interface GlobalOptions {
  endpoint: string;
  subscription: string;
  resourceGroup: string;
  vault: string;
  json: boolean;
}

const program = new Command('understudy')
  .description('The operator’s command line: protects, watches and fails over Hyper-V VMs through the vault’s ARM API.')
  .option('--endpoint <url>', 'where the app answers', process.env.UNDERSTUDY_ENDPOINT ?? local.endpoint)
  .option('--subscription <id>', 'subscription of the vault', local.subscription)
  .option('--resource-group <name>', 'resource group of the vault', local.resourceGroup)
  .option('--vault <name>', 'the vault', local.vault)
  .option('--json', 'print JSON as the API gives it, for scripts', false)
  .addHelpText(
    'after',
    `
Environment:
  UNDERSTUDY_ENDPOINT  --endpoint, where that is not given
  UNDERSTUDY_TOKEN     access token of Microsoft Entra for an app that asks for one (docs/identity.md); sent over https alone`,
  )
  .showHelpAfterError('(add --help for what is needed)');

const vault = (): Vault => {
  const options = program.opts<GlobalOptions>();
  return new Vault({
    endpoint: options.endpoint.replace(/\/$/, ''),
    subscriptionId: options.subscription,
    resourceGroup: options.resourceGroup,
    vaultName: options.vault,
    token: process.env.UNDERSTUDY_TOKEN,
  });
};

const say = (message: string): void => {
  // Messages go to standard error, so that standard output holds the result alone.
  console.error(message);
};

function show<Row extends Record<string, string | number | undefined>>(
  raw: unknown,
  rows: Row[],
  columns: (keyof Row & string)[],
): void {
  if (program.opts<GlobalOptions>().json) console.log(JSON.stringify(raw, undefined, 2));
  else console.log(rows.length === 0 ? 'none' : formatTable(rows, columns));
}

program
  .command('vms')
  .description('list the VMs of all clouds, replicated or not')
  .action(async () => {
    const vms = await vault().protectableItems();
    const rows = vms.map(({ vm }) => ({
      vm: vm.properties?.friendlyName,
      protection: vm.properties?.protectionStatus,
      'not ready because': vm.properties?.protectionReadinessErrors?.join('; '),
    }));
    show(vms, rows, ['vm', 'protection', 'not ready because']);
  });

program
  .command('items')
  .description('list the replicated items with state, health and RPO')
  .action(async () => {
    const items = await vault().items();
    const rows = items.map(({ item, details }) => ({
      vm: item.properties?.friendlyName,
      state: item.properties?.protectionStateDescription,
      health: item.properties?.replicationHealth,
      'rpo s': details.rpoInSeconds,
      'initial replication': details.initialReplicationDetails?.initialReplicationProgressPercentage,
      'last point': time(details.lastRecoveryPointReceived),
      active: item.properties?.activeLocation,
      allowed: item.properties?.allowedOperations?.join(' '),
    }));
    show(
      items.map(({ item }) => item),
      rows,
      ['vm', 'state', 'health', 'rpo s', 'initial replication', 'last point', 'active', 'allowed'],
    );
  });

program
  .command('jobs')
  .description('list jobs, the newest first')
  .option('--tasks', 'with the tasks and errors of each', false)
  .action(async (options: { tasks: boolean }) => {
    const jobs = await vault().jobs();
    jobs.sort((a, b) => (b.properties?.startTime?.getTime() ?? 0) - (a.properties?.startTime?.getTime() ?? 0));
    const rows = jobs.flatMap((job) => [
      {
        job: job.name,
        what: job.properties?.friendlyName,
        target: job.properties?.targetObjectName,
        state: job.properties?.state,
        started: time(job.properties?.startTime),
        ended: time(job.properties?.endTime),
      },
      ...(options.tasks
        ? [
            ...(job.properties?.tasks ?? []).map((task) => ({
              job: '',
              what: `  ${task.friendlyName}`,
              target: '',
              state: task.state,
              started: time(task.startTime),
              ended: time(task.endTime),
            })),
            ...(job.properties?.errors ?? []).map(({ serviceErrorDetails: error }) => ({
              job: '',
              what: `  ${error?.code}: ${error?.message} ${error?.recommendedAction ?? ''}`,
              target: '',
              state: 'error',
              started: '',
              ended: '',
            })),
          ]
        : []),
    ]);
    show(jobs, rows, ['job', 'what', 'target', 'state', 'started', 'ended']);
  });

program
  .command('points')
  .description('list the recovery points of an item, the newest first')
  .requiredOption('--item <name>', 'the item’s name or its VM’s')
  .action(async (options: { item: string }) => {
    const connected = vault();
    const points = await connected.points(await connected.item(options.item));
    const rows = points.map((point) => ({
      point: point.name,
      time: time(point.properties?.recoveryPointTime),
      type: point.properties?.recoveryPointType,
    }));
    show(points, rows, ['point', 'time', 'type']);
  });

program
  .command('protect')
  .description('replicate a VM; makes the policy and the cloud’s mapping where they are absent')
  .requiredOption('--vm <name>', 'the VM')
  .option('--policy <name>', 'replication policy', 'default')
  .option('--interval <seconds>', 'replication interval of a policy that is made: 30, 300 or 900', Number, 300)
  .option('--storage-account <arm id>', 'account that holds the replica disks (default: the local account "replicas")')
  .option('--network <arm id>', 'virtual network after failover (default: the local network "prod")')
  .action(
    async (options: { vm: string; policy: string; interval: number; storageAccount?: string; network?: string }) => {
      const connected = vault();
      const group = `/subscriptions/${connected.connection.subscriptionId}/resourceGroups/${connected.connection.resourceGroup}/providers`;
      const item = await protect(connected, {
        vmName: options.vm,
        policyName: options.policy,
        replicationIntervalSeconds: options.interval,
        storageAccountId:
          options.storageAccount ?? `${group}/Microsoft.Storage/storageAccounts/${local.storageAccount}`,
        networkId: options.network ?? `${group}/Microsoft.Network/virtualNetworks/${local.network}`,
        tell: say,
      });
      show(
        item,
        [{ vm: item.properties?.friendlyName, state: item.properties?.protectionStateDescription }],
        ['vm', 'state'],
      );
    },
  );

addReplicationCommands(program, { vault, say, show });

addJobCommands(program, { vault, say, show });
addPlanCommands(program, { vault, say, show });
addFailoverCommands(program, { vault, say, show });

program
  .command('disable')
  .description('end the replication of a VM and delete its replica; a VM that a failover made stays')
  .requiredOption('--item <name>', 'the item’s name or its VM’s')
  .option('--leave-site', 'do not wait for the site to stop tracking: it is lost, or cleaned by hand', false)
  .option('--migrated', 'the failover was a migration: keep the VM in Azure', false)
  .action(async (options: { item: string; leaveSite: boolean; migrated: boolean }) => {
    const connected = vault();
    const { fabricName, containerName, itemName } = await connected.item(options.item);
    const { replicationProtectedItems } = connected.sdk;
    const address = [...connected.scope, fabricName, containerName, itemName] as const;
    say(`disabling replication of ${options.item}`);
    if (options.leaveSite) await replicationProtectedItems.beginPurgeAndWait(...address, { updateIntervalInMs: 500 });
    else {
      const disableProtectionReason = options.migrated ? 'MigrationComplete' : 'NotSpecified';
      const input = { properties: { disableProtectionReason } };
      await replicationProtectedItems.beginDeleteAndWait(...address, input, { updateIntervalInMs: 500 });
    }
    say(`${options.item} is not replicated any more`);
  });

program
  .command('export')
  .description('write a recovery point’s disks as VHD files')
  .requiredOption('--item <name>', 'the item’s name or its VM’s')
  .option('--point <point>', 'a recovery point’s name, or Latest', 'Latest')
  .requiredOption('--out <folder>', 'where the files go')
  .action(async (options: { item: string; point: string; out: string }) => {
    const connected = vault();
    const files = await exportPoint(connected, await connected.item(options.item), options.point, options.out, say);
    show(
      files,
      files.map((file) => ({ file })),
      ['file'],
    );
  });

try {
  await program.parseAsync();
} catch (error) {
  const failure = error as Error & { code?: string };
  console.error(
    failure.code === 'ECONNREFUSED' || failure.message.includes('ECONNREFUSED')
      ? `nothing answers at ${program.opts<GlobalOptions>().endpoint}: start the app first (npm start), or pass --endpoint`
      : failure.message,
  );
  process.exitCode = 1;
}
