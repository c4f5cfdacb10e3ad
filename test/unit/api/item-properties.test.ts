import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HyperVReplicaAzureReplicationDetails } from '@azure/arm-recoveryservices-siterecovery';
import { testVmName } from '../../../core/domain/failover/test-failover.js';
import type { ProtectedItem, TargetNic } from '../../../core/domain/protected-item/protected-item.js';
import type { SiteInventory } from '../../../core/domain/site/inventory.js';
import { findInconsistencies } from '../../../functions/jobs/consistency.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { list, read, replace } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { Harness, replicasAccount, sampleInventory, vaultPath, type TestRelay } from '../../support/api/harness.js';
import { ReplicatedItem, vaultId } from '../../support/api/replicated-items.js';
import { sampleItem } from '../../support/sample-item.js';

const networkId = `${vaultPath.split('/providers')[0]}/providers/Microsoft.Network/virtualNetworks/prod`;
const availabilitySetId = `${vaultPath.split('/providers')[0]}/providers/Microsoft.Compute/availabilitySets/sql`;
const nicIds = [1, 2, 3].map((number) => `41c00000-0000-4000-8000-00000000000${number}`);
const [first = '', second = '', third = ''] = nicIds;

/** A site whose sql-01 has three interfaces. */
function inventoryWith(nics: string[] = nicIds): SiteInventory {
  const inventory = sampleInventory();
  const [sql, ...others] = inventory.vms;
  assert(sql);
  const present = nics.map((nicId) => ({ nicId, macAddress: '00-15-5D-00-00-01', subnetName: 'servers' }));
  return { ...inventory, vms: [{ ...sql, nics: present }, ...others] };
}

async function opened(): Promise<{ harness: Harness; relay: TestRelay }> {
  const harness = new Harness();
  harness.app.cloudInventory.network = async (armId) => ({
    armId,
    name: 'prod',
    subnets: [
      { name: 'default', addressPrefix: '10.0.0.0/24' },
      { name: 'servers', addressPrefix: '10.0.1.0/24' },
    ],
  });
  return { harness, relay: await harness.registeredRelay(inventoryWith()) };
}

const target = { ...sampleItem().target, networkId };
const roles: TargetNic[] = nicIds.map((nicId, index) => ({ nicId, role: index === 0 ? 'primary' : 'secondary' }));
const put = (harness: Harness, relay: TestRelay, changes: Partial<ProtectedItem> = {}) =>
  ReplicatedItem.put(harness, relay, { target: { ...target, nics: roles }, ...changes });

const patch = (harness: Harness, { armId }: ReplicatedItem, properties: object): Promise<ApiResponse> =>
  harness.arm('PATCH', armId, { properties });

const codeOf = ({ body }: ApiResponse): string | undefined =>
  (body as { error: { details: { code: string }[] } }).error.details[0]?.code;

async function detailsOf(harness: Harness, armId: string): Promise<HyperVReplicaAzureReplicationDetails> {
  const { body } = await harness.arm('GET', armId);
  return (body as { properties: { providerSpecificDetails: HyperVReplicaAzureReplicationDetails } }).properties
    .providerSpecificDetails;
}

const ip = (nicId: string, config: object = {}, selectionType = 'SelectedByUser') => ({
  nicId,
  selectionType,
  ipConfigs: [config],
});

const rolesNow = async (item: ReplicatedItem): Promise<string[]> =>
  ((await item.now()).target.nics ?? []).map(({ nicId, role }) => `${nicIds.indexOf(nicId)} ${role}`);

