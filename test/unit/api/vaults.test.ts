import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asVaultId } from '../../../core/domain/ids.js';
import { insert, list, read } from '../../../core/records/access.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import type { AssignmentsResponse } from '../../../core/domain/relay-protocol/wire.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { housekeeping } from '../../../functions/timers/housekeeping.js';
import { Harness, replicasAccount, sampleInventory, TestRelay, vaultPath } from '../../support/api/harness.js';

const vaultId = asVaultId(vaultPath);
const policyPath = `${vaultPath}/replicationPolicies/gold`;
const policyBody = { properties: { providerSpecificInput: { instanceType: 'HyperVReplicaAzure' } } };

const detailCodeOf = (answer: ApiResponse): string | undefined =>
  (answer.body as { error?: { details?: { code: string }[] } } | undefined)?.error?.details?.[0]?.code;

/** Runs `other` as a whole just before the `at`-th call that `first` makes of the table; false when `first` makes fewer. */
async function interleave(harness: Harness, at: number, first: () => Promise<unknown>, other: () => Promise<unknown>) {
  const { faults } = harness.sharedTable;
  const around = faults.around.bind(faults);
  let callCount = 0;
  let otherRan = false;
  faults.around = async (operation, effect) => {
    if (!otherRan && ++callCount === at) {
      otherRan = true;
      await other();
    }
    return around(operation, effect);
  };
  try {
    await first();
  } finally {
    faults.around = around;
  }
  return otherRan;
}

/** A vault stands with its place in the index and without a mark, or nothing of it is left but, for an hour, that place. */
async function assertWhole(harness: Harness, message: string): Promise<void> {
  const vault = await read(harness.table, rows.vault(vaultId));
  assert.equal(vault?.value.deleting, undefined, message);
  await housekeeping(harness.app);
  const index = await read(harness.table, rows.vaultIndex(vaultId));
  const others = (await list(harness.table, { partition: vaultPartition(vaultId), prefix: '' })).filter(
    ({ ref }) => ref.rowKey !== rows.vault(vaultId).rowKey,
  );
  if (vault === undefined) {
    assert.deepEqual(
      others.map(({ ref }) => ref.rowKey),
      [],
      message,
    );
    assert.equal(index, undefined, message);
  } else {
    assert.notEqual(index, undefined, message);
  }
}

interface Actor {
  name: string;
  act: (harness: Harness, secret: string) => Promise<ApiResponse>;
}
const remove: Actor = { name: 'DELETE', act: (harness) => harness.arm('DELETE', vaultPath) };
const create: Actor = { name: 'PUT', act: (harness) => harness.arm('PUT', vaultPath, { location: 'west' }) };
const writePolicy: Actor = {
  name: 'PUT of a policy',
  act: (harness) => harness.arm('PUT', policyPath, policyBody),
};
const writers: Actor[] = [
  create,
  writePolicy,
  remove,
  { name: 'registration', act: (harness, secret) => new TestRelay(harness, sampleInventory()).register(secret) },
  {
    name: 'PUT of the alert settings',
    act: (harness) =>
      harness.arm('PUT', `${vaultPath}/replicationAlertSettings/defaultAlertSetting`, {
        properties: { customEmailAddresses: ['ann@example.com'] },
      }),
  },
  {
    name: 'PUT of the replication settings',
    act: (harness) => harness.arm('PUT', `/understudy/v1/replicationSettings?vaultId=${vaultPath}`, {}),
  },
  {
    name: 'refresh of the health',
    act: (harness) => harness.arm('POST', `${vaultPath}/replicationVaultHealth/default/refresh`),
  },
  {
    name: 'DELETE, PUT and PUT of a policy',
    act: async (harness, secret) => {
      await remove.act(harness, secret);
      await create.act(harness, secret);
      return writePolicy.act(harness, secret);
    },
  },
];

test('each of the writers that meet a deletion below is taken by a vault that stands', async () => {
  for (const { name, act } of writers) {
    const harness = new Harness();
    await harness.putVault();
    const { secret } = await harness.drawKey();
    const answer = await act(harness, secret);
    assert(answer.status < 300, `${name}: ${JSON.stringify(answer.body)}`);
  }
});

test('a vault that is deleted while something is written into it is whole or gone, wherever they meet', async () => {
  for (const writer of writers) {
    for (const [first, other] of [
      [remove, writer],
      [writer, remove],
    ] as const) {
      for (let at = 1; ; at++) {
        const harness = new Harness();
        await harness.putVault();
        await writePolicy.act(harness, '');
        const { secret } = await harness.drawKey();
        const didMeet = await interleave(
          harness,
          at,
          () => first.act(harness, secret),
          () => other.act(harness, secret),
        );
        await assertWhole(harness, `${other.name} before call ${at} of ${first.name}`);
        if (!didMeet) break;
      }
    }
  }
});

