import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { itemIdOf, rows, vaultPartition } from '../../../core/records/rows.js';
import { insert, list, read, replace } from '../../../core/records/access.js';
import { asVaultId } from '../../../core/domain/ids.js';
import type { NetworkMapping } from '../../../core/domain/failover/target-network.js';
import type { AssignmentsResponse } from '../../../core/domain/relay-protocol/wire.js';
import { transferBlobName } from '../../../core/domain/replication/blob-names.js';
import { NonceCache } from '../../../functions/relay-api/relay-caller.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import type { SiteVm } from '../../../core/domain/site/inventory.js';
import { ReplicatedItem } from '../../support/api/replicated-items.js';
import { Harness, sampleInventory, TestRelay, vaultPath } from '../../support/api/harness.js';
import { mebibyte, sampleItem, sampleLog, sampleManifest, sampleProtectionId } from '../../support/sample-item.js';

const codeOf = (answer: ApiResponse): string => (answer.body as { error: { code: string } }).error.code;
const vaultId = asVaultId(vaultPath);

async function withItem(harness: Harness, relay: TestRelay, changes: Parameters<typeof sampleItem>[0] = {}) {
  const base = sampleItem();
  const itemId = itemIdOf(vaultId, relay.fabricName, base.containerName, base.itemName);
  const item = sampleItem({
    itemId,
    fabricName: relay.fabricName,
    relayId: relay.relayId as typeof base.relayId,
    ...changes,
  });
  await harness.table.transact(vaultPartition(vaultId), [insert(rows.item(vaultId, item.itemId), item)]);
  return item;
}

test('a registration key names endpoint, vault and expiry, and the table keeps only its hash', async () => {
  const harness = new Harness();
  await harness.putVault();
  const key = await harness.drawKey();
  assert.equal(key.endpoint, 'http://127.0.0.1:7071');
  assert.equal(key.vaultId, vaultPath.toLowerCase());
  assert.equal(key.expiresAt, '2026-01-10T10:00:00Z');
  const { rows: stored } = await harness.table.query('registration', { prefix: '' });
  assert.equal(stored.length, 1);
  assert(!JSON.stringify(stored).includes(key.secret));
});

test('a relay registers once: its fabric and provider appear, and a repeat gives the same answer', async () => {
  const harness = new Harness();
  await harness.putVault();
  const { secret } = await harness.drawKey();
  const relay = new TestRelay(harness);
  const first = await relay.register(secret);
  assert.equal(first.status, 200, JSON.stringify(first.body));
  assert.deepEqual((await relay.register(secret)).body, first.body);
  const fabrics = (await harness.arm('GET', `${vaultPath}/replicationFabrics`)).body as {
    value: { name: string; properties: { friendlyName: string; health: string } }[];
  };
  assert.match(fabrics.value[0]?.name ?? '', /^[0-9a-f]{64}$/);
  assert.equal(fabrics.value[0]?.properties.health, 'Normal');
  const providers = (await harness.arm('GET', `${vaultPath}/replicationRecoveryServicesProviders`)).body as {
    value: { name: string }[];
  };
  assert.equal(providers.value[0]?.name, relay.relayId);
});

test('a key that does not tell when its vault was made registers all the same', async () => {
  const harness = new Harness();
  await harness.putVault();
  const { secret } = await harness.drawKey();
  const [key] = await list(harness.table, rows.registrationKeys());
  assert(key);
  const { vaultCreatedAt: _, ...earlier } = key.value;
  await harness.table.transact(key.ref.partition, [replace(key, earlier as typeof key.value)]);
  const relay = new TestRelay(harness);
  const first = await relay.register(secret);
  assert.equal(first.status, 200, JSON.stringify(first.body));
});

