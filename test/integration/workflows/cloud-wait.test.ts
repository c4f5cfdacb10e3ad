import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { inWorld } from '../../support/replication/in-world.js';

const goesOn = () =>
  new UnderstudyError({
    code: 'US6065',
    message: 'US6065 importing a disk goes on in Azure',
    recommendedAction: 'Nothing.',
    retry: 'later',
  });

test('a disk whose import takes an hour in Azure is waited for, and does not fail the failover', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    world.compute.faults.fail('createVm', 'beforeEffect', { times: 120, error: goesOn });
    const before = world.time.now();
    const job = await world.failOver();
    assert.deepEqual([job.state, job.errors], ['Succeeded', []]);
    assert.ok(world.time.now() - before >= 120 * 30_000);
  });
});

test('any other failure is tried a few times only', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    world.compute.faults.fail('createVm', 'beforeEffect', { times: 120, error: () => new Error('no capacity') });
    assert.equal((await world.failOver()).state, 'Failed');
  });
});