test('interfaces have exactly one primary among those that are used; none named leaves them as they are', async () => {
  const { harness, relay } = await opened();
  const item = await put(harness, relay);
  const before = ['0 primary', '1 secondary', '2 secondary'];
  for (const [what, properties] of Object.entries({
    'all left out': { vmNics: nicIds.map((nicId) => ip(nicId, { isPrimary: true }, 'NotSelected')) },
    'none primary': { vmNics: [ip(first), ip(second)] },
    'two primary': { vmNics: [ip(first, { isPrimary: true }), ip(second, { isPrimary: true })] },
    'the primary one left out': {
      vmNics: [ip(first), ip(second), ip(third, {}, 'NotSelected')],
      selectedSourceNicId: third,
    },
    'one named twice': { vmNics: [ip(first, { isPrimary: true }), ip(first.toUpperCase())] },
    'two configurations': { vmNics: [{ nicId: first, ipConfigs: [{ isPrimary: true }, {}] }] },
    'one address twice': {
      vmNics: [
        ip(first, { isPrimary: true, recoveryStaticIPAddress: '10.0.1.9' }),
        ip(second, { recoveryStaticIPAddress: '10.0.1.9' }),
      ],
    },
  })) {
    const answer = await patch(harness, item, properties);
    assert.deepEqual([answer.status, codeOf(answer)], [400, 'US1005'], `${what}: ${JSON.stringify(answer.body)}`);
    assert.deepEqual(await rolesNow(item), before, what);
  }
  assert.equal((await patch(harness, item, { vmNics: [], recoveryAzureVMSize: 'Standard_D8s_v5' })).status, 202);
  assert.deepEqual(await rolesNow(item), before);
  assert.equal((await patch(harness, item, { selectedSourceNicId: second.toUpperCase() })).status, 202);
  assert.deepEqual((await rolesNow(item)).sort(), ['0 secondary', '1 primary', '2 secondary']);
  const chosen = [ip(third, { tfoSubnetName: 'drill', tfoStaticIPAddress: '10.9.0.9' }), ip(first, {}, 'NotSelected')];
  assert.equal((await patch(harness, item, { vmNics: chosen })).status, 202);
  assert.deepEqual(await rolesNow(item), ['2 primary', '0 notUsed'], 'one alone is the primary one');
  const shown = (await detailsOf(harness, item.armId)).vmNics?.map(({ selectionType, ipConfigs: [config] = [] }) => [
    selectionType,
    config?.isPrimary,
    config?.tfoSubnetName,
    config?.tfoStaticIPAddress,
  ]);
  assert.deepEqual(shown, [
    ['NotSelected', false, undefined, undefined],
    ['NotSelected', false, undefined, undefined],
    ['SelectedByUser', true, 'drill', '10.9.0.9'],
  ]);
});

test('a size that takes fewer interfaces than are used is refused, whichever of the two is changed', async () => {
  const { harness, relay } = await opened();
  const item = await put(harness, relay);
  const small = await patch(harness, item, { recoveryAzureVMSize: 'Standard_D2s_v5' });
  assert.deepEqual([small.status, codeOf(small)], [400, 'US1005']);
  assert.match(JSON.stringify(small.body), /takes 2 network interfaces, there are 3/);
  const two = { vmNics: [ip(first, { isPrimary: true }), ip(second)] };
  assert.equal((await patch(harness, item, { ...two, recoveryAzureVMSize: 'Standard_D2s_v5' })).status, 202);
  const three = await patch(harness, item, { vmNics: [...two.vmNics, ip(third)] });
  assert.deepEqual([three.status, codeOf(three)], [400, 'US1005']);
  assert.equal((await patch(harness, item, { licenseType: 'WindowsServer' })).status, 202);
  const chosenByUs = { vmNics: [...two.vmNics, ip(third)], recoveryAzureVMSize: '' };
  assert.equal((await patch(harness, item, chosenByUs)).status, 202);
  assert.equal((await item.now()).target.vmSize, undefined);
});

test('the sizes that are offered take the disks and the interfaces that are used', async () => {
  const { harness, relay } = await opened();
  const item = await put(harness, relay);
  const offered = async (): Promise<string[]> => {
    const { body } = await harness.arm('GET', `${item.armId}/targetComputeSizes`);
    return (body as { value: { name: string }[] }).value.map(({ name }) => name.replace('Standard_', ''));
  };
  assert.deepEqual(await offered(), ['B2s', 'D8s_v5', 'D16s_v5', 'D32s_v5']);
  assert.equal((await patch(harness, item, { vmNics: [ip(first)] })).status, 202);
  assert.equal((await offered()).length, 7);
});

