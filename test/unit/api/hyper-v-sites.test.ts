import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { sendAlerts } from '../../../functions/timers/alerting.js';
import { Harness, replicasAccount, sampleInventory, TestRelay, vaultPath } from '../../support/api/harness.js';

const sitePath = `${vaultPath}/replicationFabrics/Berlin`;
const hosts = sampleInventory();
const otherHosts = { ...sampleInventory(), vmmServerId: '7e000000-0000-4000-8000-000000000002' };

const codeOf = (answer: ApiResponse): string =>
  (answer.body as { error: { details: { code: string }[] } }).error.details[0]?.code ?? '';
const relayCodeOf = (answer: ApiResponse): string => (answer.body as { error: { code: string } }).error.code;

async function withSite(): Promise<Harness> {
  const harness = new Harness();
  await harness.putVault();
  assert.equal((await harness.arm('PUT', sitePath, { properties: {} })).status, 202);
  return harness;
}

const propertiesOf = async (harness: Harness, path: string) =>
  ((await harness.arm('GET', path)).body as { properties: Record<string, unknown> }).properties;
const namesOf = async (harness: Harness, path: string) =>
  ((await harness.arm('GET', path)).body as { value: { name: string }[] }).value.map(({ name }) => name);

async function registerInto(harness: Harness, siteName: string, inventory = hosts) {
  const relay = new TestRelay(harness, inventory);
  const answer = await relay.register((await harness.drawKey(vaultPath, siteName)).secret);
  return { relay, answer };
}

test('a Hyper-V site is created, listed without a relay, and removed', async () => {
  const harness = await withSite();
  const created = harness.started[0];
  assert.equal(created?.orchestrator, 'runOperation');
  assert.deepEqual(await namesOf(harness, `${vaultPath}/replicationFabrics`), ['Berlin']);
  const properties = await propertiesOf(harness, sitePath);
  assert.deepEqual(properties.customDetails, { instanceType: 'HyperVSite', hyperVHosts: [] });
  assert.deepEqual([properties.friendlyName, properties.health], ['Berlin', 'Normal']);
  assert.deepEqual(await namesOf(harness, `${sitePath}/replicationProtectionContainers`), []);
  assert.deepEqual(await namesOf(harness, `${sitePath}/replicationRecoveryServicesProviders`), []);
  assert.deepEqual(await namesOf(harness, `${vaultPath}/replicationRecoveryServicesProviders`), []);

  const again = await harness.arm('PUT', sitePath.replace('Berlin', 'BERLIN'), {
    properties: { customDetails: { instanceType: 'HyperVSite' } },
  });
  assert.equal(again.status, 202);
  assert.deepEqual(await propertiesOf(harness, sitePath), properties);
  assert.equal((await harness.arm('DELETE', vaultPath)).status, 409);
  assert.equal((await harness.arm('POST', `${sitePath}/remove`)).status, 202);
  assert.equal((await harness.arm('GET', sitePath)).status, 404);
  assert.equal((await harness.arm('PUT', sitePath, undefined)).status, 202);
  assert.equal((await harness.arm('DELETE', sitePath)).status, 202);
  assert.deepEqual(await namesOf(harness, `${vaultPath}/replicationFabrics`), []);
});

test('other fabrics are not created: VMM servers come by registration', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  for (const instanceType of ['VMM', 'Azure', 'VMwareV2', 'InMageRcm']) {
    const answer = await harness.arm('PUT', sitePath, { properties: { customDetails: { instanceType } } });
    assert.deepEqual([answer.status, codeOf(answer)], [400, 'US1061'], instanceType);
  }
  const ofServer = await harness.arm('PUT', `${vaultPath}/replicationFabrics/${relay.fabricName}`, {});
  assert.deepEqual([ofServer.status, codeOf(ofServer)], [400, 'US1061']);
  for (const name of ['a'.repeat(64), '-x', 'a%20b']) {
    const answer = await harness.arm('PUT', `${vaultPath}/replicationFabrics/${name}`, {});
    assert.deepEqual([answer.status, codeOf(answer)], [400, 'US1005'], name);
  }
  assert.deepEqual(await namesOf(harness, `${vaultPath}/replicationFabrics`), [relay.fabricName]);
});