test('a used key is refused for another relay, and nothing of that relay stays behind', async () => {
  const harness = new Harness();
  await harness.putVault();
  const { secret } = await harness.drawKey();
  await new TestRelay(harness).register(secret);
  const other = sampleInventory();
  other.vmmServerId = '7e000000-0000-4000-8000-000000000002';
  const answer = await new TestRelay(harness, other).register(secret);
  assert.equal(answer.status, 409);
  assert.equal(codeOf(answer), 'US1106');
  const fabrics = (await harness.arm('GET', `${vaultPath}/replicationFabrics`)).body as { value: unknown[] };
  assert.equal(fabrics.value.length, 1);
});

test('a registration that died after its key was claimed is finished by a repeat', async () => {
  const harness = new Harness();
  await harness.putVault();
  const { secret } = await harness.drawKey();
  const relay = new TestRelay(harness);
  const transact = harness.table.transact.bind(harness.table);
  let writes = 0;
  harness.table.transact = async (partition, operations) => {
    if (++writes === 3) throw new Error('killed');
    return transact(partition, operations);
  };
  assert.equal((await relay.register(secret)).status, 500);
  assert.equal((await relay.register(secret)).status, 200);
  assert.equal((await relay.call('GET', '/relay/v1/assignments')).status, 200);
});

test('an unknown and an expired key are refused with their own codes', async () => {
  const harness = new Harness();
  await harness.putVault();
  const { secret } = await harness.drawKey();
  assert.equal(codeOf(await new TestRelay(harness).register('nonsense')), 'US1104');
  harness.systemNow = harness.systemNow.add({ hours: 120 });
  const late = await new TestRelay(harness).register(secret);
  assert.equal(late.status, 403);
  assert.equal(codeOf(late), 'US1105');
});

test('a second relay for the same VMM server takes over, and the first is no longer known', async () => {
  const harness = new Harness();
  const first = await harness.registeredRelay();
  const item = await withItem(harness, first);
  const second = new TestRelay(harness);
  await second.register((await harness.drawKey()).secret);
  assert.equal(codeOf(await first.call('GET', '/relay/v1/assignments')), 'US1103');
  const { assignments } = (await second.call('GET', '/relay/v1/assignments')).body as AssignmentsResponse;
  assert.deepEqual(
    assignments.map(({ itemId }) => itemId),
    [item.itemId],
  );
});

test('a registration that replaces a relay and dies anywhere is finished by a repeat, and the first relay is forgotten', async () => {
  for (const when of ['beforeEffect', 'afterEffect'] as const) {
    for (let skip = 0; ; skip++) {
      const harness = new Harness();
      const first = await harness.registeredRelay();
      const item = await withItem(harness, first);
      const second = new TestRelay(harness);
      const { secret } = await harness.drawKey();
      harness.sharedTable.faults.fail('transact', when, { skip });
      const { status } = await second.register(secret);
      if (status === 200) break;
      assert.equal((await second.register(secret)).status, 200);
      const message = `${when} transaction ${skip}`;
      assert.equal(codeOf(await first.call('GET', '/relay/v1/assignments')), 'US1103', message);
      const { assignments } = (await second.call('GET', '/relay/v1/assignments')).body as AssignmentsResponse;
      assert.equal(assignments[0]?.itemId, item.itemId, message);
      const fabric = await read(harness.table, rows.fabric(vaultId, second.fabricName));
      assert.deepEqual([fabric?.value.relayId, fabric?.value.replacedRelayIds], [second.relayId, undefined], message);
    }
  }
});

test('a relay that a third one replaced while the second had not finished is forgotten too', async () => {
  const harness = new Harness();
  const first = await harness.registeredRelay();
  const second = new TestRelay(harness);
  const { secret } = await harness.drawKey();
  // Claimed, and written as a relay and into the fabric's row; then it died.
  harness.sharedTable.faults.fail('transact', 'beforeEffect', { skip: 3 });
  assert.equal((await second.register(secret)).status, 500);
  const third = new TestRelay(harness);
  await third.register((await harness.drawKey()).secret);
  assert.equal(codeOf(await first.call('GET', '/relay/v1/assignments')), 'US1103');
  assert.equal((await third.call('GET', '/relay/v1/assignments')).status, 200);
});

