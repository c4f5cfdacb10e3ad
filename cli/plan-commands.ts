import { readFile } from 'node:fs/promises';
import type { RecoveryPlan, RecoveryPlanGroup } from '@azure/arm-recoveryservices-siterecovery';
import type { Command } from 'commander';
import type { CommandLine } from './replication-commands.js';
import type { Vault } from './vault-client.js';

const polling = { updateIntervalInMs: 500 };
const failoverDirection = 'PrimaryToRecovery';

type Plans = Vault['sdk']['replicationRecoveryPlans'];
type Address = [...Vault['scope'], string];

/** `plan list | show | save | delete | test | cleanup | planned | unplanned | commit | back | reprotect`. */
export function addPlanCommands(program: Command, { vault, say, show }: CommandLine): void {
  const plan = program.command('plan').description('recovery plans: fail several VMs over together, group by group');
  const command = (name: string, description: string): Command =>
    plan.command(name).description(description).requiredOption('--plan <name>', 'the recovery plan');

  const showPlans = (plans: readonly RecoveryPlan[], raw: unknown = plans): void => {
    const cells = plans.map(({ name, properties }) => ({
      plan: name,
      running: properties?.currentScenario?.scenarioName,
      allowed: (properties?.allowedOperations ?? []).join(', '),
    }));
    show(raw, cells, ['plan', 'running', 'allowed']);
  };
  const run = async (
    name: string,
    message: string,
    operate: (plans: Plans, address: Address) => Promise<RecoveryPlan>,
  ): Promise<void> => {
    const { sdk, scope } = vault();
    say(message);
    const done = await operate(sdk.replicationRecoveryPlans, [...scope, name]);
    showPlans([done], done);
  };

  plan
    .command('list')
    .description('list the recovery plans')
    .action(async () => {
      const { sdk, scope } = vault();
      const plans: RecoveryPlan[] = [];
      for await (const found of sdk.replicationRecoveryPlans.list(...scope)) plans.push(found);
      showPlans(plans);
    });

  command('show', 'show the groups of a plan with their items and actions').action(
    async ({ plan: name }: { plan: string }) => {
      const { sdk, scope } = vault();
      const found = await sdk.replicationRecoveryPlans.get(...scope, name);
      const rows = (found.properties?.groups ?? []).map(
        ({ groupType, replicationProtectedItems, startGroupActions, endGroupActions }) => ({
          group: groupType,
          items: (replicationProtectedItems ?? []).map(({ id }) => id?.split('/').at(-1)).join(', '),
          before: (startGroupActions ?? []).map(({ actionName }) => actionName).join(', '),
          after: (endGroupActions ?? []).map(({ actionName }) => actionName).join(', '),
        }),
      );
      show(found, rows, ['group', 'before', 'items', 'after']);
    },
  );

  command('save', 'make a plan, or give it other groups')
    .option('--group <items...>', 'the boot groups in order, one value each: items or VMs joined by commas')
    .option('--groups <file>', 'a JSON file with all groups and their actions, as docs/recovery-plans.md describes')
    .action(async ({ plan: name, group, groups: file }: { plan: string; group?: string[]; groups?: string }) => {
      const connected = vault();
      const groups =
        file === undefined
          ? await bootGroups(
              connected,
              (group ?? []).map((text) => text.split(',')),
            )
          : await named(connected, JSON.parse(await readFile(file, 'utf8')) as RecoveryPlanGroup[]);
      const [fabricName] = await fabricsOf(connected, groups);
      const { sdk, scope } = connected;
      const properties = { primaryFabricId: fabricName ?? '', recoveryFabricId: 'Microsoft Azure', groups };
      const saved = await sdk.replicationRecoveryPlans.beginCreateAndWait(...scope, name, { properties }, polling);
      showPlans([saved], saved);
    });

  command('delete', 'delete a plan; its items stay as they are').action(async ({ plan: name }: { plan: string }) => {
    const { sdk, scope } = vault();
    await sdk.replicationRecoveryPlans.beginDeleteAndWait(...scope, name, polling);
    say(`recovery plan ${name} is deleted`);
  });

  command('test', 'test the failover of all items, until it is cleaned up')
    .option('--network <arm id>', 'the virtual network of the test VMs (default: none)')
    .action(({ plan: name, network }: { plan: string; network?: string }) =>
      run(name, `testing the failover of plan ${name}`, (plans, address) => {
        const where =
          network === undefined
            ? { networkType: 'NoNetworkAttachAsInput' }
            : { networkType: 'VmNetworkAsInput', networkId: network };
        return plans.beginTestFailoverAndWait(...address, { properties: { failoverDirection, ...where } }, polling);
      }),
    );
  command('cleanup', 'delete the test VMs; with that the test has succeeded')
    .option('--comments <text>', 'what the drill showed, for its record', '')
    .action(({ plan: name, comments }: { plan: string; comments: string }) =>
      run(name, `cleaning up the test failover of plan ${name}`, (plans, address) =>
        plans.beginTestFailoverCleanupAndWait(...address, { properties: { comments } }, polling),
      ),
    );
  command('planned', 'shut all sources down and fail over without losing a write; stops at the first error').action(
    ({ plan: name }: { plan: string }) =>
      run(name, `failing plan ${name} over; its manual actions wait for "job resume"`, (plans, address) =>
        plans.beginPlannedFailoverAndWait(...address, { properties: { failoverDirection } }, polling),
      ),
  );
  command('unplanned', 'fail over from recovery points, to the end whatever fails')
    .option('--point <point>', 'Latest, LatestProcessed or LatestApplicationConsistent', 'Latest')
    .option('--shutdown-source', 'try to shut the sources down first', false)
    .action(({ plan: name, point, shutdownSource }: { plan: string; point: string; shutdownSource: boolean }) =>
      run(name, `failing plan ${name} over to ${point}`, (plans, address) => {
        const sourceSiteOperations = shutdownSource ? 'Required' : 'NotRequired';
        const providerSpecificDetails = [{ instanceType: 'HyperVReplicaAzure' as const, recoveryPointType: point }];
        const properties = { failoverDirection, sourceSiteOperations, providerSpecificDetails };
        return plans.beginUnplannedFailoverAndWait(...address, { properties }, polling);
      }),
    );
  command('commit', 'commit the failover, or failback, of all items').action(({ plan: name }: { plan: string }) =>
    run(name, `committing plan ${name}`, (plans, address) => plans.beginFailoverCommitAndWait(...address, polling)),
  );
  command('back', 'fail all items back to their site')
    .option('--downtime', 'copy everything with the VMs off in Azure, instead of synchronizing while they run', false)
    .option('--create', 'make VMs that the site has no more, on the hosts that they were on', false)
    .action(({ plan: name, downtime, create }: { plan: string; downtime: boolean; create: boolean }) =>
      run(name, `failing plan ${name} back${downtime ? '' : '; "job resume" completes it'}`, (plans, address) => {
        const details = {
          instanceType: 'HyperVReplicaAzureFailback' as const,
          dataSyncOption: downtime ? 'ForDownTime' : 'ForSynchronization',
          recoveryVmCreationOption: create ? 'CreateVmIfNotFound' : 'NoAction',
        };
        const properties = { failoverDirection: 'RecoveryToPrimary', providerSpecificDetails: [details] };
        return plans.beginPlannedFailoverAndWait(...address, { properties }, polling);
      }),
    );
  command('reprotect', 'replicate all items that were failed back from their site again').action(
    ({ plan: name }: { plan: string }) =>
      run(name, `replicating plan ${name} from its site again`, (plans, address) =>
        plans.beginReprotectAndWait(...address, polling),
      ),
  );
}

