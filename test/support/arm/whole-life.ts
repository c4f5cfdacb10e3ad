import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SiteRecoveryManagementClient } from '@azure/arm-recoveryservices-siterecovery';
import { operations } from '../../../functions/arm/operations.js';
import { fullPath } from '../../../functions/arm/router.js';
import { mustOperations } from './must-operations.js';
import { sampleInventory, vaultPath } from '../api/harness.js';
import { startApp, type RunningApp } from '../api/running-app.js';
import { ScriptedRelay } from '../api/scripted-relay.js';
import { collect, sdkClientOf } from '../api/sdk-client.js';
import { WireJudge } from './wire-judge.js';

const scope = ['local', 'local'] as const;
const fast = { updateIntervalInMs: 50 };
const instanceType = 'HyperVReplicaAzure' as const;

let app: RunningApp;
let relay: ScriptedRelay;
let client: SiteRecoveryManagementClient;
let place: [string, string, string, string];
const judge = new WireJudge();

/** The SDK's default set-up, with the certificate's authority and nothing else: bearer policy and all. */
const secureClientOf = (origin: string): SiteRecoveryManagementClient =>
  new SiteRecoveryManagementClient(
    { getToken: async () => ({ token: 'any', expiresOnTimestamp: Date.now() + 3_600_000 }) },
    '00000000-0000-0000-0000-000000000000',
    { endpoint: origin, tlsOptions: { ca: readFileSync('test/support/tls/ca.pem') } },
  );

async function setUp(transport: 'http' | 'https'): Promise<void> {
  app = await startApp({ mode: 'strictTypes' });
  const put = await fetch(`${app.origin}${vaultPath}?api-version=2023-01-01`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ location: 'local' }),
  });
  assert.equal(put.status, 201);
  const key = await fetch(`${app.origin}/understudy/v1/registrationKeys`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ vaultId: vaultPath }),
  });
  const { registrationKey } = (await key.json()) as { registrationKey: string };
  const { secret } = JSON.parse(Buffer.from(registrationKey, 'base64url').toString()) as { secret: string };
  const inventory = sampleInventory();
  for (const vm of inventory.vms) for (const disk of vm.disks) disk.sizeBytes = 2 * 1024 * 1024;
  relay = new ScriptedRelay(app.origin, inventory, 7);
  await relay.register(secret);
  place = [...scope, relay.fabricName, inventory.clouds[0]?.cloudId ?? ''];
  client = transport === 'https' ? secureClientOf(app.secureOrigin) : sdkClientOf(app.origin);
  judge.watch(client);
}

async function until(what: string, look: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await look())) {
    if (relay.failures.length > 0) throw relay.failures[0];
    assert.ok(Date.now() < deadline, `${what}:\n${app.output()}`);
    await sleep(100);
  }
}

const address = (name: string): [string, string, string, string, string] => [...place, name];
const stateOf = async (name: string): Promise<string | undefined> =>
  (await client.replicationProtectedItems.get(...address(name))).properties?.protectionStateDescription;

async function protect(name: string): Promise<void> {
  const policy = await client.replicationPolicies.get(...scope, 'default');
  const vms = await collect(client.replicationProtectableItems.listByReplicationProtectionContainers(...place));
  const vm = vms.find(({ properties }) => properties?.friendlyName === name);
  const one = await client.replicationProtectableItems.get(...place, vm?.name ?? '');
  await client.replicationProtectedItems.beginCreateAndWait(
    ...address(name),
    {
      properties: {
        policyId: policy.id ?? '',
        protectableItemId: one.id ?? '',
        providerSpecificDetails: { instanceType, vmName: name, osType: 'Windows', targetAzureNetworkId: app.networkId },
      },
    },
    fast,
  );
  await until(`${name} to be protected`, async () => {
    const { properties } = await client.replicationProtectedItems.get(...address(name));
    return properties?.protectionState === 'Protected' && properties.currentScenario?.scenarioName === 'None';
  });
}

const there = { failoverDirection: 'PrimaryToRecovery', providerSpecificDetails: { instanceType } } as const;
const back = (dataSyncOption: string) =>
  ({
    failoverDirection: 'RecoveryToPrimary',
    providerSpecificDetails: { instanceType: 'HyperVReplicaAzureFailback', dataSyncOption },
  }) as const;