test('a network mapping that is saved while a relay registers anew is kept', async () => {
  const harness = new Harness();
  const first = await harness.registeredRelay();
  const ref = rows.fabric(vaultId, first.fabricName);
  const mapping = { mappingName: 'prod' } as NetworkMapping;
  const transact = harness.sharedTable.transact.bind(harness.sharedTable);
  let saveCount = 0;
  harness.sharedTable.transact = async (partition, operations) => {
    if (saveCount === 0 && operations.some(({ rowKey }) => rowKey === ref.rowKey)) {
      saveCount++;
      const fabric = await read(harness.table, ref);
      assert(fabric !== undefined);
      await transact(partition, [replace(fabric, { ...fabric.value, networkMappings: [mapping] })]);
    }
    return transact(partition, operations);
  };
  assert.equal((await new TestRelay(harness).register((await harness.drawKey()).secret)).status, 200);
  assert.equal(saveCount, 1);
  assert.deepEqual((await read(harness.table, ref))?.value.networkMappings, [mapping]);
});

test('a request is taken only with a fitting signature, a near date and a fresh nonce', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const path = '/relay/v1/assignments?waitSeconds=0';
  assert.equal((await harness.relay(relay.signed('GET', path))).status, 200);

  const unsigned = await harness.relay(harness.request('GET', path));
  assert.equal(unsigned.status, 401);
  assert.equal(codeOf(unsigned), 'US1100');

  const foreign = generateKeyPairSync('ed25519').privateKey;
  assert.equal(codeOf(await harness.relay(relay.signed('GET', path, undefined, { key: foreign }))), 'US1100');

  const signed = relay.signed('GET', path);
  assert.equal(
    codeOf(await harness.relay({ ...signed, url: new URL('/relay/v1/assignments?waitSeconds=1', signed.url) })),
    'US1100',
  );
  const heartbeat = relay.signed('POST', '/relay/v1/heartbeat', { relayVersion: '1', memoryRssBytes: 1, items: [] });
  assert.equal(codeOf(await harness.relay({ ...heartbeat, body: Buffer.from('{}') })), 'US1100');

  const date = (seconds: number) => harness.systemNow.add({ seconds }).toString();
  for (const seconds of [-301, 301]) {
    const answer = await harness.relay(relay.signed('GET', path, undefined, { date: date(seconds) }));
    assert.equal(codeOf(answer), 'US1101');
  }
  for (const seconds of [-300, 300]) {
    assert.equal((await harness.relay(relay.signed('GET', path, undefined, { date: date(seconds) }))).status, 200);
  }

  const once = relay.signed('GET', path);
  assert.equal((await harness.relay(once)).status, 200);
  assert.equal(codeOf(await harness.relay(once)), 'US1102');
});

test('the nonce cache forgets what no signature can repeat any more', () => {
  const cache = new NonceCache();
  assert(cache.admit('a', 0));
  assert(!cache.admit('a', 599_000));
  assert(cache.admit('a', 601_000));
});

test('a relay sees its own items only, and a change ends its waiting', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  await withItem(harness, relay, { relayId: 'someone-else' as never });
  const empty = (await relay.call('GET', '/relay/v1/assignments')).body as AssignmentsResponse;
  assert.deepEqual(empty.assignments, []);

  const waiting = relay.call('GET', `/relay/v1/assignments?version=${empty.version}&waitSeconds=20`);
  const ref = rows.item(vaultId, itemIdOf(vaultId, 'x', 'y', 'z'));
  await harness.table.transact(ref.partition, [
    insert(ref, sampleItem({ itemId: itemIdOf(vaultId, 'x', 'y', 'z'), relayId: relay.relayId as never })),
  ]);
  const found = (await waiting).body as AssignmentsResponse;
  assert.equal(found.assignments.length, 1);
  assert.notEqual(found.version, empty.version);
  assert.equal(found.assignments[0]?.phase, 'initialReplication');
  assert.equal(found.assignments[0].replicationIntervalSeconds, 300);
});