async function bootGroups(connected: Vault, groups: readonly string[][]): Promise<RecoveryPlanGroup[]> {
  return named(
    connected,
    groups.map((names) => ({ groupType: 'Boot', replicationProtectedItems: names.map((id) => ({ id })) })),
  );
}

/** Items may be given by name or by their VM's. */
async function named(connected: Vault, groups: readonly RecoveryPlanGroup[]): Promise<RecoveryPlanGroup[]> {
  return Promise.all(
    groups.map(async (group) => ({
      ...group,
      replicationProtectedItems: await Promise.all(
        (group.replicationProtectedItems ?? []).map(async ({ id = '' }) => ({
          id: id.startsWith('/') ? id : ((await connected.item(id)).item.id ?? id),
        })),
      ),
    })),
  );
}

async function fabricsOf(connected: Vault, groups: readonly RecoveryPlanGroup[]): Promise<string[]> {
  const ids = groups.flatMap(({ replicationProtectedItems }) =>
    (replicationProtectedItems ?? []).map(({ id }) => id ?? ''),
  );
  const fabrics = ids.flatMap((id) => /^(.*\/replicationFabrics\/[^/]+)\//i.exec(id)?.[1] ?? []);
  if (fabrics.length > 0) return fabrics;
  throw new Error(`a plan needs at least one item; see "items" of ${connected.connection.vaultName}`);
}
