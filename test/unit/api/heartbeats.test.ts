import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { read, replace } from '../../../core/records/access.js';
import { itemIdOf, rows, vaultPartition } from '../../../core/records/rows.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem, vaultId } from '../../support/api/replicated-items.js';
import { mebibyte } from '../../support/sample-item.js';

test('a heartbeat is kept on the fabric and the items; silence shows as a lost connection', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const { first: item } = await ReplicatedItem.put(harness, relay);
  harness.now = harness.now.add({ minutes: 10 });
  const report = { itemId: item.itemId, protectionId: item.protectionId, epoch: 1, activity: 'sending' };
  const answer = await relay.call('POST', '/relay/v1/heartbeat', {
    relayVersion: '0.2.0',
    memoryRssBytes: 1,
    items: [
      { ...report, backlogBytes: 77 },
      { ...report, epoch: 2, backlogBytes: 5 },
    ],
  });
  assert.equal(answer.status, 200);
  const stored = await read(harness.table, rows.item(vaultId, item.itemId));
  assert.equal(stored?.value.replication.backlogBytes, 77);
  assert.equal(stored.value.replication.lastHeartbeatAt, '2026-01-05T10:10:00Z');
  const status = async () => {
    const { body } = await harness.arm('GET', `${vaultPath}/replicationRecoveryServicesProviders`);
    return (body as { value: { properties: { connectionStatus: string } }[] }).value[0]?.properties.connectionStatus;
  };
  assert.equal(await status(), 'Connected');
  harness.now = harness.now.add({ minutes: 4 });
  assert.equal(await status(), 'Disconnected');
});

test('reports of hundreds of items are a few transactions, and none where there is no news', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const items: ProtectedItem[] = [];
  for (let index = 0; index < 100; index++) {
    const itemId = itemIdOf(vaultId, relay.fabricName, 'c', `vm-${index}`);
    items.push((await ReplicatedItem.put(harness, relay, { itemId })).first);
  }
  let transactions = 0;
  const transact = harness.sharedTable.transact.bind(harness.sharedTable);
  harness.sharedTable.transact = (...parameters) => {
    transactions++;
    return transact(...parameters);
  };
  const beat = async (changes: object, of = items) => {
    transactions = 0;
    const reports = of.map(({ itemId, protectionId }) => ({
      ...{ itemId, protectionId, epoch: 1, activity: 'idle', backlogBytes: 1000 },
      ...changes,
    }));
    const body = { relayVersion: '0.2.0', memoryRssBytes: 1, items: reports };
    assert.equal((await relay.call('POST', '/relay/v1/heartbeat', body)).status, 200);
    return transactions;
  };
  const replication = async (item: ProtectedItem) =>
    (await read(harness.table, rows.item(vaultId, item.itemId)))?.value.replication;
  const [first] = items;
  assert(first !== undefined);

  // One more each time: the relay's own row.
  assert.equal(await beat({}), 6);
  harness.now = harness.now.add({ seconds: 30 });
  assert.equal(await beat({ backlogBytes: 2000 }), 1);
  assert.equal((await replication(first))?.backlogBytes, 1000);
  const lastError = { code: 'US4007', message: 'm', recommendedAction: 'r', at: '2026-01-05T10:00:10Z' };
  assert.equal(await beat({ lastError }, [first]), 2);
  assert.equal((await replication(first))?.relayError?.code, 'US4007');
  assert.equal(await beat({ lastError }, [first]), 1, 'the same error is no news');
  assert.equal(await beat({ lastError: { ...lastError, at: '2026-01-05T10:00:20Z' } }, [first]), 2);
  assert.equal(await beat({}, [first]), 2, 'its end is');
  assert.equal((await replication(first))?.relayError, undefined);
  assert.equal(await beat({}, [first]), 1);
  assert.equal(await beat({ backlogBytes: 17 * mebibyte }), 6);
  assert.equal((await replication(first))?.backlogBytes, 17 * mebibyte);
  harness.now = harness.now.add({ seconds: 120 });
  assert.equal(await beat({ backlogBytes: 17 * mebibyte }), 6);
  assert.equal((await replication(first))?.lastHeartbeatAt, harness.now.toString());
});

test('an item that another writer changed meanwhile spoils no report', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const items: ProtectedItem[] = [];
  for (let index = 0; index < 5; index++) {
    const itemId = itemIdOf(vaultId, relay.fabricName, 'c', `vm-${index}`);
    items.push((await ReplicatedItem.put(harness, relay, { itemId }, { appliedCycle: 0 })).first);
  }
  const query = harness.sharedTable.query.bind(harness.sharedTable);
  harness.sharedTable.query = async (...parameters) => {
    const found = await query(...parameters);
    const [meddled] = items;
    assert(meddled !== undefined);
    const stored = await read(harness.sharedTable, rows.item(vaultId, meddled.itemId));
    assert(stored !== undefined);
    const replication = { ...stored.value.replication, appliedCycle: stored.value.replication.appliedCycle + 1 };
    await harness.sharedTable.transact(vaultPartition(vaultId), [replace(stored, { ...stored.value, replication })]);
    return found;
  };
  const reports = items.map(({ itemId, protectionId }) => {
    return { itemId, protectionId, epoch: 1, activity: 'idle', backlogBytes: 1000 };
  });
  const body = { relayVersion: '0.2.0', memoryRssBytes: 1, items: reports };
  assert.equal((await relay.call('POST', '/relay/v1/heartbeat', body)).status, 200);
  for (const [index, { itemId }] of items.entries()) {
    const stored = await read(harness.sharedTable, rows.item(vaultId, itemId));
    assert.equal(stored?.value.replication.backlogBytes, 1000);
    assert.equal(stored.value.replication.appliedCycle, index === 0 ? 1 : 0);
  }
});
