import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sampleInventory, vaultPath } from '../../support/api/harness.js';
import { startApp, type RunningApp } from '../../support/api/running-app.js';
import { ScriptedRelay } from '../../support/api/scripted-relay.js';

/**
 * What `az` sends: its login's look at the subscriptions, then the commands of `az site-recovery` from policy to clean-up, as raw
 * https with its api-version, spelt as it spells them; each long-running one is followed by its Azure-AsyncOperation, and a POST
 * by its Location then. `az` itself is not there; the sequence is that of its recorded sessions.
 */
const version = 'api-version=2022-08-01';
const ca = readFileSync('test/support/tls/ca.pem');

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Record<string, unknown> & { properties?: Record<string, unknown>; value?: Record<string, unknown>[] };
}

let app: RunningApp;
let relay: ScriptedRelay;

function send(method: string, target: string, body?: unknown): Promise<Answer> {
  const url = new URL(target, app.secureOrigin);
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      url,
      {
        method,
        ca,
        headers: {
          accept: 'application/json',
          authorization: 'Bearer any',
          commandname: 'site-recovery',
          'user-agent': 'AZURECLI/2.60.0 (PIP)',
          'x-ms-client-request-id': '00000000-0000-4000-8000-000000000000',
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
        },
      },
      (response) => {
        let received = '';
        response.on('data', (piece: Buffer) => (received += piece.toString('utf8')));
        response.on('end', () => {
          const parsed = received === '' ? {} : (JSON.parse(received) as Answer['body']);
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: parsed });
        });
      },
    );
    request.on('error', reject);
    request.end(text);
  });
}

/** As ARM's pollers do: until it is over, then where its result is. */
async function followed(first: Answer, method: string, path: string): Promise<Answer> {
  assert.equal(first.status, 202, JSON.stringify(first.body));
  const status = String(first.headers['azure-asyncoperation']);
  const location = String(first.headers.location);
  assert.ok(status.startsWith(app.secureOrigin) && location.startsWith(app.secureOrigin), status);
  assert.ok(Number(first.headers['retry-after']) > 0);
  for (;;) {
    const { body } = await send('GET', status);
    if (body.status === 'Succeeded') break;
    assert.equal(body.status, 'InProgress', JSON.stringify(body));
    assert.deepEqual(relay.failures, []);
    await sleep(100);
  }
  if (method === 'PUT') return send('GET', path);
  return method === 'DELETE' ? first : send('GET', location);
}

async function run(method: string, path: string, body?: unknown): Promise<Answer> {
  const full = `${path}?${version}`;
  return followed(await send(method, full, body), method, full);
}

