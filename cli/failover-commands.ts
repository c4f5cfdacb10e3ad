import type {
  HyperVReplicaAzureFailbackProviderInput,
  HyperVReplicaAzureTestFailoverInput,
  HyperVReplicaAzureUnplannedFailoverInput,
  Job,
  ReplicationProtectedItem,
} from '@azure/arm-recoveryservices-siterecovery';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { CommandLine } from './replication-commands.js';
import type { Vault } from './vault-client.js';

const instanceType = 'HyperVReplicaAzure';
const failoverDirection = 'PrimaryToRecovery';
const polling = { updateIntervalInMs: 500 };

type Address = [...Vault['scope'], string, string, string];
type Operations = Vault['sdk']['replicationProtectedItems'];
/** Runs one operation on the item to its end, and gives the item as it is then. */
type Operate = (operations: Operations, address: Address) => Promise<ReplicationProtectedItem>;

const pointOption = [
  '--point <point>',
  'a recovery point’s name, Latest, LatestProcessed or LatestApplicationConsistent',
  'Latest',
] as const;

/** `failover test | cleanup | planned | unplanned | change-point | commit | back | reprotect | address`. */
export function addFailoverCommands(program: Command, { vault, say, show }: CommandLine): void {
  const failover = program
    .command('failover')
    .description(
      'fail a VM over to Azure: as a test, planned, or after the loss of the site; commit that; and fail it back',
    );
  const command = (name: string, description: string): Command =>
    failover.command(name).description(description).requiredOption('--item <name>', 'the item’s name or its VM’s');

  const run = async (itemName: string, message: string, operate: Operate): Promise<void> => {
    const connected = vault();
    const found = await connected.item(itemName);
    say(message);
    const address: Address = [...connected.scope, found.fabricName, found.containerName, found.itemName];
    const item = await operate(connected.sdk.replicationProtectedItems, address);
    const { friendlyName: vm, protectionStateDescription: state } = item.properties ?? {};
    show(item, [{ vm, state }], ['vm', 'state']);
  };

  command('test', 'run a copy of a recovery point in a network of its own, beside replication, until it is cleaned up')
    .option(...pointOption)
    .option('--network <arm id>', 'the virtual network of the test VM (default: none)')
    .action(({ item, point, network }: { item: string; point: string; network?: string }) =>
      run(item, `testing the failover of ${item} to ${point}`, (operations, address) => {
        const providerSpecificDetails: HyperVReplicaAzureTestFailoverInput = { instanceType, recoveryPointId: point };
        const where =
          network === undefined
            ? { networkType: 'NoNetworkAttachAsInput' }
            : { networkType: 'VmNetworkAsInput', networkId: network };
        const properties = { failoverDirection, ...where, providerSpecificDetails };
        return operations.beginTestFailoverAndWait(...address, { properties }, polling);
      }),
    );

  command('cleanup', 'delete the test VM; with that the test failover has succeeded')
    .option('--comments <text>', 'what the drill showed, for its record', '')
    .action(({ item, comments }: { item: string; comments: string }) =>
      run(item, `cleaning up the test failover of ${item}`, (operations, address) =>
        operations.beginTestFailoverCleanupAndWait(...address, { properties: { comments } }, polling),
      ),
    );

  command(
    'planned',
    'shut the source VM down, send what it wrote last, and start the VM in Azure: no write is lost',
  ).action(({ item }: { item: string }) =>
    run(item, `shutting ${item} down and failing it over`, (operations, address) => {
      const properties = { failoverDirection, providerSpecificDetails: { instanceType } as const };
      return operations.beginPlannedFailoverAndWait(...address, { properties }, polling);
    }),
  );

  command('back', 'bring a failed-over VM back to its site; what is asked next is to commit that, then to reprotect')
    .option('--downtime', 'copy everything with the VM off in Azure, instead of synchronizing while it runs', false)
    .option('--create-on <host id>', 'make the VM on this host where the site has it no more')
    .action(async ({ item: itemName, downtime, createOn }: { item: string; downtime: boolean; createOn?: string }) => {
      const connected = vault();
      const { fabricName, containerName, itemName: name, item } = await connected.item(itemName);
      say(`failing ${itemName} back${downtime ? '' : ': synchronizing its data while it runs in Azure'}`);
      const providerSpecificDetails: HyperVReplicaAzureFailbackProviderInput = {
        instanceType: 'HyperVReplicaAzureFailback',
        dataSyncOption: downtime ? 'ForDownTime' : 'ForSynchronization',
        recoveryVmCreationOption: createOn === undefined ? 'NoAction' : 'CreateVmIfNotFound',
        ...(createOn !== undefined && { providerIdForAlternateRecovery: createOn }),
      };
      const properties = { failoverDirection: 'RecoveryToPrimary', providerSpecificDetails };
      const address: Address = [...connected.scope, fabricName, containerName, name];
      const poller = await connected.sdk.replicationProtectedItems.beginPlannedFailover(...address, { properties });
      const { friendlyName: vm } = item.properties ?? {};
      while (!poller.isDone()) {
        await sleep(polling.updateIntervalInMs);
        await poller.poll();
        const waiting = (await connected.jobs()).find(
          ({ properties: job }) =>
            job?.state === 'Suspended' && job.targetObjectName === vm && job.scenarioName === 'PlannedFailover',
        );
        if (waiting === undefined) continue;
        show(waiting, [{ vm, state: 'synchronized', job: waiting.name }], ['vm', 'state', 'job']);
        say(`complete the failback: understudy job resume --job ${waiting.name}`);
        return;
      }
      const { protectionStateDescription: state } = poller.getResult()?.properties ?? {};
      show(poller.getResult(), [{ vm, state }], ['vm', 'state']);
    });

  command('reprotect', 'replicate a VM that was failed back from its site again').action(({ item }: { item: string }) =>
    run(item, `replicating ${item} from its site again`, (operations, address) =>
      operations.beginReprotectAndWait(
        ...address,
        { properties: { failoverDirection, providerSpecificDetails: { instanceType } } },
        polling,
      ),
    ),
  );

  command('address', 'show the addresses of a failed-over VM; say whether the next failover’s VM gets a public one')
    .option('--public', 'it does')
    .option('--no-public', 'it does not')
    .action(async ({ item: itemName, public: publicAddress }: { item: string; public?: boolean }) => {
      const connected = vault();
      const { item } = await connected.item(itemName);
      const answer = await connected.call<Record<string, unknown>>('POST', '/understudy/v1/publicAddress', {
        itemId: item.id,
        ...(publicAddress !== undefined && { publicAddress }),
      });
      const row = { item: itemName, wanted: answer.publicAddress === true ? 'yes' : 'no' };
      const { privateIpAddress = 'none', publicIpAddress = 'none' } = answer as Record<string, string>;
      show(
        answer,
        [{ ...row, private: privateIpAddress, public: publicIpAddress }],
        ['item', 'private', 'public', 'wanted'],
      );
    });

  command('unplanned', 'start the VM in Azure from a recovery point')
    .option(...pointOption)
    .option('--shutdown-source', 'try to shut the source VM down first', false)
    .action(({ item, point, shutdownSource }: { item: string; point: string; shutdownSource: boolean }) =>
      run(item, `failing ${item} over to ${point}`, (operations, address) => {
        const providerSpecificDetails: HyperVReplicaAzureUnplannedFailoverInput = {
          instanceType,
          recoveryPointId: point,
        };
        const sourceSiteOperations = shutdownSource ? 'Required' : 'NotRequired';
        const properties = { failoverDirection, sourceSiteOperations, providerSpecificDetails };
        return operations.beginUnplannedFailoverAndWait(...address, { properties }, polling);
      }),
    );

  command('change-point', 'run the failed-over VM from another recovery point; until it is committed')
    .requiredOption(pointOption[0], pointOption[1])
    .action(({ item, point }: { item: string; point: string }) =>
      run(item, `changing the recovery point of ${item} to ${point}`, (operations, address) => {
        const properties = { recoveryPointId: point, providerSpecificDetails: { instanceType } as const };
        return operations.beginApplyRecoveryPointAndWait(...address, { properties }, polling);
      }),
    );

  command(
    'commit',
    'keep a failover’s recovery point and give up the others; after a failback, give up the VM in Azure',
  ).action(({ item }: { item: string }) =>
    run(item, `committing the failover, or failback, of ${item}`, (operations, address) =>
      operations.beginFailoverCommitAndWait(...address, polling),
    ),
  );
}

/** `job resume | cancel`. */
export function addJobCommands(program: Command, { vault, show }: CommandLine): void {
  const job = program
    .command('job')
    .description('let a job go on that waits for you, or have it take back what it did');
  const command = (name: string, description: string): Command =>
    job.command(name).description(description).requiredOption('--job <name>', 'the job, as "jobs" lists it');
  const showJob = (changed: Job): void => {
    const { friendlyName: what, targetObjectName: target, state } = changed.properties ?? {};
    show(changed, [{ job: changed.name, what, target, state }], ['job', 'what', 'target', 'state']);
  };

  command('resume', 'let it go on: complete a failback, or go past a manual action')
    .option('--comments <text>', 'what was done, for the record', '')
    .action(async ({ job: name, comments }: { job: string; comments: string }) => {
      const { sdk, scope } = vault();
      showJob(await sdk.replicationJobs.beginResumeAndWait(...scope, name, { properties: { comments } }, polling));
    });
  command('cancel', 'have it take back what it did and end').action(async ({ job: name }: { job: string }) => {
    const { sdk, scope } = vault();
    showJob(await sdk.replicationJobs.beginCancelAndWait(...scope, name, polling));
  });
}
