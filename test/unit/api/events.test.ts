import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeConcludeJob } from '../../../activities/jobs.js';
import { asJobName, asRelayId } from '../../../core/domain/ids.js';
import { insert, list, replace } from '../../../core/records/access.js';
import { eventNameOf, rows, vaultPartition } from '../../../core/records/rows.js';
import type { StateTable } from '../../../core/ports/state-table.js';
import { sweep } from '../../../functions/timers/sweep.js';
import { watch } from '../../../functions/timers/watch.js';
import { Harness, sampleInventory, vaultPath } from '../../support/api/harness.js';
import { sampleJob } from '../../support/sample-job.js';
import { ReplicatedItem, vaultId } from '../../support/api/replicated-items.js';

interface EventWire {
  id: string;
  name: string;
  properties: Record<string, unknown> & { healthErrors: Record<string, unknown>[]; timeOfOccurrence: string };
}

async function world(inventory = sampleInventory()) {
  const harness = new Harness();
  const relay = await harness.registeredRelay(inventory);
  const item = await ReplicatedItem.put(harness, relay);
  const listed = async (query = '') =>
    (await harness.arm('GET', `${vaultPath}/replicationEvents?api-version=1${query}`)).body as {
      value: EventWire[];
      nextLink?: string;
    };
  const seen = async () => {
    const before = (await item.told()).length;
    harness.now = harness.now.add({ seconds: 1 });
    await watch(harness.app);
    const all = await item.told();
    return all.slice(0, all.length - before);
  };
  return { harness, relay, item, listed, seen };
}

test('health that comes and goes is told once each way: one reason goes, the other stays', async () => {
  const { item, seen } = await world();
  const error = { code: 'US5110', message: 'm', recommendedAction: 'a', at: '2026-01-05T09:00:00Z' };
  assert.deepEqual(await seen(), ['levelChanged VmHealth OK']);
  await item.progress({ paused: true, relayError: error });
  assert.deepEqual(await seen(), ['levelChanged VmHealth Warning', 'raised US5110 Warning', 'raised US3052 Warning']);
  assert.deepEqual(await seen(), [], 'nothing new');
  await item.progress({ relayError: undefined });
  assert.deepEqual(await seen(), ['cleared US5110 OK']);
  await item.progress({ paused: false });
  assert.deepEqual(await seen(), ['levelChanged VmHealth OK', 'cleared US3052 OK']);
  assert.deepEqual((await item.now()).health, { level: 'Normal', codes: [] });
});

test('silence and age are found without anybody writing a row, and told for every item of the vault', async () => {
  const { harness, relay, item, seen } = await world();
  await ReplicatedItem.put(harness, relay, { itemName: 'web-01' });
  assert.equal((await seen()).length, 2);
  harness.now = harness.now.add({ seconds: 301 });
  const silent = await seen();
  assert.deepEqual(silent.filter((event) => event === 'raised US3051 Critical').length, 2);
  harness.now = harness.now.add({ hours: 1 });
  assert((await seen()).includes('raised US3054 Warning'));
  assert.equal((await item.now()).health?.level, 'Critical');
});

test('a disk that was added at the source is told as unprotected', async () => {
  const inventory = sampleInventory();
  const [disk] = inventory.vms[0]?.disks ?? [];
  assert(disk);
  inventory.vms[0]?.disks.push({ ...disk, diskId: 'd15c0000-0000-4000-8000-0000000000ff', name: 'new.vhdx' });
  const { listed, seen } = await world(inventory);
  assert((await seen()).includes('raised US3059 Warning'));
  const found = (await listed("&$filter=eventCode eq 'US3059'")).value[0]?.properties.healthErrors[0];
  assert.match(String(found?.errorMessage), /new\.vhdx/);
});

test('an event has the shape that ARM’s clients know, and is found by its name', async () => {
  const { harness, item, listed, relay } = await world();
  await item.progress({ paused: true });
  await watch(harness.app);
  const { value } = await listed("&$filter=severity eq 'warning' and eventCode eq 'US3052'");
  assert.equal(value.length, 1);
  const [event] = value;
  assert(event);
  assert.equal(event.id, `${vaultPath}/replicationEvents/${event.name}`);
  const { healthErrors, ...properties } = event.properties;
  assert.deepEqual(properties, {
    eventCode: 'US3052',
    description: 'Replication is paused',
    eventType: 'VmHealth',
    affectedObjectFriendlyName: 'sql-01',
    affectedObjectCorrelationId: item.first.itemId,
    severity: 'Warning',
    timeOfOccurrence: harness.now.toString(),
    fabricId: `${vaultPath}/replicationFabrics/${relay.fabricName}`,
    providerSpecificDetails: {
      instanceType: 'HyperVReplicaAzure',
      fabricName: relay.fabricName,
      containerName: item.first.containerName,
      remoteContainerName: 'Microsoft Azure',
    },
  });
  assert.equal(healthErrors[0]?.errorCode, 'US3052');
  assert.equal(healthErrors[0].errorLevel, 'Warning');
  assert.deepEqual((await harness.arm('GET', event.id)).body, event);
  assert.equal((await harness.arm('GET', `${event.id}x`)).status, 404);
});