test('a vault that was made anew while an older deletion still ran keeps what was written into it', async () => {
  for (let at = 1; ; at++) {
    const harness = new Harness();
    await harness.putVault();
    await writePolicy.act(harness, '');
    let policyStatus = 0;
    const didMeet = await interleave(
      harness,
      at,
      () => remove.act(harness, ''),
      async () => {
        for (const actor of [remove, create, writePolicy]) await actor.act(harness, '');
        policyStatus = (await harness.arm('GET', policyPath)).status;
      },
    );
    if (!didMeet) break;
    assert.equal(policyStatus, 200);
    // Before its first write the outer deletion has not begun: it is then one of the new vault.
    const vault = await read(harness.table, rows.vault(vaultId));
    if (vault !== undefined) assert.equal((await harness.arm('GET', policyPath)).status, 200, `at call ${at}`);
  }
});

test('a deletion that broke off refuses writes, and is carried to its end by a repeat or within the hour', async () => {
  for (const finish of ['repeat', 'housekeeping']) {
    for (const when of ['beforeEffect', 'afterEffect'] as const) {
      for (let skip = 0; ; skip++) {
        const harness = new Harness();
        await harness.putVault();
        const { secret } = await harness.drawKey();
        for (let from = 0; from < 250; from += 50) {
          await harness.table.transact(
            vaultPartition(vaultId),
            Array.from({ length: 50 }, (_, index) => insert(rows.event(vaultId, `e-${from + index}`), {} as never)),
          );
        }
        harness.sharedTable.faults.fail('transact', when, { skip });
        const { status } = await remove.act(harness, '');
        if (status !== 500) break;
        harness.sharedTable.faults.clear();
        const vault = await harness.arm('GET', vaultPath);
        if (vault.status === 200) {
          const { provisioningState } = (vault.body as { properties: { provisioningState: string } }).properties;
          if (provisioningState === 'Deleting') {
            const refused = [
              await harness.arm('PUT', vaultPath, { location: 'west' }),
              await harness.arm('PUT', policyPath, policyBody),
              await harness.arm('POST', '/understudy/v1/registrationKeys', { vaultId: vaultPath }),
            ];
            for (const answer of refused) assert.deepEqual([answer.status, detailCodeOf(answer)], [409, 'US1060']);
            const registration = await new TestRelay(harness).register(secret);
            assert.deepEqual([registration.status, (registration.body as Refusal).error.code], [401, 'US1103']);
          } else {
            // It died before its mark was written: nothing has happened.
            await remove.act(harness, '');
          }
        }
        if (finish === 'repeat') await remove.act(harness, '');
        else await housekeeping(harness.app);
        assert.equal(await read(harness.table, rows.vault(vaultId)), undefined);
        await assertWhole(harness, `${when} transaction ${skip}, finished by ${finish}`);
        assert.equal((await harness.arm('PUT', vaultPath, { location: 'west' })).status, 201);
      }
    }
  }
});

type Refusal = { error: { code: string } };

test('housekeeping leaves a vault that stands as it is', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  await writePolicy.act(harness, '');
  await housekeeping(harness.app);
  assert.equal((await harness.arm('GET', policyPath)).status, 200);
  assert.equal((await relay.call('GET', '/relay/v1/assignments')).status, 200);
  assert.deepEqual(harness.logged, []);
});

test('registration keys are forgotten five days after they expired, used ones as well', async () => {
  const harness = new Harness();
  await harness.putVault();
  const used = await harness.drawKey();
  await harness.drawKey();
  const relay = new TestRelay(harness);
  const answer = await relay.register(used.secret);
  const keyCount = async () => (await list(harness.table, rows.registrationKeys())).length;
  harness.systemNow = harness.systemNow.add({ hours: 240 }).subtract({ seconds: 1 });
  await housekeeping(harness.app);
  assert.equal(await keyCount(), 2);
  assert.deepEqual((await relay.register(used.secret)).body, answer.body);
  harness.systemNow = harness.systemNow.add({ seconds: 1 });
  await housekeeping(harness.app);
  assert.equal(await keyCount(), 0);
  assert.equal((await relay.call('GET', '/relay/v1/assignments')).status, 200);
});