test('an interface that was chosen and is gone shows in health, in what a failover would come to, and in a check', async () => {
  const { harness, relay } = await opened();
  const item = await put(harness, relay);
  const look = async () => {
    const { body } = await harness.arm('GET', item.armId);
    const { properties } = body as {
      properties: { replicationHealth: string; failoverHealth: string; healthErrors: { errorCode: string }[] };
    };
    const fabric = await read(harness.table, rows.fabric(vaultId, relay.fabricName));
    assert(fabric);
    const [found] = await findInconsistencies(harness.app, vaultId, fabric.value);
    const codes = properties.healthErrors.map(({ errorCode }) => errorCode);
    return [properties.replicationHealth, properties.failoverHealth, codes, found?.errorIds ?? []];
  };
  assert.deepEqual(await look(), ['Normal', 'Normal', [], []]);
  const made = '41c00000-0000-4000-8000-000000000009';
  const inventory = inventoryWith([made, second, third]);
  assert.equal((await relay.call('PUT', '/relay/v1/inventory', inventory)).status, 200);
  assert.deepEqual(await look(), ['Warning', 'Warning', ['US3077'], ['US3077']]);
  const seen = (await detailsOf(harness, item.armId)).vmNics ?? [];
  assert.deepEqual(
    seen.map(({ nicId, selectionType, ipConfigs }) => [nicId, selectionType, ipConfigs?.[0]?.isPrimary]),
    [
      [made, 'SelectedByUser', true],
      [second, 'SelectedByUser', false],
      [third, 'SelectedByUser', false],
    ],
  );
  assert.equal((await patch(harness, item, { selectedSourceNicId: second })).status, 202);
  assert.deepEqual(await look(), ['Normal', 'Normal', [], []], 'chosen anew');
  assert.deepEqual(await rolesNow(item), ['1 primary', '2 secondary']);
});

test('chosen subnets and addresses that the network has no more show in a check', async () => {
  const { harness, relay } = await opened();
  const nics: TargetNic[] = [
    { nicId: first, role: 'primary', subnetName: 'default', staticIpAddress: '10.0.0.9' },
    { nicId: second, role: 'secondary', subnetName: 'gone' },
    { nicId: third, role: 'notUsed', subnetName: 'gone too' },
  ];
  await put(harness, relay, { target: { ...target, nics } });
  const fabric = await read(harness.table, rows.fabric(vaultId, relay.fabricName));
  assert(fabric);
  const look = async () => (await findInconsistencies(harness.app, vaultId, fabric.value)).flatMap((vm) => vm.details);
  assert.deepEqual(await look(), [
    'the subnet gone that was chosen for a network interface is not in prod: it would be another',
  ]);
  harness.app.cloudInventory.network = async (armId) => ({
    armId,
    name: 'dr',
    subnets: [{ name: 'gone', addressPrefix: '10.7.0.0/24' }],
  });
  assert.deepEqual(await look(), [
    'the subnet default that was chosen for a network interface is not in dr: it would be another',
    'the address 10.0.0.9 that was chosen for a network interface cannot be had in gone (10.7.0.0/24)',
  ]);
});

test('two items are never given one virtual machine, not even at the same time; those that are show in a check', async () => {
  const { harness, relay } = await opened();
  const sql = await put(harness, relay);
  const web = await put(harness, relay, { itemName: 'web-01', target: { ...target, vmName: 'web-01' } });
  const taken = await patch(harness, web, { recoveryAzureVMName: 'SQL-01' });
  assert.deepEqual([taken.status, codeOf(taken)], [409, 'US3131']);
  assert.equal((await web.now()).target.vmName, 'web-01');
  const group = { instanceType: 'HyperVReplicaAzure', recoveryAzureV2ResourceGroupId: `${target.resourceGroupId}-2` };
  const elsewhere = { recoveryAzureVMName: 'sql-01', providerSpecificDetails: group };
  assert.equal((await patch(harness, web, elsewhere)).status, 202);
  const answers = await Promise.all(
    [sql, web].map((item) =>
      patch(harness, item, {
        recoveryAzureVMName: 'one',
        providerSpecificDetails: { ...group, recoveryAzureV2ResourceGroupId: target.resourceGroupId },
      }),
    ),
  );
  assert.deepEqual(answers.map(({ status }) => status).sort(), [202, 409]);

  await put(harness, relay, { itemId: 'twin' as never, target: (await sql.now()).target });
  await put(harness, relay, { itemId: 'twin-2' as never, target: (await web.now()).target });
  const fabric = await read(harness.table, rows.fabric(vaultId, relay.fabricName));
  assert(fabric);
  const found = await findInconsistencies(harness.app, vaultId, fabric.value);
  assert.deepEqual(
    found.map(({ errorIds }) => errorIds),
    Array.from({ length: 4 }, () => ['US3131']),
  );
});