test('events come newest first, in pages that nextLink goes through, each once; times bound them', async () => {
  const { harness, item, listed } = await world();
  for (let flip = 0; flip < 4; flip++) {
    harness.now = harness.now.add({ minutes: 1 });
    await item.progress({ paused: flip % 2 === 0, lastHeartbeatAt: harness.now.toString() });
    await watch(harness.app);
  }
  const all = (await listed()).value;
  const times = all.map(({ properties }) => properties.timeOfOccurrence);
  assert.deepEqual(times, [...times].sort().reverse());
  const names: string[] = [];
  let page = await listed('&$take=3');
  for (;;) {
    names.push(...page.value.map(({ name }) => name));
    if (page.nextLink === undefined) break;
    const { pathname, search } = new URL(page.nextLink);
    page = (await harness.arm('GET', pathname + search)).body as typeof page;
  }
  assert.deepEqual(
    names,
    all.map(({ name }) => name),
  );
  const late = await listed(`&$filter=startTime eq '${times[0]}'`);
  assert.deepEqual(
    late.value.map(({ name }) => name),
    all.filter(({ properties }) => properties.timeOfOccurrence === times[0]).map(({ name }) => name),
  );
  assert.equal((await harness.arm('GET', `${vaultPath}/replicationEvents?api-version=1&$filter=x eq 'y'`)).status, 400);
});

test('the sweep forgets events after 30 days, so many at a time, and none that is younger', async () => {
  const { harness } = await world();
  const ages = [0, 1, 29.9, 31.5, 33, 40, 200, 9000];
  const put = async (ageDays: number, unique: string) => {
    const at = harness.now.subtract({ minutes: Math.round(ageDays * 24 * 60) });
    const ref = rows.event(vaultId, eventNameOf(at, unique));
    await harness.table.transact(ref.partition, [insert(ref, { at: at.toString() } as never)]);
  };
  for (const age of ages) await put(age, 'a');
  const left = async () =>
    (await list(harness.table, rows.events(vaultId))).map(
      ({ value: { at } }) => Math.round(harness.now.since(at).total('hours') / 2.4) / 10,
    );
  await sweep(harness.app);
  assert.deepEqual(await left(), [0, 1, 29.9]);
  for (let index = 0; index < 501; index++) await put(50, String(index));
  await sweep(harness.app);
  assert.equal((await left()).length, 4);
  harness.now = harness.now.add({ minutes: 1 });
  await sweep(harness.app);
  assert.equal((await left()).length, 4, 'looked at once an hour');
});

test('what is asked for and reported is told at once, however soon it goes again', async () => {
  const { harness, relay, item, seen } = await world();
  await seen();
  const before = (await item.told()).length;
  for (const verb of ['pause', 'resume']) {
    harness.now = harness.now.add({ seconds: 1 });
    assert.equal((await harness.arm('POST', `/understudy/v1/${verb}Replication`, { itemId: item.armId })).status, 200);
  }
  harness.now = harness.now.add({ seconds: 1 });
  const { itemId, protectionId } = item.first;
  const report = { protectionId, epoch: 1, reason: 'hostCrash', message: 'm', at: harness.now.toString() };
  assert.equal((await relay.call('POST', `/relay/v1/items/${itemId}/resyncRequired`, report)).status, 200);
  harness.now = harness.now.add({ seconds: 1 });
  assert.equal((await harness.arm('POST', `${item.armId}/repairReplication`)).status, 202);
  const all = await item.told();
  assert.deepEqual(
    all
      .slice(0, all.length - before)
      .toReversed()
      .filter((event) => !event.startsWith('level')),
    [
      'raised US3052 Warning',
      'cleared US3052 OK',
      'raised US3050 Critical',
      'cleared US3050 OK',
      'raised US3055 Critical',
    ],
  );
});