test('cycles received end no waiting, and are told with the next answer', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await withItem(harness, relay);
  const first = (await relay.call('GET', '/relay/v1/assignments')).body as AssignmentsResponse;
  const stored = await read(harness.table, rows.item(vaultId, item.itemId));
  assert(stored !== undefined);
  const received = { ...item, replication: { ...item.replication, receivedCycle: 7 } };
  await harness.table.transact(vaultPartition(vaultId), [replace(stored, received)]);
  const second = (await relay.call('GET', '/relay/v1/assignments')).body as AssignmentsResponse;
  assert.equal(second.version, first.version);
  assert.equal(second.assignments[0]?.receivedCycle, 7);
});

test('while nothing changes that a relay must hear of, its waiting reads no rows', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await withItem(harness, relay);
  const { version } = (await relay.call('GET', '/relay/v1/assignments')).body as AssignmentsResponse;
  let queries = 0;
  const query = harness.sharedTable.query.bind(harness.sharedTable);
  harness.sharedTable.query = (...parameters) => {
    queries++;
    return query(...parameters);
  };
  const waiting = relay.call('GET', `/relay/v1/assignments?version=${version}&waitSeconds=20`);
  for (let beat = 1; beat <= 5; beat++) {
    const stored = await read(harness.table, rows.item(vaultId, item.itemId));
    assert(stored !== undefined);
    const replication = { ...stored.value.replication, backlogBytes: beat, receivedCycle: beat };
    await harness.table.transact(vaultPartition(vaultId), [replace(stored, { ...stored.value, replication })]);
    await sleep(250);
  }
  assert.equal(queries, 3);
  const stored = await read(harness.table, rows.item(vaultId, item.itemId));
  assert(stored !== undefined);
  const paused = { ...stored.value, replication: { ...stored.value.replication, paused: true } };
  await harness.table.transact(vaultPartition(vaultId), [replace(stored, paused)]);
  const changedAt = performance.now();
  const { assignments } = (await waiting).body as AssignmentsResponse;
  assert.equal(assignments[0]?.paused, true);
  assert(performance.now() - changedAt < 500, 'the change was heard of, not found by the look of every few seconds');
});

test('a change that another instance of the app made ends a waiting too', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await withItem(harness, relay);
  const { version } = (await relay.call('GET', '/relay/v1/assignments')).body as AssignmentsResponse;
  const waiting = relay.call('GET', `/relay/v1/assignments?version=${version}&waitSeconds=20`);
  await sleep(50);
  const stored = await read(harness.sharedTable, rows.item(vaultId, item.itemId));
  assert(stored !== undefined);
  const paused = { ...item, replication: { ...item.replication, paused: true } };
  await harness.sharedTable.transact(vaultPartition(vaultId), [replace(stored, paused)]);
  const { assignments } = (await waiting).body as AssignmentsResponse;
  assert.equal(assignments[0]?.paused, true);
});

test('a command waits until its result is stored, which wakes the workflow; a late repeat is no error', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const ref = rows.command(relay.relayId as never, 'c-1');
  const command = { kind: 'shutDownVm', commandId: 'c-1', vmId: 'v' } as const;
  await harness.table.transact(ref.partition, [insert(ref, { command, instanceId: 'job-1', createdAt: 'now' })]);
  const present = async () => ((await relay.call('GET', '/relay/v1/assignments')).body as AssignmentsResponse).commands;
  assert.deepEqual(await present(), [command]);
  for (let repeat = 0; repeat < 2; repeat++) {
    const answer = await relay.call('POST', '/relay/v1/commands/c-1/result', { kind: 'succeeded' });
    assert.equal(answer.status, 200);
  }
  assert.deepEqual(await present(), []);
  assert.deepEqual(harness.rung, ['job-1', 'job-1']);
  assert.equal((await relay.call('POST', '/relay/v1/commands/gone/result', { kind: 'succeeded' })).status, 200);
});