test('a relay registers into a site by its key, and its virtual machines are protected there', async () => {
  const harness = await withSite();
  const { relay, answer } = await registerInto(harness, 'berlin');
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.equal(relay.fabricName, 'Berlin');
  const properties = await propertiesOf(harness, sitePath);
  assert.equal((properties.customDetails as { hyperVHosts: { name: string }[] }).hyperVHosts[0]?.name, 'host-01');
  assert.equal(properties.friendlyName, 'Berlin');
  const provider = await propertiesOf(harness, `${sitePath}/replicationRecoveryServicesProviders/${relay.relayId}`);
  assert.equal(provider.fabricType, 'HyperVSite');
  const [container] = await namesOf(harness, `${sitePath}/replicationProtectionContainers`);
  const containerPath = `${sitePath}/replicationProtectionContainers/${container}`;
  assert.equal((await propertiesOf(harness, containerPath)).fabricType, 'HyperVSite');
  const policyId = `${vaultPath}/replicationPolicies/gold`;
  const written = [
    await harness.arm('PUT', policyId, {
      properties: { providerSpecificInput: { instanceType: 'HyperVReplicaAzure' } },
    }),
    await harness.arm('PUT', `${containerPath}/replicationProtectionContainerMappings/gold`, {
      properties: { policyId, targetProtectionContainerId: 'Microsoft Azure', providerSpecificInput: {} },
    }),
    await harness.arm('PUT', `${containerPath}/replicationProtectedItems/sql-01`, {
      properties: {
        policyId,
        protectableItemId: `${containerPath}/replicationProtectableItems/${hosts.vms[0]?.vmId}`,
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzure', targetStorageAccountId: replicasAccount },
      },
    }),
  ];
  for (const each of written) assert.equal(each.status, 202, JSON.stringify(each.body));
  const inventory = { ...hosts, vms: hosts.vms.slice(1) };
  assert.equal((await relay.call('PUT', '/relay/v1/inventory', inventory)).status, 200);
  assert.equal(relayCodeOf(await relay.call('PUT', '/relay/v1/inventory', otherHosts)), 'US1107');
  assert.equal((await harness.arm('POST', `${sitePath}/remove`)).status, 409);

  const replaced = await registerInto(harness, 'Berlin');
  assert.equal(replaced.answer.status, 200);
  assert.equal(relayCodeOf(await relay.call('GET', '/relay/v1/assignments')), 'US1103');
  const assignments = (await replaced.relay.call('GET', '/relay/v1/assignments')).body as { assignments: object[] };
  assert.equal(assignments.assignments.length, 1);
});

test('a site takes a relay of its own hosts alone, and none once it is gone', async () => {
  const harness = await withSite();
  const late = await harness.drawKey(vaultPath, 'Berlin');
  await registerInto(harness, 'Berlin');
  const other = await registerInto(harness, 'Berlin', otherHosts);
  assert.deepEqual([other.answer.status, relayCodeOf(other.answer)], [409, 'US1109']);
  assert.equal((await harness.arm('POST', `${sitePath}/remove`)).status, 202);
  const tooLate = await new TestRelay(harness).register(late.secret);
  assert.deepEqual([tooLate.status, relayCodeOf(tooLate)], [401, 'US1103']);
  assert.deepEqual(await namesOf(harness, `${vaultPath}/replicationFabrics`), []);
  const unknown = await harness.arm('POST', '/understudy/v1/registrationKeys', {
    vaultId: vaultPath,
    siteName: 'Paris',
  });
  assert.deepEqual([unknown.status, codeOf(unknown)], [404, 'US1006']);
  const server = await harness.registeredRelay();
  const noSite = await harness.arm('POST', '/understudy/v1/registrationKeys', {
    vaultId: vaultPath,
    siteName: server.fabricName,
  });
  assert.equal(noSite.status, 404);
});

test('a site without a relay is missed by nobody', async () => {
  const harness = await withSite();
  const alerts = { properties: { customEmailAddresses: ['ann@example.com'] } };
  await harness.arm('PUT', `${vaultPath}/replicationAlertSettings/defaultAlertSetting`, alerts);
  const mails: unknown[] = [];
  Object.assign(harness.app, { mailer: { send: async (mail: unknown) => mails.push(mail) } });
  await sendAlerts(harness.app);
  harness.now = harness.now.add({ hours: 5 });
  await sendAlerts(harness.app);
  assert.deepEqual(mails, []);
  assert.equal((await propertiesOf(harness, sitePath)).health, 'Normal');
});
