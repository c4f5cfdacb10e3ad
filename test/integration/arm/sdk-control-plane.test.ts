import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  ExportJobDetails,
  HyperVReplicaAzurePolicyDetails,
  HyperVReplicaAzureReplicationDetails,
  Job,
  SiteRecoveryManagementClient,
} from '@azure/arm-recoveryservices-siterecovery';
import { WireJudge } from '../../support/arm/wire-judge.js';
import { sampleInventory, vaultPath } from '../../support/api/harness.js';
import { startApp, type RunningApp } from '../../support/api/running-app.js';
import { ScriptedRelay } from '../../support/api/scripted-relay.js';
import { collect, sdkClientOf } from '../../support/api/sdk-client.js';

const scope = ['local', 'local'] as const;
const fast = { updateIntervalInMs: 50 };

let app: RunningApp;
let relay: ScriptedRelay;
let client: SiteRecoveryManagementClient;
let cloud: string;
const judge = new WireJudge();

async function call(method: string, path: string, body?: unknown): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return fetch(`${app.origin}${path}`, {
    method,
    ...(body === undefined ? {} : { headers, body: JSON.stringify(body) }),
  });
}

/** What the SDK throws of a refusal: status and code. */
const refused = (statusCode: number, code: string) => (error: unknown) => {
  assert(error instanceof Error && 'statusCode' in error && 'code' in error, String(error));
  assert.deepEqual([error.statusCode, error.code], [statusCode, code], error.message);
  return true;
};

before(async () => {
  app = await startApp({ mode: 'strictTypes' });
  client = sdkClientOf(app.origin);
  judge.watch(client);
  assert.equal((await call('PUT', `${vaultPath}?api-version=2023-01-01`, { location: 'local' })).status, 201);
  const key = (await (await call('POST', '/understudy/v1/registrationKeys', { vaultId: vaultPath })).json()) as {
    registrationKey: string;
  };
  const { secret } = JSON.parse(Buffer.from(key.registrationKey, 'base64url').toString()) as { secret: string };
  const inventory = sampleInventory();
  for (const vm of inventory.vms) {
    for (const disk of vm.disks) disk.sizeBytes = 2 * 1024 * 1024;
    // Not to be protected: its job fails.
    if (vm.name === 'app-01') vm.powerState = 'off';
  }
  relay = new ScriptedRelay(app.origin, inventory, 7);
  await relay.register(secret);
  cloud = inventory.clouds[0]?.cloudId ?? '';
});

after(async () => {
  await relay.stop();
  await app.stop();
});

const ended = async (jobName: string): Promise<Job> => {
  for (;;) {
    const job = await client.replicationJobs.get(...scope, jobName);
    if (['Succeeded', 'Failed', 'Cancelled'].includes(job.properties?.state ?? '')) return job;
    await sleep(100);
  }
};

test('policies and container mappings by the SDK, from creation to deletion', async () => {
  const policies = client.replicationPolicies;
  const settings = { instanceType: 'HyperVReplicaAzure', storageAccounts: [app.storageAccountId] } as const;
  await policies.beginCreateAndWait(
    ...scope,
    'gold',
    {
      properties: { providerSpecificInput: { ...settings, replicationInterval: 900, recoveryPointHistoryDuration: 6 } },
    },
    fast,
  );
  const edited = await policies.beginUpdateAndWait(
    ...scope,
    'gold',
    { properties: { replicationProviderSettings: { instanceType: 'HyperVReplicaAzure', replicationInterval: 30 } } },
    fast,
  );
  const details = edited.properties?.providerSpecificDetails as HyperVReplicaAzurePolicyDetails;
  assert.deepEqual([details.replicationInterval, details.recoveryPointHistoryDurationInHours], [30, 6]);

  const mappings = client.replicationProtectionContainerMappings;
  const place = [...scope, relay.fabricName, cloud, 'gold'] as const;
  const body = { properties: { policyId: edited.id ?? '', targetProtectionContainerId: 'Microsoft Azure' } };
  await mappings.beginCreateAndWait(...place, body, fast);
  const updated = await mappings.beginUpdateAndWait(...place, { properties: {} }, fast);
  assert.equal(updated.properties?.policyFriendlyName, 'gold');
  await assert.rejects(policies.beginDeleteAndWait(...scope, 'gold', fast), refused(409, 'Conflict'));
  await mappings.beginDeleteAndWait(...place, { properties: {} }, fast);
  await assert.rejects(mappings.get(...place), refused(404, 'ResourceNotFound'));
  await mappings.beginCreateAndWait(...place, body, fast);
  await mappings.beginPurgeAndWait(...place, fast);
  await policies.beginDeleteAndWait(...scope, 'gold', fast);
  assert.deepEqual(await collect(policies.list(...scope)), []);
});