test('the name of an item’s test VM is kept from other items too, also where it is cut to what Azure takes', async () => {
  const { harness, relay } = await opened();
  await put(harness, relay);
  const web = await put(harness, relay, { itemName: 'web-01', target: { ...target, vmName: 'web-01' } });
  const taken = await patch(harness, web, { recoveryAzureVMName: `${target.vmName}-test` });
  assert.deepEqual([taken.status, codeOf(taken)], [409, 'US3131']);
  assert.equal((await patch(harness, web, { recoveryAzureVMName: 'w'.repeat(63) })).status, 202);
  assert.equal(testVmName(await web.now()), `${'w'.repeat(59)}-test`);
});

test('a mapped network that a client sends back goes on to be that of the mapping', async () => {
  const { harness, relay } = await opened();
  const { networkId: _, ...unnamed } = target;
  const sql = await put(harness, relay, { target: { ...unnamed, nics: roles } });
  const fabric = await read(harness.table, rows.fabric(vaultId, relay.fabricName));
  assert(fabric);
  const [nic] = relay.inventory.vms[0]?.nics ?? [];
  assert(nic);
  const inventory = inventoryWith();
  inventory.vms[0]?.nics.forEach((each) => Object.assign(each, { networkId: 'vm-network' }));
  const networkMappings = [
    { mappingName: 'm', networkName: 'vm-network', recoveryNetworkId: networkId, createdAt: 'now' },
  ];
  await harness.table.transact(fabric.ref.partition, [
    replace(fabric, { ...fabric.value, inventory, networkMappings }),
  ]);
  const shown = (await detailsOf(harness, sql.armId)).selectedRecoveryAzureNetworkId;
  assert.equal(shown, networkId);
  const answer = await patch(harness, sql, {
    recoveryAzureVMSize: 'Standard_D8s_v5',
    selectedRecoveryAzureNetworkId: shown,
  });
  assert.equal(answer.status, 202);
  assert.deepEqual(
    [(await sql.now()).target.vmSize, (await sql.now()).target.networkId],
    ['Standard_D8s_v5', undefined],
  );
  assert.equal((await patch(harness, sql, { selectedRecoveryAzureNetworkId: `${networkId}-2` })).status, 202);
  assert.equal((await sql.now()).target.networkId, `${networkId}-2`);
});

test('an address that a failover of another item would take is refused with its name, and free in another network', async () => {
  const { harness, relay } = await opened();
  const sql = await put(harness, relay);
  const asked = { vmNics: [ip(first, { isPrimary: true, recoveryStaticIPAddress: '10.0.1.9' })] };
  await put(harness, relay, {
    ...{ itemId: 'twin' as never, vmName: 'app-01' },
    target: { ...target, vmName: 'app-01', nics: [{ nicId: first, role: 'primary', staticIpAddress: '10.0.1.9' }] },
  });
  const refused = await patch(harness, sql, asked);
  assert.deepEqual([refused.status, codeOf(refused)], [400, 'US1005']);
  assert.match(JSON.stringify(refused.body), /10\.0\.1\.9 is another interface’s, of app-01/);
  const elsewhere = { ...asked, selectedRecoveryAzureNetworkId: `${networkId}-2` };
  assert.equal((await patch(harness, sql, elsewhere)).status, 202);
});

test('a source that is larger than what is chosen by itself shows, until a size is chosen', async () => {
  const { harness, relay } = await opened();
  const sql = await put(harness, relay);
  const large = inventoryWith();
  Object.assign(large.vms[0] ?? {}, { cpuCount: 64, memoryMegabytes: 256 * 1024 });
  const fabric = await read(harness.table, rows.fabric(vaultId, relay.fabricName));
  assert(fabric);
  await harness.table.transact(fabric.ref.partition, [replace(fabric, { ...fabric.value, inventory: large })]);
  const shown = async () => {
    const { healthErrors, failoverHealth } = (
      (await harness.arm('GET', sql.armId)).body as {
        properties: { healthErrors: { errorCode: string }[]; failoverHealth: string };
      }
    ).properties;
    return [failoverHealth, healthErrors.some(({ errorCode }) => errorCode === 'US3076')];
  };
  assert.deepEqual(await shown(), ['Warning', true]);
  assert.equal((await patch(harness, sql, { recoveryAzureVMSize: 'Standard_E64s_v5' })).status, 202);
  assert.deepEqual(await shown(), ['Normal', false]);
});