async function itemLife(): Promise<void> {
  const items = client.replicationProtectedItems;
  await client.replicationPolicies.beginCreateAndWait(
    ...scope,
    'default',
    { properties: { providerSpecificInput: { instanceType, storageAccounts: [app.storageAccountId] } } },
    fast,
  );
  await client.replicationPolicies.beginUpdateAndWait(
    ...scope,
    'default',
    { properties: { replicationProviderSettings: { instanceType, recoveryPointHistoryDuration: 4 } } },
    fast,
  );
  await collect(client.replicationPolicies.list(...scope));
  const mappings = client.replicationProtectionContainerMappings;
  const { id: policyId = '' } = await client.replicationPolicies.get(...scope, 'default');
  await mappings.beginCreateAndWait(...place, 'default', { properties: { policyId } }, fast);
  await mappings.beginUpdateAndWait(...place, 'default', { properties: {} }, fast);
  await mappings.get(...place, 'default');
  await collect(mappings.list(...scope));
  await collect(mappings.listByReplicationProtectionContainers(...place));
  await protect('sql-01');
  await protect('web-01');
  await collect(items.list(...scope));
  await collect(items.listByReplicationProtectionContainers(...place));
  await items.beginUpdateAndWait(...address('sql-01'), { properties: { recoveryAzureVMName: 'sql-dr' } }, fast);
  await collect(client.targetComputeSizes.listByReplicationProtectedItems(...address('sql-01')));
  const points = await collect(client.recoveryPoints.listByReplicationProtectedItems(...address('sql-01')));
  const point = await client.recoveryPoints.get(...address('sql-01'), points[0]?.name ?? '');

  await items.beginTestFailoverAndWait(
    ...address('sql-01'),
    {
      properties: {
        networkType: 'VmNetworkAsInput',
        networkId: app.networkId,
        providerSpecificDetails: { instanceType },
      },
    },
    fast,
  );
  assert.equal(await stateOf('sql-01'), 'Cleanup test failover pending');
  await items.beginTestFailoverCleanupAndWait(...address('sql-01'), { properties: { comments: 'all came up' } }, fast);
  assert.equal(
    (await items.get(...address('sql-01'))).properties?.lastSuccessfulTestFailoverTime instanceof Date,
    true,
  );

  await items.beginPlannedFailoverAndWait(...address('sql-01'), { properties: there }, fast);
  assert.equal(await stateOf('sql-01'), 'Planned failover finished');
  await items.beginApplyRecoveryPointAndWait(
    ...address('sql-01'),
    { properties: { recoveryPointId: point.id ?? '', providerSpecificDetails: { instanceType } } },
    fast,
  );
  await items.beginFailoverCommitAndWait(...address('sql-01'), fast);
  const returning = await items.beginPlannedFailover(
    ...address('sql-01'),
    { properties: back('ForSynchronization') },
    fast,
  );
  let waiting: string | undefined;
  await until('the operator’s turn', async () => {
    const jobs = await collect(client.replicationJobs.list(...scope, { filter: "JobStatus eq 'Suspended'" }));
    waiting = jobs[0]?.name;
    return waiting !== undefined;
  });
  await client.replicationJobs.beginResumeAndWait(...scope, waiting ?? '', { properties: { comments: 'go on' } }, fast);
  await returning.pollUntilDone();
  await items.beginFailoverCommitAndWait(...address('sql-01'), fast);
  const again = await items.beginReprotectAndWait(...address('sql-01'), { properties: {} }, fast);
  assert.deepEqual(
    [again.properties?.protectionStateDescription, again.properties?.activeLocation],
    ['Protected', 'Primary'],
  );
  await items.beginRepairReplication(...address('web-01'), fast);
  await items.beginUnplannedFailoverAndWait(...address('web-01'), { properties: there }, fast);
  assert.equal(await stateOf('web-01'), 'Failover completed');
  await items.beginDeleteAndWait(
    ...address('web-01'),
    { properties: { disableProtectionReason: 'MigrationComplete' } },
    fast,
  );
}