test('network mappings, and what an item’s virtual machine is made by', async () => {
  const [network] = await collect(client.replicationNetworks.listByReplicationFabrics(...scope, relay.fabricName));
  const mappings = client.replicationNetworkMappings;
  const place = [...scope, relay.fabricName, network?.name ?? '', 'to-prod'] as const;
  const made = await mappings.beginCreateAndWait(...place, { properties: { recoveryNetworkId: app.networkId } }, fast);
  assert.deepEqual([made.properties?.state, made.properties?.primaryNetworkId], ['Paired', network?.id]);
  await assert.rejects(
    mappings.beginCreateAndWait(
      ...([...scope, relay.fabricName, network?.name ?? '', 'second'] as const),
      { properties: { recoveryNetworkId: app.networkId } },
      fast,
    ),
    refused(409, 'Conflict'),
  );
  await assert.rejects(
    mappings.beginUpdateAndWait(...place, { properties: { recoveryNetworkId: `${app.networkId}-gone` } }, fast),
    refused(400, 'InvalidReference'),
  );
  assert.equal((await mappings.get(...place)).properties?.recoveryNetworkId, app.networkId);
  assert.equal((await collect(mappings.list(...scope))).length, 1);
  assert.equal(
    (await collect(mappings.listByReplicationNetworks(...scope, relay.fabricName, network?.name ?? ''))).length,
    1,
  );

  await protect('web-01');
  const items = client.replicationProtectedItems;
  const item = [...scope, relay.fabricName, cloud, 'web-01'] as const;
  const before = (await items.get(...item)).properties?.providerSpecificDetails as HyperVReplicaAzureReplicationDetails;
  assert.equal(before.selectedRecoveryAzureNetworkId, app.networkId, 'by the mapping');
  const nicId = before.vmNics?.[0]?.nicId ?? '';
  const changed = await items.beginUpdateAndWait(
    ...item,
    {
      properties: {
        recoveryAzureVMName: 'web-dr',
        recoveryAzureVMSize: 'Standard_D2s_v5',
        licenseType: 'WindowsServer',
        vmNics: [
          {
            nicId,
            selectionType: 'SelectedByUser',
            ipConfigs: [
              {
                ipConfigName: 'one',
                isPrimary: true,
                recoverySubnetName: 'default',
                recoveryStaticIPAddress: '10.10.0.9',
              },
            ],
          },
        ],
        providerSpecificDetails: {
          instanceType: 'HyperVReplicaAzure',
          targetVmTags: { owner: 'payroll' },
          targetAvailabilityZone: '2',
        },
      },
    },
    fast,
  );
  const after = changed.properties?.providerSpecificDetails as HyperVReplicaAzureReplicationDetails;
  assert.deepEqual(
    [
      after.recoveryAzureVmName,
      after.recoveryAzureVMSize,
      after.licenseType,
      after.targetAvailabilityZone,
      after.targetVmTags,
    ],
    ['web-dr', 'Standard_D2s_v5', 'WindowsServer', '2', { owner: 'payroll' }],
  );
  assert.equal(after.vmNics?.[0]?.ipConfigs?.[0]?.recoveryStaticIPAddress, '10.10.0.9');
  for (const [ip, code] of [
    [{ recoverySubnetName: 'nowhere' }, 'InvalidReference'],
    [{ recoveryStaticIPAddress: '10.10.0.2' }, 'InvalidParameter'],
    [{ recoveryStaticIPAddress: '10.11.0.9' }, 'InvalidParameter'],
  ] as const) {
    await assert.rejects(
      items.beginUpdateAndWait(
        ...item,
        { properties: { vmNics: [{ nicId, ipConfigs: [{ isPrimary: true, ...ip }] }] } },
        fast,
      ),
      refused(400, code),
    );
  }
  const sizes = await collect(client.targetComputeSizes.listByReplicationProtectedItems(...item));
  assert.ok(sizes.some(({ name }) => name === 'Standard_D2s_v5'));

  const failedOver = await items.beginUnplannedFailoverAndWait(
    ...item,
    {
      properties: {
        failoverDirection: 'PrimaryToRecovery',
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
      },
    },
    fast,
  );
  assert.equal(failedOver.properties?.activeLocation, 'Recovery');
  const address = await call('POST', '/understudy/v1/publicAddress', { itemId: changed.id });
  assert.equal(((await address.json()) as { privateIpAddress: string }).privateIpAddress, '10.10.0.9');
  await assert.rejects(
    items.beginUpdateAndWait(...item, { properties: { recoveryAzureVMName: 'other' } }, fast),
    refused(409, 'Conflict'),
  );
  await mappings.beginDeleteAndWait(...place, fast);
  await assert.rejects(mappings.get(...place), refused(404, 'ResourceNotFound'));
});