test('an upload is granted under a name that the app made, and refused for another epoch or another relay', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await withItem(harness, relay);
  const diskId = item.disks[0]?.diskId ?? '';
  const body = { protectionId: sampleProtectionId, epoch: 1, target: { kind: 'cycle', cycle: 1, diskId } };
  const path = `/relay/v1/items/${item.itemId}/uploads`;
  const granted = (await relay.call('POST', path, body)).body as { uploadId: string; url: string; expiresAt: string };
  assert(granted.url.includes(`/${sampleProtectionId}/1/cycle/0000000000000001/${diskId}/${granted.uploadId}?`));
  const again = (await relay.call('POST', path, body)).body as { uploadId: string };
  assert.notEqual(again.uploadId, granted.uploadId);
  const renewed = (await relay.call('POST', path, { ...body, uploadId: granted.uploadId })).body as { url: string };
  assert.equal(renewed.url.split('?')[0], granted.url.split('?')[0]);

  const refused = await relay.call('POST', path, { ...body, epoch: 2 });
  assert.equal(refused.status, 409);
  assert.equal(codeOf(refused), 'US3003');
  assert.equal((await relay.call('POST', path, { ...body, uploadId: '../other' })).status, 400);

  const foreign = await withItem(harness, relay, {
    itemId: itemIdOf(vaultId, 'a', 'b', 'c'),
    relayId: 'someone-else' as never,
  });
  const refusedToo = await relay.call('POST', `/relay/v1/items/${foreign.itemId}/uploads`, body);
  assert.equal(refusedToo.status, 404);
  assert.equal(codeOf(refusedToo), 'US1107');
});

test('a cycle is acknowledged only when every log lies there as announced', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await withItem(harness, relay);
  const path = `/relay/v1/items/${item.itemId}/cycles`;
  const manifest = sampleManifest(1);
  const missing = await relay.call('POST', path, manifest);
  assert.equal(missing.status, 409);
  assert.equal(codeOf(missing), 'US1113');
  assert.equal((await read(harness.table, rows.item(vaultId, item.itemId)))?.value.replication.receivedCycle, 0);

  const log = sampleLog();
  const target = { kind: 'cycle', cycle: 1, diskId: manifest.disks[0]?.diskId ?? '' } as const;
  harness.uploaded.set(transferBlobName(sampleProtectionId, 1, target, log.uploadId), {
    etag: log.etag,
    lengthBytes: log.lengthBytes,
  });
  for (let repeat = 0; repeat < 2; repeat++) {
    const answer = await relay.call('POST', path, manifest);
    assert.deepEqual(answer, { status: 200, body: { receivedCycle: 1, appliedCycle: 0 } });
  }
  assert.deepEqual(
    harness.started.map(({ orchestrator }) => orchestrator),
    ['initialReplication'],
  );
  const other = await relay.call('POST', path, { ...manifest, takenAt: '2026-01-05T10:30:00Z' });
  assert.equal(other.status, 409);
  assert.equal(codeOf(other), 'US3002');
});

test('a piece of the base moves the received mark and wakes initial replication', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await withItem(harness, relay);
  const disk = item.disks[0];
  assert(disk !== undefined);
  const log = sampleLog();
  const target = { kind: 'segment', fromBytes: 0, diskId: disk.diskId } as const;
  harness.uploaded.set(transferBlobName(sampleProtectionId, 1, target, log.uploadId), {
    etag: log.etag,
    lengthBytes: log.lengthBytes,
  });
  const answer = await relay.call('POST', `/relay/v1/items/${item.itemId}/segments`, {
    protectionId: sampleProtectionId,
    epoch: 1,
    diskId: disk.diskId,
    fromBytes: 0,
    toBytes: 2 * mebibyte,
    log,
  });
  assert.deepEqual(answer.body, { receivedThroughBytes: 2 * mebibyte, appliedThroughBytes: 0 });
  assert.equal(harness.rung.length, 1);
});