async function planLife(): Promise<void> {
  const plans = client.replicationRecoveryPlans;
  const { id = '' } = await client.replicationProtectedItems.get(...address('sql-01'));
  const groups = [
    { groupType: 'Boot', replicationProtectedItems: [{ id }], startGroupActions: [], endGroupActions: [] },
  ];
  const primaryFabricId = `${vaultPath}/replicationFabrics/${relay.fabricName}`;
  const plan = [...scope, 'payroll'] as const;
  await plans.beginCreateAndWait(
    ...plan,
    { properties: { primaryFabricId, recoveryFabricId: 'Microsoft Azure', groups } },
    fast,
  );
  await plans.beginUpdateAndWait(...plan, { properties: { groups } }, fast);
  assert.deepEqual((await collect(plans.list(...scope)))[0]?.properties?.groups, []);
  const isThere = async () =>
    (await collect(client.recoveryPoints.listByReplicationProtectedItems(...address('sql-01')))).length > 0;
  await until('a recovery point after the way back', isThere);
  const allowed = async () => (await plans.get(...plan)).properties?.allowedOperations;
  await plans.beginTestFailoverAndWait(
    ...plan,
    {
      properties: { failoverDirection: 'PrimaryToRecovery', networkType: 'VmNetworkAsInput', networkId: app.networkId },
    },
    fast,
  );
  assert.ok((await allowed())?.includes('TestFailoverCleanup'));
  await plans.beginTestFailoverCleanupAndWait(...plan, { properties: { comments: 'fine' } }, fast);
  await plans.beginPlannedFailoverAndWait(...plan, { properties: { failoverDirection: 'PrimaryToRecovery' } }, fast);
  await plans.beginFailoverCommitAndWait(...plan, fast);
  await plans.beginPlannedFailoverAndWait(
    ...plan,
    {
      properties: {
        failoverDirection: 'RecoveryToPrimary',
        providerSpecificDetails: [
          {
            instanceType: 'HyperVReplicaAzureFailback',
            dataSyncOption: 'ForDownTime',
            recoveryVmCreationOption: 'NoAction',
          },
        ],
      },
    },
    fast,
  );
  await plans.beginFailoverCommitAndWait(...plan, fast);
  await plans.beginReprotectAndWait(...plan, fast);
  assert.equal(await stateOf('sql-01'), 'Protected');
  await until('a recovery point after the way back', isThere);
  await plans.beginUnplannedFailoverAndWait(
    ...plan,
    { properties: { failoverDirection: 'PrimaryToRecovery', sourceSiteOperations: 'NotRequired' } },
    fast,
  );
  await plans.beginFailoverCommitAndWait(...plan, fast);
  const returning = await client.replicationProtectedItems.beginPlannedFailover(
    ...address('sql-01'),
    { properties: back('ForSynchronization') },
    fast,
  );
  await until('a failback to be cancelled', async () => {
    const jobs = await collect(client.replicationJobs.list(...scope, { filter: "JobStatus eq 'Suspended'" }));
    if (jobs[0]?.name === undefined) return false;
    await client.replicationJobs.beginCancelAndWait(...scope, jobs[0].name, fast);
    return true;
  });
  await assert.rejects(returning.pollUntilDone());
  await plans.beginDeleteAndWait(...plan, fast);
}