async function protect(vmName: string): Promise<Job | undefined> {
  const policy = await client.replicationPolicies.beginCreateAndWait(
    ...scope,
    'default',
    {
      properties: {
        providerSpecificInput: { instanceType: 'HyperVReplicaAzure', storageAccounts: [app.storageAccountId] },
      },
    },
    fast,
  );
  const place = [...scope, relay.fabricName, cloud] as const;
  await client.replicationProtectionContainerMappings.beginCreateAndWait(
    ...place,
    'default',
    { properties: { policyId: policy.id ?? '', targetProtectionContainerId: 'Microsoft Azure' } },
    fast,
  );
  const vms = await collect(client.replicationProtectableItems.listByReplicationProtectionContainers(...place));
  const vm = vms.find(({ properties }) => properties?.friendlyName === vmName);
  const enabling = client.replicationProtectedItems.beginCreateAndWait(
    ...place,
    vmName,
    {
      properties: {
        policyId: policy.id ?? '',
        protectableItemId: vm?.id ?? '',
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzure', vmName, osType: 'Windows' },
      },
    },
    fast,
  );
  const outcome = await enabling.then(
    () => 'enabled',
    () => 'failed',
  );
  if (outcome === 'failed') {
    const jobs = await collect(client.replicationJobs.list(...scope, { filter: "JobStatus eq 'Failed'" }));
    return jobs.find(({ properties }) => properties?.targetObjectName === vmName);
  }
  for (;;) {
    const item = await client.replicationProtectedItems.get(...place, vmName);
    const { protectionState, currentScenario } = item.properties ?? {};
    if (protectionState === 'Protected' && currentScenario?.scenarioName === 'None') return undefined;
    if (relay.failures.length > 0) throw relay.failures[0];
    await sleep(100);
  }
}

test('jobs are restarted and exported', async () => {
  const failed = await protect('app-01');
  assert.deepEqual(failed?.properties?.allowedActions, ['Restart']);
  const again = await client.replicationJobs.beginRestartAndWait(...scope, failed.name ?? '', fast);
  assert.notEqual(again.name, failed.name);
  assert.equal(again.properties?.customDetails?.affectedObjectDetails?.restartOf, failed.name);
  const second = await ended(again.name ?? '');
  // All that is wrong, at once: off, and with a network that is mapped to nothing.
  const codes = second.properties?.errors?.map(({ serviceErrorDetails }) => serviceErrorDetails?.code);
  assert.deepEqual([second.properties?.state, codes?.toSorted()], ['Failed', ['US3101', 'US3123']]);
  await assert.rejects(
    client.replicationJobs.beginResumeAndWait(...scope, failed.name ?? '', {}, fast),
    refused(409, 'US1025'),
  );

  for (const jobOutputType of ['Json', 'Excel']) {
    const job = await client.replicationJobs.beginExportAndWait(...scope, { jobOutputType, jobStatus: 'Failed' }, fast);
    const { blobUri, sasToken } = job.properties?.customDetails as ExportJobDetails;
    const text = await (await fetch(`${blobUri}?${sasToken}`)).text();
    const wanted: string[] = [failed.name ?? '', again.name ?? ''];
    if (jobOutputType === 'Json') {
      assert.deepEqual((JSON.parse(text) as Job[]).map(({ name }) => name ?? '').sort(), wanted.sort());
    } else {
      const [head, ...lines] = text.trimEnd().split('\r\n');
      assert.match(head ?? '', /^\uFEFF?"Name","Job"/);
      assert.equal(lines.length, 2);
      for (const name of wanted) assert.ok(text.includes(name));
    }
  }
});

