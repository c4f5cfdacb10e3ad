import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asJobName } from '../../../core/domain/ids.js';
import type { Failback, ReplicationProgress } from '../../../core/domain/protected-item/protected-item.js';
import { insert } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import type { ApiRequest } from '../../../functions/http/exchange.js';
import { clockSkewMaxSeconds } from '../../../functions/relay-api/relay-caller.js';
import { relayOperations, RelayRouter } from '../../../functions/relay-api/relay-router.js';
import { Harness, sampleInventory, type TestRelay } from '../../support/api/harness.js';
import { ReplicatedItem } from '../../support/api/replicated-items.js';
import { mebibyte, sampleDisk, sampleLog, sampleManifest } from '../../support/sample-item.js';

/** A signed call, as it is taken at first, and what the relay says after it. */
interface Scene {
  call: string;
  /** The rest of the path, after the relay API's root. */
  target: (
    relay: TestRelay,
    harness: Harness,
  ) => Promise<{ path: string; body?: object; later?: () => Promise<unknown> }>;
}

const heartbeat = { relayVersion: '1', memoryRssBytes: 1 };
const failback: Failback = { jobName: asJobName('failback'), startedAt: '2026-01-05T09:00:00Z', vmRan: true };
const sources = [{ diskId: sampleDisk(0).diskId, blob: sampleDisk(0).replica }];
const round = { epoch: 2, isFinal: false, startedAt: '2026-01-05T09:00:00Z', exportName: 'x', sources };

/** A call about an item with two disks. */
const ofItem = (call: string, progress: Partial<ReplicationProgress>, body: object, itsFailback?: Failback): Scene => ({
  call: `/items/{id}/${call}`,
  target: async (relay, harness) => {
    const size = { sourceSizeBytes: 4 * mebibyte, digestedThroughBytes: 4 * mebibyte };
    const disks = [sampleDisk(0, size), sampleDisk(1, size)];
    const item = await ReplicatedItem.put(
      harness,
      relay,
      { disks, ...(itsFailback && { failback: itsFailback }) },
      { epoch: 2, ...progress },
    );
    const { itemId, protectionId } = item.first;
    return { path: `/items/${itemId}/${call}`, body: { protectionId, epoch: 2, ...body } };
  },
});

const reported = (state: string, progress: Partial<ReplicationProgress>, changes: Partial<Failback>): Scene =>
  ofItem('failback', progress, { state, fetchedBytes: 7 }, { ...failback, ...changes });

const { diskId } = sampleDisk(0);
const upload = { target: { kind: 'cycle', cycle: 4, diskId } };

const scenes: Scene[] = [
  {
    call: '/inventory',
    target: async (relay) => ({
      path: '/inventory',
      body: { ...sampleInventory(), vmmServerName: 'as it was' },
      later: () => relay.call('PUT', '/relay/v1/inventory', { ...sampleInventory(), vmmServerName: 'as it is now' }),
    }),
  },
  {
    call: '/heartbeat',
    target: async (relay, harness) => {
      const { first } = await ReplicatedItem.put(harness, relay);
      const { itemId, protectionId } = first;
      const report = { itemId, protectionId, epoch: 1, activity: 'sending' };
      const lastError = { code: 'US5110', message: 'cut', recommendedAction: '', at: '2026-01-05T10:00:00Z' };
      return {
        path: '/heartbeat',
        body: { ...heartbeat, items: [{ ...report, backlogBytes: 77 * mebibyte, lastError }] },
        later: () =>
          relay.call('POST', '/relay/v1/heartbeat', { ...heartbeat, items: [{ ...report, backlogBytes: 0 }] }),
      };
    },
  },
  { call: '/inventory', target: async () => ({ path: '/inventory', body: sampleInventory() }) },
  { call: '/heartbeat', target: async () => ({ path: '/heartbeat', body: { ...heartbeat, items: [] } }) },
  { call: '/assignments', target: async () => ({ path: '/assignments' }) },
  {
    call: '/commands/{id}/result',
    target: async (relay, harness) => {
      const ref = rows.command(relay.relayId as never, 'c-1');
      const command = { kind: 'shutDownVm', commandId: 'c-1', vmId: 'v' } as const;
      await harness.table.transact(ref.partition, [insert(ref, { command, instanceId: 'job-1', createdAt: 'now' })]);
      return { path: '/commands/c-1/result', body: { kind: 'succeeded' } };
    },
  },
  ofItem('uploads', {}, upload),
  ofItem('uploads', {}, { ...upload, uploadId: 'a'.repeat(32) }),
  ofItem('digests', { phase: 'resynchronization', torn: true }, { diskId, fromBytes: 0 }),
  ofItem('disks', { phase: 'failback' }, { diskId }, { ...failback, round }),
  reported('prepared', { phase: 'failback' }, {}),
  reported('copied', { phase: 'failback' }, { prepared: true, round }),
  reported('replaced', { phase: 'failback' }, { prepared: true, swap: 'ordered' }),
  reported('started', { phase: 'stopped', stopReason: 'failedBack' }, { prepared: true, swap: 'done' }),
  ofItem(
    'segments',
    { phase: 'initialReplication', receivedCycle: 0, appliedCycle: 0 },
    { diskId, fromBytes: 0, toBytes: 2 * mebibyte, log: sampleLog() },
  ),
  ofItem('cycles', {}, sampleManifest(4, { epoch: 2 })),
  ofItem(
    'baseStarted',
    { phase: 'initialReplication', receivedCycle: 0, appliedCycle: 0 },
    { checkpointAt: '2026-01-05T10:00:00Z' },
  ),
  ofItem('resyncRequired', {}, { reason: 'logCorrupt', message: 'm', at: '2026-01-05T10:00:00Z' }),
];

test('a signed request that is repeated within the skew changes no row, on the worker that took it or on another', async () => {
  for (const scene of scenes) {
    const operation = relayOperations.find(({ path }) => path === scene.call);
    assert(operation, scene.call);
    const harness = new Harness();
    const relay = await harness.registeredRelay();
    const { path, body, later } = await scene.target(relay, harness);
    harness.app.transfers.stat = async () => ({ etag: '"0x1"', lengthBytes: 1000 });
    const request: ApiRequest = relay.signed(operation.method, `/relay/v1${path}`, body);
    const first = await harness.relay(request);
    assert.equal(first.status, 200, `${scene.call}: ${JSON.stringify(first.body)}`);
    harness.systemNow = harness.systemNow.add({ seconds: 1 });
    await later?.();
    harness.now = harness.now.add({ seconds: clockSkewMaxSeconds });
    harness.systemNow = harness.systemNow.add({ seconds: clockSkewMaxSeconds - 1 });
    const before = harness.content();
    const again = await harness.relay(request);
    assert.equal((again.body as { error: { code: string } }).error.code, 'US1102');
    const elsewhere = await new RelayRouter().answer(harness.app, request);
    assert(elsewhere.status < 500, `${scene.call}: ${JSON.stringify(elsewhere.body)}`);
    assert(harness.content() === before, `${scene.call} changed a row`);
    harness.systemNow = harness.systemNow.add({ seconds: 1 });
    const late = await new RelayRouter().answer(harness.app, request);
    assert.equal((late.body as { error: { code: string } }).error.code, 'US1101');
  }
  assert.deepEqual([...new Set(scenes.map(({ call }) => call))].sort(), relayOperations.map(({ path }) => path).sort());
});
