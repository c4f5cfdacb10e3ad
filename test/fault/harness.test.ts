import { FaultWorld, type WorldOptions } from '../support/fault/world.js';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UnderstudyError } from '../../core/domain/errors.js';
import { Storage } from '../support/fault/line.js';
import { SeededRandom } from '../support/fault/random.js';
import { runFaults } from '../support/fault/fault-run.js';
import { faultNames } from '../support/fault/fault-kinds.js';
import { VirtualTime } from '../support/fault/virtual-time.js';
import { judge } from '../support/fault/verdict.js';

const options: WorldOptions = {
  seed: 7,
  vmCount: 2,
  diskMebibytes: 4,
  replicationIntervalSeconds: 300,
  guestPauseSeconds: 60,
  resyncMode: 'immediate',
};

test('a run is its seed: the same seed gives the same log, another seed another', async () => {
  const first = await runFaults({ seed: 3, kinds: faultNames });
  const again = await runFaults({ seed: 3, kinds: faultNames });
  const other = await runFaults({ seed: 4, kinds: faultNames });
  assert.deepEqual(again.log.map(withoutLifeNumbers), first.log.map(withoutLifeNumbers));
  assert.notDeepEqual(other.log.map(withoutLifeNumbers), first.log.map(withoutLifeNumbers));
});

/** Lives are counted through the process. */
const withoutLifeNumbers = (line: string): string => line.replaceAll(/127\.0\.0\.1:\d+/g, 'relay');

test('the verdict sees a byte that differs, a snapshot that is gone, and what is left over', async () => {
  await FaultWorld.run(options, async (world) => {
    await world.protectAll();
    world.startGuests();
    await world.advance(1500);
    assert.deepEqual((await judge(world, new Set())).problems, []);

    const [item] = await world.items();
    assert(item);
    const [point] = await world.points(item.itemId);
    const [disk] = item.disks;
    const snapshotId = point?.disks[0]?.snapshotId;
    assert(disk && snapshotId);
    const problemsAfter = async (damage: () => Promise<unknown> | void): Promise<string> => {
      await damage();
      return (await judge(world, new Set())).problems.join('\n');
    };

    const stray = `${item.protectionId}/1/cycle/0000000000000001/${disk.diskId}/${'0'.repeat(32)}`;
    assert.match(
      await problemsAfter(() => void world.transfers.put(world.accountId, stray, Buffer.alloc(1))),
      /orphan blob/,
    );
    await world.transfers.deleteBelow(world.accountId, stray);

    const { etag = '', fence } = (await world.replicas.properties(disk.replica)) ?? {};
    assert(fence);
    const { snapshotId: unnamed } = await world.replicas.createSnapshot(disk.replica, { ifMatch: etag, fence });
    assert.match(await problemsAfter(() => undefined), /orphan snapshot/);
    await world.replicas.deleteSnapshot(disk.replica, unnamed);

    world.replicas.damageSnapshot(disk.replica, snapshotId, 1_000_000);
    assert.match(await problemsAfter(() => undefined), /disk 0 differs from the source at byte 1000000/);
    assert.match(await problemsAfter(() => world.replicas.deleteSnapshot(disk.replica, snapshotId)), /cannot be read/);
  });
});

test('a storage fault fails as the provider translates the answer that its name says, before or after the effect', async () => {
  const random = new SeededRandom(1);
  const storage = new Storage(new VirtualTime(0), random, () => undefined);
  storage.share = 1;
  const expected = { before: ['503 ServerBusy', 0], after: ['500 InternalError', 1] } as const;
  for (const [way, [answer, effectCount]] of Object.entries(expected)) {
    let effects = 0;
    storage.ways = [way as keyof typeof expected];
    await assert.rejects(
      storage.call('table.read', async () => effects++),
      (error: UnderstudyError) => {
        assert.deepEqual([error.code, error.retry], ['US6020', 'later']);
        assert.match(error.message, new RegExp(`table.read: the storage service answered ${answer}`));
        return true;
      },
    );
    assert.equal(effects, effectCount, way);
  }
});
