import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asJobName } from '../../../core/domain/ids.js';
import { resyncChunkBytes, resyncRegionBytes } from '../../../core/domain/replication/resync-geometry.js';
import { list } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { Harness } from '../../support/api/harness.js';
import { ReplicatedItem, vaultId } from '../../support/api/replicated-items.js';
import { sampleDisk } from '../../support/sample-item.js';

const codeOf = (answer: ApiResponse): string => (answer.body as { error: { code: string } }).error.code;

/** An item that is being resynchronized: of three regions of each disk the first has its checksums. */
async function world() {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const resync = {
    jobName: asJobName('resync'),
    startedAt: '2026-01-05T09:00:00Z',
    cause: 'logTooLarge',
    changedSince: { epoch: 1, cycle: 3 },
  };
  const sizes = { sourceSizeBytes: 3 * resyncRegionBytes, digestedThroughBytes: resyncRegionBytes };
  const item = await ReplicatedItem.put(
    harness,
    relay,
    { state: 'Resynchronizing', disks: [sampleDisk(0, sizes), sampleDisk(1, sizes)] },
    { phase: 'resynchronization', epoch: 2, torn: true, resync },
  );
  const post = (what: string, body: object) =>
    relay.call('POST', `/relay/v1/items/${item.first.itemId}/${what}`, {
      protectionId: item.first.protectionId,
      epoch: 2,
      ...body,
    });
  const stored = async () => ({
    item: await item.now(),
    scopes: (await list(harness.table, rows.resyncScopes(vaultId, item.first.itemId))).map(({ value }) => value),
  });
  return { harness, item, post, stored };
}

test('change records of a disk of another size are refused, and without them the base may start', async () => {
  const { harness, item, post, stored } = await world();
  await item.progress({ checkpointAt: undefined });
  const before = await stored();
  const scopesOf = (grownBytes: number) =>
    before.item.disks.map(({ diskId, sourceSizeBytes }, index) => {
      const chunks = (sourceSizeBytes + (index === 0 ? grownBytes : 0)) / resyncChunkBytes;
      const bitmap = Buffer.alloc(Math.ceil(chunks / 8)).toString('base64');
      return { diskId, groupBytes: resyncChunkBytes, bitmap };
    });
  const checkpointAt = '2026-01-05T10:00:00Z';
  for (const grownBytes of [8 * resyncChunkBytes, -8 * resyncChunkBytes]) {
    const answer = await post('baseStarted', { checkpointAt, scopes: scopesOf(grownBytes) });
    assert.equal(answer.status, 409);
    assert.equal(codeOf(answer), 'US3017');
    assert.deepEqual(await stored(), before);
  }
  assert.deepEqual(harness.rung, []);
  assert.equal((await post('baseStarted', { checkpointAt })).status, 200);
  assert.equal((await item.now()).replication.checkpointAt, checkpointAt);
});

test('checksums that are not there yet, or of no region, are refused', async () => {
  const { item, post, stored } = await world();
  const { diskId } = (await item.now()).disks[0] ?? assert.fail('no disk');
  const before = await stored();
  for (const fromBytes of [resyncRegionBytes, 2 * resyncRegionBytes, resyncChunkBytes]) {
    const answer = await post('digests', { diskId, fromBytes });
    assert.equal(answer.status, 409);
    assert.equal(codeOf(answer), 'US3018');
    assert.deepEqual(await stored(), before);
  }
});
