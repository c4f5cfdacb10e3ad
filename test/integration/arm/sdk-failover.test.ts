import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReplicationProtectedItem, SiteRecoveryManagementClient } from '@azure/arm-recoveryservices-siterecovery';
import { sampleInventory, vaultPath } from '../../support/api/harness.js';
import { startApp, type RunningApp } from '../../support/api/running-app.js';
import { ScriptedRelay } from '../../support/api/scripted-relay.js';
import { collect, sdkClientOf } from '../../support/api/sdk-client.js';

const mebibyte = 1024 * 1024;
const [vaultName, groupName] = ['local', 'local'];

let app: RunningApp;
let relay: ScriptedRelay;
let client: SiteRecoveryManagementClient;

async function until<T>(what: string, look: () => Promise<T | undefined>, withinMs = 60_000): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (relay.failures.length > 0) throw relay.failures[0];
    if (Date.now() > deadline) throw new Error(`${what} did not come about:\n${app.output()}`);
    await sleep(200);
  }
}

/** Small disks: what is tested here is the surface. */
function smallInventory() {
  const inventory = sampleInventory();
  for (const vm of inventory.vms) for (const disk of vm.disks) disk.sizeBytes = 2 * mebibyte;
  return inventory;
}

async function call(method: string, path: string, body?: unknown): Promise<Response> {
  return fetch(`${app.origin}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : {
          headers: { 'content-type': 'application/json' },
          body: typeof body === 'string' ? body : JSON.stringify(body),
        }),
  });
}

before(async () => {
  // What the real host does to values and at crashes, all the time.
  app = await startApp({ mode: 'strictTypes,activitiesTwice,replayEachTurn' });
  client = sdkClientOf(app.origin);
  const vault = await call('PUT', `${vaultPath}?api-version=2023-01-01`, { location: 'local' });
  assert.equal(vault.status, 201, await vault.text());
  const key = (await (await call('POST', '/understudy/v1/registrationKeys', { vaultId: vaultPath })).json()) as {
    registrationKey: string;
  };
  const { secret } = JSON.parse(Buffer.from(key.registrationKey, 'base64url').toString()) as { secret: string };
  relay = new ScriptedRelay(app.origin, smallInventory(), 7);
  await relay.register(secret);
});

after(async () => {
  await relay.stop();
  await app.stop();
});

test('the official SDK protects a VM, fails it over and commits', { timeout: 240_000 }, async () => {
  const fabrics = await collect(client.replicationFabrics.list(vaultName, groupName));
  assert.deepEqual(
    fabrics.map(({ name }) => name),
    [relay.fabricName],
  );
  const fabric = relay.fabricName;
  assert.equal(
    (await client.replicationFabrics.get(vaultName, groupName, fabric)).properties?.customDetails?.instanceType,
    'VMM',
  );
  const providers = await collect(client.replicationRecoveryServicesProviders.list(vaultName, groupName));
  assert.equal(providers[0]?.properties?.connectionStatus, 'Connected');
  assert(providers[0].properties.lastHeartBeat instanceof Date);

  const policy = await client.replicationPolicies.beginCreateAndWait(vaultName, groupName, 'default', {
    properties: {
      providerSpecificInput: {
        instanceType: 'HyperVReplicaAzure',
        replicationInterval: 300,
        recoveryPointHistoryDuration: 4,
        storageAccounts: [app.storageAccountId],
      },
    },
  });
  assert.equal(policy.name, 'default');
  const details = policy.properties?.providerSpecificDetails;
  assert(details !== undefined && 'recoveryPointHistoryDurationInHours' in details);
  assert.equal(details.recoveryPointHistoryDurationInHours, 4);

  const containers = await collect(
    client.replicationProtectionContainers.listByReplicationFabrics(vaultName, groupName, fabric),
  );
  const container = containers[0]?.name ?? '';
  assert.equal(containers[0]?.properties?.friendlyName, 'Production');
  const mapping = await client.replicationProtectionContainerMappings.beginCreateAndWait(
    vaultName,
    groupName,
    fabric,
    container,
    'default',
    {
      properties: {
        targetProtectionContainerId: 'Microsoft Azure',
        policyId: policy.id ?? '',
        providerSpecificInput: { instanceType: 'ReplicationProviderSpecificContainerMappingInput' as never },
      },
    },
  );
  assert.equal(mapping.properties?.state, 'Paired');
  assert.equal(
    (await collect(client.replicationNetworks.list(vaultName, groupName)))[0]?.properties?.subnets?.length,
    1,
  );

  const protectables = await collect(
    client.replicationProtectableItems.listByReplicationProtectionContainers(vaultName, groupName, fabric, container, {
      take: '1',
    }),
  );
  const sql = protectables.find(({ properties }) => properties?.friendlyName === 'sql-01');
  assert.equal(protectables.length, 3);
  assert(sql?.id !== undefined);
  assert.deepEqual(sql.properties?.protectionReadinessErrors, []);

  const enabled = await client.replicationProtectedItems.beginCreateAndWait(
    vaultName,
    groupName,
    fabric,
    container,
    'sql-01',
    {
      properties: {
        policyId: policy.id ?? '',
        protectableItemId: sql.id,
        providerSpecificDetails: {
          instanceType: 'HyperVReplicaAzure',
          targetStorageAccountId: app.storageAccountId,
          targetAzureVmName: 'sql-01-dr',
          targetAzureNetworkId: app.networkId,
          vmName: 'sql-01',
          osType: 'Windows',
        },
      },
    },
  );
  assert.equal(enabled.properties?.friendlyName, 'sql-01');

  const getItem = () => client.replicationProtectedItems.get(vaultName, groupName, fabric, container, 'sql-01');
  const stateOf = (item: ReplicationProtectedItem) => item.properties?.protectionState;
  const protectedItem = await until('Protected', async () => {
    const item = await getItem();
    const idle = item.properties?.currentScenario?.scenarioName === 'None';
    return stateOf(item) === 'Protected' && idle ? item : undefined;
  });
  assert.deepEqual(protectedItem.properties?.allowedOperations, [
    'TestFailover',
    'PlannedFailover',
    'UnplannedFailover',
    'RepairReplication',
    'DisableProtection',
  ]);
  assert.deepEqual(protectedItem.properties.healthErrors, [], app.output());
  assert.equal(protectedItem.properties.replicationHealth, 'Normal');

  const points = await collect(
    client.recoveryPoints.listByReplicationProtectedItems(vaultName, groupName, fabric, container, 'sql-01'),
  );
  assert.equal(points.length, 1);
  assert(points[0]?.properties?.recoveryPointTime instanceof Date);
  await exportHolds(points[0].id ?? '');

  const failedOver = await client.replicationProtectedItems.beginUnplannedFailoverAndWait(
    vaultName,
    groupName,
    fabric,
    container,
    'sql-01',
    {
      properties: {
        failoverDirection: 'PrimaryToRecovery',
        sourceSiteOperations: 'NotRequired',
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzure', recoveryPointId: points[0].id ?? '' },
      },
    },
  );
  assert.equal(failedOver.name, 'sql-01');
  assert.equal(failedOver.properties?.activeLocation, 'Recovery');
  assert.equal(stateOf(failedOver), 'UnplannedFailoverCommitPendingStatesBegin');

  const committed = await client.replicationProtectedItems.beginFailoverCommitAndWait(
    vaultName,
    groupName,
    fabric,
    container,
    'sql-01',
  );
  assert.match(committed.properties?.protectionStateDescription ?? '', /committed/);
  const jobs = await collect(client.replicationJobs.list(vaultName, groupName));
  assert.deepEqual(
    jobs.map(({ properties }) => [properties?.scenarioName, properties?.state]),
    [
      ['CommitFailover', 'Succeeded'],
      ['UnplannedFailover', 'Succeeded'],
      ['IrCompletion', 'Succeeded'],
      ['EnableDr', 'Succeeded'],
      ['AssociateProtectionProfile', 'Succeeded'],
      ['AddProtectionProfile', 'Succeeded'],
      ['RegisterDra', 'Succeeded'],
    ],
  );
  // Leftovers are dropped some at a call: its second run rightly finds fewer. And what is read may have come true in between.
  const failures = app
    .output()
    .split('\n')
    .filter((line) => line.includes('"level":"error"'));
  assert.deepEqual(
    failures.filter((line) => !/"activity":"(dropReplicationLeftovers|read[A-Z]\w*)"/.test(line)),
    [],
  );
});

/** Each disk of the exported point holds the base, with the first page as the cycle left it. */
async function exportHolds(recoveryPointId: string): Promise<void> {
  const answer = await call('POST', '/understudy/v1/exports', { recoveryPointId });
  assert.equal(answer.status, 201);
  const { exportId, disks } = (await answer.json()) as {
    exportId: string;
    disks: { url: string; lengthBytes: number }[];
  };
  assert.equal(disks.length, 2);
  for (const { url, lengthBytes } of disks) {
    const bytes = Buffer.from(await (await fetch(url)).arrayBuffer());
    assert.equal(bytes.length, lengthBytes);
    assert(bytes.subarray(0, 512).equals(Buffer.alloc(512, 8)));
    assert(bytes.subarray(512, 2 * mebibyte).equals(Buffer.alloc(2 * mebibyte - 512, 7)));
    assert.equal(bytes.subarray(-512).toString('latin1', 0, 8), 'conectix');
  }
  const ended = await call('DELETE', `/understudy/v1/exports/${exportId}?vaultId=${encodeURIComponent(vaultPath)}`);
  assert.equal(ended.status, 204);
}

test('bad input is refused over HTTP with what, where and what to do', { timeout: 60_000 }, async () => {
  const refused = async (response: Response, status: number, code: string) => {
    assert.equal(response.status, status);
    const { error } = (await response.json()) as {
      error: { code: string; message: string; recommendedAction: string };
    };
    assert.equal(error.code, code);
    assert.notEqual(error.message, '');
    assert.notEqual(error.recommendedAction, '');
  };
  const policy = `${vaultPath}/replicationPolicies/bad`;
  await refused(await call('GET', `${vaultPath}/nowhere?api-version=1`), 404, 'OperationNotFound');
  await refused(await call('GET', vaultPath), 400, 'MissingApiVersionParameter');
  await refused(await call('PUT', `${policy}?api-version=1`, '{"properties'), 400, 'InvalidRequestContent');
  await refused(await call('PUT', `${policy}?api-version=1`, { properties: 3 }), 400, 'InvalidParameter');
  await refused(await call('GET', `${policy}?api-version=1`), 404, 'ResourceNotFound');
  await refused(await call('GET', '/relay/v1/assignments'), 401, 'US1100');
  const tooLarge = ' '.repeat(5 * 1024 * 1024);
  await refused(await call('PUT', `${policy}?api-version=1`, tooLarge), 413, 'RequestEntityTooLarge');
  await refused(await call('POST', '/relay/v1/register', tooLarge), 413, 'US1012');
  const list = await call('GET', '/subscriptions?api-version=2019-11-01');
  assert.equal(((await list.json()) as { value: unknown[] }).value.length, 1);
  assert.equal((await call('GET', '/healthz')).status, 200);
});