test('items keep their VMs as the site has them, and had them; an inventory without news is not written to them', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await ReplicatedItem.put(harness, relay);
  const report = async (change: (vms: SiteVm[]) => SiteVm[]): Promise<void> => {
    const inventory = { ...relay.inventory, vms: change(relay.inventory.vms) };
    assert.equal((await relay.call('PUT', '/relay/v1/inventory', inventory)).status, 200);
  };
  const grown = (vms: SiteVm[]): SiteVm[] => vms.map((vm) => ({ ...vm, memoryMegabytes: 8192 }));
  await report((vms) => vms);
  assert.deepEqual((await item.now()).source, relay.inventory.vms[0]);
  await report(grown);
  assert.equal((await item.now()).source?.memoryMegabytes, 8192);
  const { etag } = await stored(harness, item);
  await report(grown);
  await report(([, ...others]) => others);
  assert.equal((await item.now()).source?.memoryMegabytes, 8192, 'the VM is gone from the site');
  assert.equal((await stored(harness, item)).etag, etag);
  const { body } = await harness.arm('GET', item.armId);
  const { properties } = body as { properties: { providerSpecificDetails: { sourceVmRamSizeInMB: number } } };
  assert.equal(properties.providerSpecificDetails.sourceVmRamSizeInMB, 8192);
});

async function stored(harness: Harness, { first }: ReplicatedItem) {
  const found = await read(harness.table, rows.item(vaultId, first.itemId));
  assert(found);
  return found;
}

test('the inventory is taken of the registered VMM server only', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const changed = { ...sampleInventory(), vmmServerName: 'vmm-renamed' };
  assert.equal((await relay.call('PUT', '/relay/v1/inventory', changed)).status, 200);
  const fabric = await harness.arm('GET', `${vaultPath}/replicationFabrics/${relay.fabricName}`);
  assert.equal((fabric.body as { properties: { friendlyName: string } }).properties.friendlyName, 'vmm-renamed');
  const foreign = { ...changed, vmmServerId: '7e000000-0000-4000-8000-000000000009' };
  assert.equal(codeOf(await relay.call('PUT', '/relay/v1/inventory', foreign)), 'US1107');
  const wrong = await relay.call('PUT', '/relay/v1/inventory', { ...changed, vms: [{ name: 3 }] });
  assert.equal(wrong.status, 400);
  assert.match((wrong.body as { error: { message: string } }).error.message, /\$\.vms\[0\]\.name/);
});

test('a page of another site reaches the relay API no more than the rest', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const request = relay.signed('GET', '/relay/v1/assignments');
  const answer = await harness.relay({
    ...request,
    headers: new Map([...request.headers, ['origin', 'https://evil.example']]),
  });
  assert.equal(answer.status, 403);
  assert.equal(codeOf(answer), 'US1011');
});

test('a site of 2,000 VMs fits its row and is listed at once', async () => {
  const harness = new Harness();
  const inventory = sampleInventory();
  const [vm] = inventory.vms;
  assert(vm !== undefined);
  inventory.vms = Array.from({ length: 2000 }, (_, index) => {
    const digits = String(index).padStart(12, '0');
    return {
      ...vm,
      vmId: `50000000-0000-4000-8000-${digits}`,
      name: `vm-${index}`,
      disks: vm.disks.map((disk, lun) => ({ ...disk, diskId: `d15c0000-000${lun}-4000-8000-${digits}` })),
      nics: vm.nics.map((nic) => ({ ...nic, nicId: randomUUID() })),
    };
  });
  const relay = await harness.registeredRelay(inventory);
  const cloudId = inventory.clouds[0]?.cloudId ?? '';
  const path = `${vaultPath}/replicationFabrics/${relay.fabricName}/replicationProtectionContainers/${cloudId}/replicationProtectableItems`;
  const page = (await harness.arm('GET', `${path}?api-version=1&$take=1000`)).body as {
    value: unknown[];
    nextLink: string;
  };
  assert.equal(page.value.length, 1000);
  assert.match(page.nextLink, /skipToken/);
});