async function show(path: string): Promise<Answer['body']> {
  const { status, body } = await send('GET', `${path}?${version}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

before(async () => {
  app = await startApp({});
});
after(async () => {
  await relay.stop();
  await app.stop();
});

test(
  'a session of az: login, policy, mappings, protection, a plan, there, back and out',
  { timeout: 180_000 },
  async () => {
    assert.equal(
      (await send('PUT', `${vaultPath}?api-version=2023-04-01`, { location: 'local', sku: { name: 'Standard' } }))
        .status,
      201,
    );
    const subscriptions = (await send('GET', '/subscriptions?api-version=2019-11-01')).body.value;
    assert.deepEqual(
      subscriptions?.map(({ subscriptionId, state }) => [subscriptionId, state]),
      [['00000000-0000-0000-0000-000000000000', 'Enabled']],
    );
    const { body: key } = await send('POST', '/understudy/v1/registrationKeys', { vaultId: vaultPath });
    const { secret } = JSON.parse(Buffer.from(String(key.registrationKey), 'base64url').toString()) as {
      secret: string;
    };
    const inventory = sampleInventory();
    for (const vm of inventory.vms) for (const disk of vm.disks) disk.sizeBytes = 2 * 1024 * 1024;
    relay = new ScriptedRelay(app.origin, inventory, 7);
    await relay.register(secret);

    // az spells resourceGroups as it likes.
    const vault = vaultPath.replace('resourceGroups', 'resourcegroups');
    const fabric = (await show(`${vault}/replicationFabrics`)).value?.[0];
    const fabricPath = `${vault}/replicationFabrics/${String(fabric?.name)}`;
    const policy = await run('PUT', `${vault}/replicationPolicies/az-policy`, {
      properties: {
        providerSpecificInput: {
          instanceType: 'HyperVReplicaAzure',
          recoveryPointHistoryDuration: '12',
          applicationConsistentSnapshotFrequencyInHours: '1',
          replicationInterval: '300',
          storageAccounts: [app.storageAccountId],
        },
      },
    });
    const container = (await show(`${fabricPath}/replicationProtectionContainers`)).value?.[0];
    const containerPath = `${fabricPath}/replicationProtectionContainers/${String(container?.name)}`;
    const mapping = `${containerPath}/replicationProtectionContainerMappings/az-mapping`;
    await run('PUT', mapping, {
      properties: {
        policyId: policy.body.id,
        providerSpecificInput: {},
        targetProtectionContainerId: 'Microsoft Azure',
      },
    });
    const network = (await show(`${fabricPath}/replicationNetworks`)).value?.[0];
    const networkMapping = `${fabricPath}/replicationNetworks/${String(network?.name)}/replicationNetworkMappings/az-network`;
    const mapped = await run('PUT', networkMapping, {
      properties: {
        fabricSpecificDetails: { instanceType: 'VmmToAzure' },
        recoveryFabricName: 'Microsoft Azure',
        recoveryNetworkId: app.networkId,
      },
    });
    assert.equal(mapped.body.properties?.state, 'Paired');
    const protectable = (await show(`${containerPath}/replicationProtectableItems`)).value?.find(
      ({ properties }) => (properties as { friendlyName: string }).friendlyName === 'web-01',
    );
    const vm = await show(`${containerPath}/replicationProtectableItems/${String(protectable?.name)}`);
    const item = `${containerPath}/replicationProtectedItems/web-01`;
    await run('PUT', item, {
      properties: {
        policyId: policy.body.id,
        protectableItemId: vm.id,
        providerSpecificDetails: {
          instanceType: 'HyperVReplicaAzure',
          hvHostVmId: vm.name,
          osType: 'Windows',
          targetAzureVmName: 'web-01-az',
          targetStorageAccountId: app.storageAccountId,
          useManagedDisks: 'false',
          vmName: 'web-01',
        },
      },
    });
    for (;;) {
      const { properties } = await show(item);
      if (properties?.protectionState === 'Protected' && (properties.allowedOperations as string[]).length > 0) break;
      assert.deepEqual(relay.failures, []);
      await sleep(200);
    }
    await show(fabricPath);

    const plan = `${vault}/replicationRecoveryPlans/az-plan`;
    await run('PUT', plan, {
      properties: {
        failoverDeploymentModel: 'ResourceManager',
        groups: [{ groupType: 'Boot', replicationProtectedItems: [{ id: (await show(item)).id }] }],
        primaryFabricId: fabric?.id,
        recoveryFabricId: 'Microsoft Azure',
      },
    });
    assert.deepEqual(
      ((await show(plan)).properties?.groups as { groupType: string }[]).map(({ groupType }) => groupType),
      ['Shutdown', 'Failover', 'Boot'],
    );
    assert.equal((await show(`${vault}/replicationRecoveryPlans`)).value?.length, 1);
    await run('DELETE', plan);

    const failedOver = await run('POST', `${item}/unplannedFailover`, {
      properties: {
        failoverDirection: 'PrimaryToRecovery',
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
        sourceSiteOperations: 'NotRequired',
      },
    });
    assert.equal(failedOver.body.properties?.activeLocation, 'Recovery');
    await run('POST', `${item}/failoverCommit`);
    const back = await run('POST', `${item}/plannedFailover`, {
      properties: {
        failoverDirection: 'RecoveryToPrimary',
        providerSpecificDetails: {
          instanceType: 'HyperVReplicaAzureFailback',
          dataSyncOption: 'ForDownTime',
          recoveryVmCreationOption: 'NoAction',
        },
      },
    });
    assert.equal(back.body.properties?.activeLocation, 'Primary');
    await run('POST', `${item}/remove`, { properties: { disableProtectionReason: 'NotSpecified' } });
    assert.equal((await send('GET', `${item}?${version}`)).status, 404);
    await run('DELETE', networkMapping);
    await run('POST', `${mapping}/remove`, { properties: {} });
    await run('DELETE', `${vault}/replicationPolicies/az-policy`);
    const jobs = (await show(`${vault}/replicationJobs`)).value ?? [];
    assert.ok(jobs.length >= 10);
    assert.ok(jobs.every(({ properties }) => (properties as { state: string }).state === 'Succeeded'));
    const refused = await send(
      'GET',
      `${vault}/replicationJobs?${version}&$filter=${encodeURIComponent("color eq 'red'")}`,
    );
    assert.equal(refused.status, 400);
    assert.match(JSON.stringify(refused.body), /jobStatus/);
  },
);