test('where Azure runs no machine without a network, an item that has none shows in a check', async () => {
  const { harness, relay } = await opened();
  const { networkId: _, ...unnamed } = target;
  await put(harness, relay, { target: { ...unnamed, nics: roles } });
  const fabric = await read(harness.table, rows.fabric(vaultId, relay.fabricName));
  assert(fabric);
  const look = async () => (await findInconsistencies(harness.app, vaultId, fabric.value)).flatMap((vm) => vm.errorIds);
  assert.deepEqual(await look(), []);
  harness.app.compute.capabilities.runsWithoutNetwork = false;
  assert.deepEqual(await look(), ['US6066']);
});

const some = (...names: string[]): Record<string, string> => Object.fromEntries(names.map((name) => [name, 'value']));

/** What Understudy does not do, by the place in the body. */
const notDone: [place: 'properties' | 'details' | 'nic' | 'ip', name: string, value: unknown][] = [
  ['properties', 'selectedTfoAzureNetworkId', networkId],
  ['properties', 'enableRdpOnTargetOption', 'Always'],
  ['details', 'targetProximityPlacementGroupId', '/subscriptions/s/p'],
  ['details', 'diskIdToDiskEncryptionMap', { d: 'set' }],
  ['details', 'sqlServerLicenseType', 'AHUB'],
  ['details', 'vmDisks', [{ diskId: 'd' }]],
  ['nic', 'recoveryNetworkSecurityGroupId', '/subscriptions/s/n'],
  ['nic', 'enableAcceleratedNetworkingOnRecovery', true],
  ['nic', 'recoveryNicName', 'nic'],
  ['ip', 'recoveryPublicIPAddressId', '/subscriptions/s/a'],
  ['ip', 'recoveryLBBackendAddressPoolIds', ['pool']],
];

test('what is not done is refused by its place, and what asks for nothing of it is taken', async () => {
  const { harness, relay } = await opened();
  const item = await put(harness, relay);
  const ask = (place: string, name: string, value: unknown): Promise<ApiResponse> => {
    const at = (here: string) => (here === place ? { [name]: value } : {});
    return patch(harness, item, {
      vmNics: [{ nicId: first, ipConfigs: [{ isPrimary: true, ...at('ip') }], ...at('nic') }],
      providerSpecificDetails: { instanceType: 'HyperVReplicaAzure', ...at('details') },
      ...at('properties'),
    });
  };
  for (const [place, name, value] of notDone) {
    const answer = await ask(place, name, value);
    assert.deepEqual([answer.status, codeOf(answer)], [400, 'US1045'], name);
    assert.match(JSON.stringify(answer.body), new RegExp(`${name}: not supported`));
    for (const nothing of [null, '', false, [], {}]) assert.equal((await ask(place, name, nothing)).status, 202, name);
  }
  for (const [name, value] of [
    ['enableRdpOnTargetOption', 'never'],
    ['sqlServerLicenseType', 'NoLicenseType'],
  ] as const) {
    assert.equal((await ask(name === 'sqlServerLicenseType' ? 'details' : 'properties', name, value)).status, 202);
  }
});

test('keys and upgrades that a failover would not use are refused', async () => {
  const { harness, relay } = await opened();
  const item = await put(harness, relay);
  for (const [operation, name] of [
    ['unplannedFailover', 'primaryKekCertificatePfx'],
    ['plannedFailover', 'osUpgradeVersion'],
    ['testFailover', 'osUpgradeVersion'],
  ]) {
    const providerSpecificDetails = { instanceType: 'HyperVReplicaAzure', [name ?? '']: 'given' };
    const answer = await harness.arm('POST', `${item.armId}/${operation}`, { properties: { providerSpecificDetails } });
    assert.deepEqual([answer.status, codeOf(answer)], [400, 'US1045'], operation);
  }
  assert.deepEqual(harness.started, []);
});