async function readsAndRemovals(): Promise<void> {
  const [fabric] = await collect(client.replicationFabrics.list(...scope));
  const name = fabric?.name ?? '';
  await client.replicationFabrics.get(...scope, name);
  await client.replicationFabrics.beginCheckConsistencyAndWait(...scope, name, fast);
  const providers = client.replicationRecoveryServicesProviders;
  const [provider] = await collect(providers.list(...scope));
  const ofRelay = [...scope, name, provider?.name ?? ''] as const;
  await collect(providers.listByReplicationFabrics(...scope, name));
  await providers.get(...ofRelay);
  await providers.beginRefreshProviderAndWait(...ofRelay, fast);
  await collect(client.replicationProtectionContainers.list(...scope));
  await collect(client.replicationProtectionContainers.listByReplicationFabrics(...scope, name));
  await client.replicationProtectionContainers.get(...place);
  const [network] = await collect(client.replicationNetworks.list(...scope));
  const ofNetwork = [...scope, name, network?.name ?? ''] as const;
  await collect(client.replicationNetworks.listByReplicationFabrics(...scope, name));
  await client.replicationNetworks.get(...ofNetwork);
  const networks = client.replicationNetworkMappings;
  await networks.beginCreateAndWait(...ofNetwork, 'm', { properties: { recoveryNetworkId: app.networkId } }, fast);
  await networks.beginUpdateAndWait(...ofNetwork, 'm', { properties: { recoveryNetworkId: app.networkId } }, fast);
  await networks.get(...ofNetwork, 'm');
  await collect(networks.list(...scope));
  await collect(networks.listByReplicationNetworks(...ofNetwork));
  await networks.beginDeleteAndWait(...ofNetwork, 'm', fast);
  const jobs = await collect(client.replicationJobs.list(...scope));
  const cancelled = jobs.find(({ properties }) => properties?.state === 'Cancelled');
  await client.replicationJobs.get(...scope, cancelled?.name ?? '');
  await client.replicationJobs.beginExportAndWait(...scope, {}, fast);
  const restarted = await client.replicationJobs.beginRestartAndWait(...scope, cancelled?.name ?? '', fast);
  await until('the failback that was begun anew to wait for the operator', async () => {
    const job = await client.replicationJobs.get(...scope, restarted.name ?? '');
    return job.properties?.state === 'Suspended';
  });
  await client.replicationJobs.beginCancelAndWait(...scope, restarted.name ?? '', fast);
  await until('its end', async () => {
    const job = await client.replicationJobs.get(...scope, restarted.name ?? '');
    return job.properties?.state === 'Cancelled';
  });
  const events = await collect(client.replicationEvents.list(...scope));
  await client.replicationEvents.get(...scope, events[0]?.name ?? '');
  const alert = { properties: { customEmailAddresses: ['ops@example.net'] } };
  await client.replicationAlertSettings.create(...scope, 'defaultAlertSetting', alert);
  await client.replicationAlertSettings.get(...scope, 'defaultAlertSetting');
  await collect(client.replicationAlertSettings.list(...scope));
  await client.replicationVaultHealth.get(...scope);
  await client.replicationVaultHealth.beginRefreshAndWait(...scope, fast);
  await collect(client.operations.list('local'));
  await client.replicationProtectedItems.beginPurgeAndWait(...address('sql-01'), fast);
  const mappings = client.replicationProtectionContainerMappings;
  await mappings.beginDeleteAndWait(...place, 'default', { properties: {} }, fast);
  await assert.rejects(mappings.beginPurgeAndWait(...place, 'default', fast), { statusCode: 404 });
  await client.replicationPolicies.beginDeleteAndWait(...scope, 'default', fast);
  await providers.beginPurgeAndWait(...ofRelay, fast);
  for (const remove of [
    () => client.replicationFabrics.beginDeleteAndWait(...scope, name, fast),
    () => client.replicationFabrics.beginPurgeAndWait(...scope, name, fast),
    () => providers.beginDeleteAndWait(...ofRelay, fast),
  ]) {
    await assert.rejects(remove(), { statusCode: 404 });
  }
}

function everyOperation(transport: 'http' | 'https'): void {
  const pattern = (path: string): RegExp => new RegExp(`^${path.replaceAll(/\{[^}]+\}/g, '[^/]+')}$`, 'i');
  const missed = mustOperations.filter((name) => {
    const operation = operations.find((each) => each.name === name);
    if (operation === undefined) return true;
    const path = pattern(fullPath(operation));
    return !judge.calls.some((call) => call.method === operation.method && path.test(call.path));
  });
  assert.deepEqual(missed, []);
  assert.ok(judge.calls.every(({ hasToken }) => hasToken === (transport === 'https')));
}

/** What the SDK does with a vault from its relay's registration until all is gone, as tests of the file that calls this. */
export function wholeLifeOver(transport: 'http' | 'https'): void {
  before(() => setUp(transport));
  after(async () => {
    await relay.stop();
    await app.stop();
  });
  const within = { timeout: 240_000 };
  test('an item by the SDK: a drill, there, another point, back, and replicated again', within, itemLife);
  test('a recovery plan by the SDK: a drill, there and back, there again, and gone', within, planLife);
  test('what is read of fabrics, clouds, networks, jobs, events and health; then all goes', within, readsAndRemovals);
  test('the SDK called every operation that must be there, with a token where it insists on one', () =>
    everyOperation(transport));
  test('every answer is what the SDK’s own models say, and every long-running one goes by ARM’s rules', () => {
    assert.deepEqual([...judge.faults], []);
    assert.ok(judge.judgedCount > 100 && judge.longRunningCount > 30, 'it saw the calls');
  });
}