test('a relay that falls silent, and is heard of again, is told once each way; until then all that hangs on it is critical', async () => {
  const { harness, relay, listed } = await world();
  const ofServer = async () =>
    (await listed(`&$filter=${encodeURIComponent("eventType eq 'ServerHealth'")}`)).value.map(({ properties }) => [
      properties.eventCode,
      properties.severity,
      properties.affectedObjectFriendlyName,
      properties.healthErrors.map(({ errorCategory }) => errorCategory),
    ]);
  await harness.arm('PUT', `${vaultPath}/replicationPolicies/default`, {
    properties: { providerSpecificInput: { instanceType: 'HyperVReplicaAzure' } },
  });
  const [cloud] = sampleInventory().clouds;
  const container = `${vaultPath}/replicationFabrics/${relay.fabricName}/replicationProtectionContainers/${cloud?.cloudId}`;
  const mapping = `${container}/replicationProtectionContainerMappings/default`;
  const put = { properties: { policyId: `${vaultPath}/replicationPolicies/default` } };
  assert.equal((await harness.arm('PUT', mapping, put)).status, 202);
  const healths = async () => {
    type Counts = Record<
      string,
      { categorizedResourceCounts: { Critical: number }; issues: { summaryCode: string }[] }
    >;
    const vault = (await harness.arm('GET', `${vaultPath}/replicationVaultHealth`)).body as { properties: Counts };
    const ofMapping = (await harness.arm('GET', mapping)).body as { properties: { health: string } };
    const { fabricsHealth, containersHealth } = vault.properties;
    return [
      ...[fabricsHealth, containersHealth].map((found) => found?.issues.map(({ summaryCode }) => summaryCode).join()),
      ofMapping.properties.health,
    ];
  };
  await watch(harness.app);
  assert.deepEqual([await ofServer(), await healths()], [[], ['', '', 'Normal']]);
  harness.now = harness.now.add({ minutes: 4 });
  for (let look = 0; look < 2; look++) await watch(harness.app);
  const silent = ['US1112', 'Critical', 'vmm-01', ['FabricInfrastructure']];
  assert.deepEqual([await ofServer(), await healths()], [[silent], ['US1112', 'US1112', 'Critical']]);
  for (const stored of await list(harness.table, rows.fabrics(vaultId))) {
    const heard = { ...stored.value, lastHeartbeatAt: harness.now.toString() };
    await harness.table.transact(stored.ref.partition, [replace(stored, heard)]);
  }
  harness.now = harness.now.add({ seconds: 1 });
  for (let look = 0; look < 2; look++) await watch(harness.app);
  assert.deepEqual(
    [await ofServer(), await healths()],
    [
      [['US1112', 'OK', 'vmm-01', []], silent],
      ['', '', 'Normal'],
    ],
  );
});

test('a job that fails is told with the job, once however often its end is written', async () => {
  const { harness, item, listed } = await world();
  const jobName = asJobName('0190a000-0000-7000-8000-000000000001');
  const job = {
    ...sampleJob(jobName, harness.now.toString()),
    targetObjectName: 'sql-01',
    targetResourceId: item.armId,
  };
  await harness.table.transact(vaultPartition(vaultId), [insert(rows.job(vaultId, jobName), job)]);
  const failures = [
    { code: 'US4008', message: 'gone', possibleCauses: 'c', recommendedAction: 'r', retry: 'never' as const },
  ];
  for (let run = 0; run < 2; run++) {
    await makeConcludeJob(harness.app)({ vaultId, jobName, outcome: { kind: 'failed', failures } });
  }
  const { value } = await listed(`&$filter=${encodeURIComponent("eventType eq 'JobFailure'")}`);
  assert.equal(value.length, 1);
  const [event] = value;
  assert(event);
  const { eventCode, severity, eventSpecificDetails, affectedObjectFriendlyName, fabricId } = event.properties;
  assert.deepEqual([eventCode, severity, affectedObjectFriendlyName], ['US4008', 'Warning', 'sql-01']);
  assert.ok(item.armId.startsWith(String(fabricId)));
  assert.deepEqual(eventSpecificDetails, {
    instanceType: 'JobStatus',
    jobId: `${vaultPath}/replicationJobs/${jobName}`,
    jobFriendlyName: 'Test failover',
    jobStatus: 'Failed',
  });
});

test('items that were enabled while another relay took their site over are that relay’s within a minute, by one list', async () => {
  const { harness, item, relay } = await world();
  await ReplicatedItem.put(harness, relay, { itemName: 'web-01' });
  const [fabric] = await list(harness.table, rows.fabrics(vaultId));
  assert(fabric);
  const taken = { ...fabric.value, relayId: asRelayId('another') };
  await harness.table.transact(fabric.ref.partition, [replace(fabric, taken)]);
  assert.equal((await item.now()).relayId, relay.relayId);
  let lists = 0;
  const query: StateTable['query'] = async (partition, range) => {
    if (range.prefix === 'item!') lists++;
    return harness.table.query(partition, range);
  };
  await watch({ ...harness.app, table: { ...harness.table, query } });
  assert.equal(lists, 2, 'one to look at them all, one to turn them');
  for (const { value } of await list(harness.table, rows.items(vaultId))) assert.equal(value.relayId, 'another');
  assert.equal((await item.now()).relayId, 'another');
});