async function enable(harness: Harness, relay: TestRelay, details: object): Promise<ApiResponse> {
  const [vm] = relay.inventory.vms;
  assert(vm);
  const container = `${vaultPath}/replicationFabrics/${relay.fabricName}/replicationProtectionContainers/${vm.cloudId}`;
  return harness.arm('PUT', `${container}/replicationProtectedItems/sql-01`, {
    properties: {
      policyId: `${vaultPath}/replicationPolicies/default`,
      protectableItemId: `${container}/replicationProtectableItems/${vm.vmId}`,
      providerSpecificDetails: {
        instanceType: 'HyperVReplicaAzure',
        targetStorageAccountId: replicasAccount,
        ...details,
      },
    },
  });
}

test('what is asked for when protection is enabled is kept and shown', async () => {
  const { harness, relay } = await opened();
  const asked = {
    licenseType: 'WindowsServer',
    targetAvailabilityZone: '2',
    targetVmTags: some('owner'),
    targetNicTags: some('net'),
    targetManagedDiskTags: some('tier'),
    targetVmSize: 'Standard_D8s_v5',
    enableRdpOnTargetOption: 'Never',
    useManagedDisks: 'false',
    useManagedDisksForReplication: 'false',
    sqlServerLicenseType: 'NotSpecified',
  };
  assert.equal((await enable(harness, relay, asked)).status, 202);
  const [item] = (await list(harness.table, rows.items(vaultId))).map(({ value }) => value);
  assert.deepEqual(item?.target.nics, roles, 'all interfaces that it has, one primary');
  assert.deepEqual(item.source, relay.inventory.vms[0]);
  const shown = await detailsOf(
    harness,
    `${vaultPath}/replicationFabrics/${relay.fabricName}/replicationProtectionContainers/${item.containerName}/replicationProtectedItems/sql-01`,
  );
  assert.deepEqual(
    [shown.licenseType, shown.targetAvailabilityZone, shown.recoveryAzureVMSize, shown.enableRdpOnTargetOption],
    ['WindowsServer', '2', 'Standard_D8s_v5', 'Never'],
  );
  assert.deepEqual(
    [shown.targetVmTags, shown.targetNicTags, shown.targetManagedDiskTags, shown.useManagedDisks],
    [some('owner'), some('net'), some('tier'), 'true'],
  );
});

test('what cannot be had when protection is enabled is refused, and no item is made', async () => {
  for (const [details, code] of [
    [{ targetProximityPlacementGroupId: '/subscriptions/s/p' }, 'US1045'],
    [{ diskEncryptionSetId: '/subscriptions/s/d' }, 'US1045'],
    [{ disksToIncludeForManagedDisks: [{ diskId: 'd' }] }, 'US1045'],
    [{ useManagedDisksForReplication: 'True' }, 'US1045'],
    [{ seedManagedDiskTags: some('seed') }, 'US1045'],
    [{ diskType: 'Premium_LRS' }, 'US1045'],
    [{ enableRdpOnTargetOption: 'OnlyOnTestFailover' }, 'US1045'],
    [{ sqlServerLicenseType: 'PAYG' }, 'US1045'],
    [{ targetVmSize: 'large' }, 'US1005'],
    [{ targetAzureV2ResourceGroupId: 'rg-dr' }, 'US1005'],
    [{ targetAzureV2ResourceGroupId: '/subscriptions/s/resourceGroups/dr/' }, 'US1005'],
    [{ targetAvailabilitySetId: '/subscriptions/s/a' }, 'US1005'],
    [{ licenseType: 'WindowsServer', osType: 'Linux' }, 'US1005'],
    [{ targetAvailabilityZone: '2', targetAvailabilitySetId: availabilitySetId }, 'US1005'],
    [{ targetVmTags: some('understudy-record-0') }, 'US1005'],
    [{ targetNicTags: some(...Array.from({ length: 16 }, (_, index) => `tag-${index}`)) }, 'US1005'],
    [{ targetVmTags: Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`t${i}`, '日'.repeat(90)])) }, 'US1005'],
    [{ targetVmTags: Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`t${i}`, 'x'.repeat(255)])) }, 'US1005'],
  ] as const) {
    const { harness, relay } = await opened();
    const answer = await enable(harness, relay, details);
    assert.deepEqual([answer.status, codeOf(answer)], [400, code], JSON.stringify([details, answer.body]));
    assert.deepEqual(await list(harness.table, rows.items(vaultId)), []);
  }
});