test('a registration key dies with its vault: a later one of the same name takes no relay by it', async () => {
  const harness = new Harness();
  await harness.putVault();
  const [unused, used] = [await harness.drawKey(), await harness.drawKey()];
  const relay = new TestRelay(harness);
  await relay.register(used.secret);
  await harness.arm('DELETE', `${vaultPath}/replicationFabrics/${relay.fabricName}`);
  assert.equal((await remove.act(harness, '')).status, 200);
  harness.now = harness.now.add({ seconds: 1 });
  assert.equal((await create.act(harness, '')).status, 201);
  for (const [who, key] of [
    [new TestRelay(harness), unused],
    [relay, used],
  ] as const) {
    const answer = await who.register(key.secret);
    assert.deepEqual([answer.status, (answer.body as Refusal).error.code], [401, 'US1103']);
  }
  const later = await harness.registeredRelay();
  assert.equal(later.fabricName, relay.fabricName);
  const heartbeat = await relay.call('POST', '/relay/v1/heartbeat', {
    relayVersion: '1',
    memoryRssBytes: 1,
    items: [],
  });
  assert.equal((heartbeat.body as Refusal).error.code, 'US1103');
  assert.equal((await later.call('GET', '/relay/v1/assignments')).status, 200);
});

test('vaults side by side: what a relay reports, and what is protected, stays in its own vault', async () => {
  const harness = new Harness();
  // The same site in both, so that fabrics, clouds and networks have the same names.
  const sides = [];
  for (const [vaultName, vmName] of [
    ['first', 'sql-01'],
    ['second', 'web-01'],
  ] as const) {
    const path = vaultPath.replace('/vaults/local', `/vaults/${vaultName}`);
    await harness.arm('PUT', path, { location: 'local' });
    const relay = new TestRelay(harness);
    await relay.register((await harness.drawKey(path)).secret);
    const [registration] = await list(harness.table, rows.jobs(asVaultId(path)));
    assert.equal(registration?.value.scenarioName, 'RegisterDra');
    const { vms, clouds } = relay.inventory;
    const vm = vms.find(({ name }) => name === vmName);
    const container = `${path}/replicationFabrics/${relay.fabricName}/replicationProtectionContainers/${clouds[0]?.cloudId}`;
    const policyId = `${path}/replicationPolicies/${vaultName}`;
    const startedBefore = harness.started.length;
    const written = [
      await harness.arm('PUT', policyId, policyBody),
      await harness.arm('PUT', `${container}/replicationProtectionContainerMappings/${vaultName}`, {
        properties: { policyId, targetProtectionContainerId: 'Microsoft Azure', providerSpecificInput: {} },
      }),
      await harness.arm('PUT', `${container}/replicationProtectedItems/${vmName}`, {
        properties: {
          policyId,
          protectableItemId: `${container}/replicationProtectableItems/${vm?.vmId}`,
          providerSpecificDetails: { instanceType: 'HyperVReplicaAzure', targetStorageAccountId: replicasAccount },
        },
      }),
    ];
    for (const answer of written) assert.equal(answer.status, 202, JSON.stringify(answer.body));
    sides.push({
      vaultName,
      vmName,
      path,
      relay,
      jobIds: [
        registration.value.jobName as string,
        ...harness.started.slice(startedBefore).map(({ instanceId }) => instanceId),
      ],
    });
  }
  const [first, second] = sides;
  assert(first !== undefined && second !== undefined);
  assert.equal(first.relay.fabricName, second.relay.fabricName);
  for (const [own, other] of [
    [first, second],
    [second, first],
  ] as const) {
    const namesOf = async (collection: string) =>
      ((await harness.arm('GET', `${own.path}/${collection}`)).body as { value: { name: string }[] }).value.map(
        ({ name }) => name,
      );
    assert.deepEqual(await namesOf('replicationProtectedItems'), [own.vmName]);
    assert.deepEqual(await namesOf('replicationPolicies'), [own.vaultName]);
    assert.deepEqual(await namesOf('replicationProtectionContainerMappings'), [own.vaultName]);
    assert.deepEqual(await namesOf('replicationRecoveryServicesProviders'), [own.relay.relayId]);
    assert.deepEqual((await namesOf('replicationJobs')).sort(), own.jobIds.sort());
    for (const jobId of other.jobIds) {
      assert.equal((await harness.arm('GET', `${own.path}/replicationJobs/${jobId}`)).status, 404);
    }
    const { assignments } = (await own.relay.call('GET', '/relay/v1/assignments')).body as AssignmentsResponse;
    assert.deepEqual(
      assignments.map(({ vmName }) => vmName),
      [own.vmName],
    );
    const { itemId } = assignments[0] ?? {};
    const report = { protectionId: 'x', epoch: 1, reason: 'logCorrupt', message: 'm', at: '2026-01-05T10:00:00Z' };
    const foreign = await other.relay.call('POST', `/relay/v1/items/${itemId}/resyncRequired`, report);
    assert.deepEqual([foreign.status, (foreign.body as Refusal).error.code], [404, 'US1107']);
  }
  // A removed fabric of the one is no matter of the other.
  const fabricPath = `replicationFabrics/${first.relay.fabricName}`;
  assert.equal((await harness.arm('POST', `${first.path}/${fabricPath}/remove`)).status, 409);
  assert.equal((await harness.arm('GET', `${second.path}/${fabricPath}`)).status, 200);
});