test('alert settings, vault health, what the vault is asked beside its items', async () => {
  const alerts = client.replicationAlertSettings;
  const set = await alerts.create(...scope, 'defaultAlertSetting', {
    properties: { sendToOwners: 'DoNotSend', customEmailAddresses: ['ops@example.net'], locale: 'en-US' },
  });
  assert.deepEqual(set.properties?.customEmailAddresses, ['ops@example.net']);
  assert.deepEqual((await alerts.get(...scope, 'defaultAlertSetting')).properties, set.properties);
  assert.equal((await collect(alerts.list(...scope))).length, 1);
  await assert.rejects(
    alerts.create(...scope, 'defaultAlertSetting', { properties: { customEmailAddresses: ['nobody'] } }),
    refused(400, 'InvalidParameter'),
  );

  const health = await client.replicationVaultHealth.get(...scope);
  const counts = health.properties?.protectedItemsHealth;
  assert.equal(counts?.resourceCount, 2);
  const refreshed = await client.replicationVaultHealth.beginRefreshAndWait(...scope, fast);
  assert.deepEqual(refreshed.properties?.fabricsHealth, health.properties?.fabricsHealth);

  const names = (await collect(client.operations.list('local'))).map(({ name }) => name);
  assert.ok(names.includes('Microsoft.RecoveryServices/vaults/replicationPolicies/write'));
  const logical = await collect(client.replicationLogicalNetworks.listByReplicationFabrics(...scope, relay.fabricName));
  assert.equal(logical[0]?.properties?.friendlyName, 'corp');
  assert.equal(
    (await client.replicationLogicalNetworks.get(...scope, relay.fabricName, logical[0].name ?? '')).name,
    logical[0].name,
  );
  assert.ok(
    (await client.supportedOperatingSystemsOperations.get(...scope)).properties?.supportedOsList?.[0]?.supportedOs,
  );
  assert.deepEqual(await collect(client.replicationStorageClassifications.list(...scope)), []);
  const setting = await client.replicationVaultSetting.beginCreateAndWait(
    ...scope,
    'default',
    { properties: { migrationSolutionId: 'm' } },
    fast,
  );
  assert.equal(setting.properties?.migrationSolutionId, 'm');
  assert.equal((await collect(client.replicationVaultSetting.list(...scope)))[0]?.name, 'default');
});

test(
  'a fabric is checked, refreshed, and removed once nothing goes by it; then its vault',
  { timeout: 120_000 },
  async () => {
    const fabrics = client.replicationFabrics;
    const providers = client.replicationRecoveryServicesProviders;
    const item = [...scope, relay.fabricName, cloud, 'web-01'] as const;
    const site = await fabrics.beginCreateAndWait(...scope, 'Berlin', { properties: {} }, fast);
    assert.equal(site.properties?.customDetails?.instanceType, 'HyperVSite');
    assert.deepEqual(
      (await collect(fabrics.list(...scope))).map(({ name }) => name).sort(),
      ['Berlin', relay.fabricName].sort(),
    );
    await fabrics.beginDeleteAndWait(...scope, 'Berlin', fast);
    await fabrics.beginCheckConsistencyAndWait(...scope, relay.fabricName, fast);
    const [check] = (await collect(client.replicationJobs.list(...scope))).filter(
      ({ properties }) => properties?.scenarioName === 'ConfigurationCheck',
    );
    assert.equal(check?.properties?.tasks?.[0]?.customDetails?.instanceType, 'ConsistencyCheckTaskDetails');
    const [provider] = await collect(providers.listByReplicationFabrics(...scope, relay.fabricName));
    const refreshed = await providers.beginRefreshProviderAndWait(
      ...scope,
      relay.fabricName,
      provider?.name ?? '',
      fast,
    );
    assert.equal(refreshed.name, provider?.name);
    await assert.rejects(fabrics.beginPurgeAndWait(...scope, relay.fabricName, fast), refused(409, 'Conflict'));
    for (const name of ['web-01', 'app-01']) {
      await client.replicationProtectedItems.beginPurgeAndWait(...scope, relay.fabricName, cloud, name, fast);
    }
    await assert.rejects(client.replicationProtectedItems.get(...item), refused(404, 'ResourceNotFound'));
    await assert.rejects(fabrics.beginDeleteAndWait(...scope, relay.fabricName, fast), refused(409, 'Conflict'));
    assert.equal((await call('DELETE', `${vaultPath}?api-version=1`)).status, 409);
    await providers.beginPurgeAndWait(...scope, relay.fabricName, provider?.name ?? '', fast);
    assert.deepEqual(await collect(fabrics.list(...scope)), []);
    assert.equal((await call('GET', `${vaultPath}/extendedInformation/vaultExtendedInfo?api-version=1`)).status, 200);
    assert.equal((await call('DELETE', `${vaultPath}?api-version=1`)).status, 200);
    assert.equal((await call('DELETE', `${vaultPath}?api-version=1`)).status, 204);
    assert.equal((await call('GET', `${vaultPath}?api-version=1`)).status, 404);
  },
);

test('every answer was what the SDK’s own models say', () => {
  assert.deepEqual([...judge.faults], []);
  assert.ok(judge.judgedCount > 30, 'it saw the calls');
});
