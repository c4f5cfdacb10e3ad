import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeBeginFailbackRound, makeOrderReplacement, makeSuspendFailback } from '../../../activities/failback.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import { hasEnded } from '../../../core/domain/jobs/transitions.js';
import { allowedOperations } from '../../../core/domain/protected-item/state-table.js';
import type { ProtectedItem, ReplicaBlob } from '../../../core/domain/protected-item/protected-item.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { read, replace } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import {
  beginFailback,
  commitAndReprotect,
  complete,
  failedOver,
  heardOf,
  report,
  resumedAfterSynchronizing,
  say,
  untilRound,
  untilSuspended,
} from '../../support/replication/failback-scene.js';
import { inWorld } from '../../support/replication/in-world.js';
import { sampleVaultId } from '../../support/sample-item.js';
import type { WorkflowWorld } from '../../support/replication/workflow-world.js';

/** The guest of the VM in Azure writes. */
async function writeInAzure(world: WorkflowWorld, diskIndex: number, offsetBytes: number, text: string): Promise<void> {
  const blob = (await world.currentItem()).failover?.disks[diskIndex]?.blob;
  assert(blob);
  const found = await world.replicas.properties(blob);
  assert(found);
  const data = Buffer.alloc(512);
  data.write(text);
  await world.replicas.writePages(blob, offsetBytes, data, found.fence);
}

const contentOf = async (world: WorkflowWorld, blob: ReplicaBlob): Promise<Buffer> =>
  world.replicas.readPages(blob, 0, (await world.replicas.properties(blob))?.lengthBytes ?? 0);

const vmOf = (world: WorkflowWorld) => [...world.compute.vms.values()];

/** The VM goes on in Azure, and the next failback succeeds. */
async function assertGivenBack(world: WorkflowWorld): Promise<void> {
  const item = await world.untilState('FailoverCommitted');
  assert.deepEqual(
    [item.failback, item.replication.phase, item.replication.stopReason],
    [undefined, 'stopped', 'failedOver'],
  );
  assert.deepEqual(
    vmOf(world).map(({ powerState }) => powerState),
    ['running'],
  );
  assert.equal(world.compute.exports.size, 0, 'nothing is held still any more');
  await world.untilQuiet();
  const jobName = await beginFailback(world, false);
  await complete(world, jobName);
  await commitAndReprotect(world);
}

for (const copiesFromSnapshotsAreIndependent of [false, true]) {
  for (const activitiesTwice of [false, true]) {
    test(`a VM comes back, its replica becomes what it last was in Azure, and replication goes on (store copies itself: ${copiesFromSnapshotsAreIndependent}, activities twice: ${activitiesTwice})`, async () => {
      await inWorld({ modes: { activitiesTwice }, copiesFromSnapshotsAreIndependent }, async (world) => {
        await failedOver(world);
        const before = await world.currentItem();
        await writeInAzure(world, 0, 4096, 'before the failback');
        const jobName = await beginFailback(world);
        await untilRound(world, false);
        await world.until(
          async () =>
            (await world.currentItem()).disks.every((disk) => disk.digestedThroughBytes >= disk.sourceSizeBytes),
          'the checksums of all disks',
        );
        assert.equal(vmOf(world)[0]?.powerState, 'running');
        await writeInAzure(world, 1, 8192, 'while it is synchronized');
        await report(world, 'copied');
        await untilSuspended(world, jobName);
        assert.deepEqual(allowedOperations(await world.currentItem()), []);
        await say(world, jobName, 'resume');
        await untilRound(world, true);
        assert.equal(vmOf(world)[0]?.powerState, 'stopped', 'the final round begins when the VM is off');
        const final = await Promise.all((before.failover?.disks ?? []).map(async ({ blob }) => contentOf(world, blob)));
        await complete(world, jobName);
        const back = await world.currentItem();
        assert.deepEqual(allowedOperations(back), ['Commit', 'DisableProtection']);
        assert.equal((await world.job(jobName)).comments, 'go on');

        await commitAndReprotect(world);
        const item = await world.currentItem();
        assert.equal(world.compute.vms.size, 0);
        assert.deepEqual([item.failover, item.failback], [undefined, undefined]);
        for (const [index, { replica }] of item.disks.entries()) {
          assert.deepEqual(await contentOf(world, replica), final[index], `disk ${index}`);
          assert.equal(await world.replicas.properties(before.disks[index]?.replica ?? replica), undefined);
          assert.equal(await world.replicas.properties(before.failover?.disks[index]?.blob ?? replica), undefined);
        }
        assert.deepEqual([item.replication.phase, item.replication.torn], ['delta', false]);
        assert.equal((await world.source.sendCycle()).kind, 'accepted');
        await world.untilApplied(world.source.cycle);
        await world.untilQuiet();
        assert.deepEqual(
          (await world.points()).map(({ cycle }) => cycle),
          [world.source.cycle],
        );
      });
    });
  }
}

test('a failback can be cancelled as long as the VM is not handed over, and be run again', async () => {
  for (const when of ['synchronizing', 'synchronized', 'finalRound', 'replacing'] as const) {
    await inWorld({}, async (world) => {
      await failedOver(world);
      const jobName = await beginFailback(world);
      await untilRound(world, false);
      if (when !== 'synchronizing') {
        await report(world, 'copied');
        await untilSuspended(world, jobName);
      }
      if (when === 'finalRound' || when === 'replacing') {
        await say(world, jobName, 'resume');
        await untilRound(world, true);
      }
      if (when === 'replacing') {
        await report(world, 'copied');
        await world.until(async () => (await world.currentItem()).failback?.swap === 'ordered', 'the order');
      }
      await say(world, jobName, 'cancel');
      const job = await world.endedJob(jobName);
      assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Cancelled', ['US4026']], when);
      await assertGivenBack(world);
    });
  }
});

async function setItem(world: WorkflowWorld, change: (item: ProtectedItem) => ProtectedItem): Promise<void> {
  const stored = await world.storedItem();
  await world.table.transact(stored.ref.partition, [replace(stored, change(stored.value))]);
}

test('a relay that is lost in the final round fails the failback, and the VM runs in Azure again', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const jobName = await beginFailback(world, false);
    await untilRound(world, true);
    await heardOf(world, (await world.clock.now()).toString());
    world.time.advance(6 * 60_000);
    const job = await world.endedJob(jobName);
    assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Failed', ['US4015']]);
    await heardOf(world);
    await assertGivenBack(world);
  });
});

test('a line that is cut while the VM runs in Azure is waited for', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const jobName = await beginFailback(world);
    await untilRound(world, false);
    await heardOf(world, (await world.clock.now()).toString());
    world.time.advance(60 * 60_000);
    await world.untilQuiet();
    assert.equal((await world.job(jobName)).state, 'InProgress');
    await heardOf(world);
    await report(world, 'copied');
    await untilSuspended(world, jobName);
    await say(world, jobName, 'resume');
    await complete(world, jobName);
  });
});

test('what the relay cannot do without an operator ends the failback with its own words', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const jobName = await beginFailback(world, false);
    await untilRound(world, true);
    const relayError = {
      code: 'US5025',
      message: 'the disk was written to',
      recommendedAction: 'Save it.',
      blocking: true,
    };
    const at = (await world.clock.now()).toString();
    await setItem(world, (item) => ({
      ...item,
      replication: { ...item.replication, relayError: { ...relayError, at } },
    }));
    await world.wake();
    const job = await world.endedJob(jobName);
    assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Failed', ['US4024']]);
    assert.match(job.errors[0]?.message ?? '', /the disk was written to \(US5025\)/);
    await assertGivenBack(world);
  });
});

test('a VM that was deleted in Azure, and a relay that is silent, are told before anything is touched', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    world.compute.vms.clear();
    await heardOf(world, '2000-01-01T00:00:00Z');
    world.time.advance(10 * 60_000);
    const job = await world.endedJob(await beginFailback(world));
    assert.deepEqual(
      job.errors.map(({ code }) => code),
      ['US4020', 'US4015'],
    );
    assert.equal((await world.untilState('FailoverCommitted')).failback, undefined);
  });
});

test('a VM that is late to start at the site is a warning', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const jobName = await beginFailback(world, false);
    await untilRound(world, true);
    await report(world, 'copied');
    await world.until(async () => (await world.currentItem()).failback?.swap === 'ordered', 'the order');
    await report(world, 'replaced');
    const job = await world.until(
      async () => {
        const found = await world.job(jobName);
        return hasEnded(found) && found;
      },
      'the warning',
      true,
    );
    assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Succeeded', ['US4025']]);
    await world.untilState('FailbackCommitPending');
  });
});

test('a failback that lost its item ends as failed, and says so', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const jobName = await beginFailback(world);
    await untilRound(world, false);
    await setItem(world, ({ activeJob: _, failback: _failback, ...rest }) => ({ ...rest, state: 'FailoverCommitted' }));
    await say(world, jobName, 'cancel');
    const job = await world.endedJob(jobName);
    assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Failed', ['US3020']]);
  });
});

test('a VM that is deleted in Azure while it is failed back keeps no operator from cancelling', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const jobName = await beginFailback(world);
    await untilRound(world, false);
    world.compute.vms.clear();
    await say(world, jobName, 'cancel');
    assert.equal((await world.endedJob(jobName)).state, 'Cancelled');
    assert.equal((await world.untilState('FailoverCommitted')).activeJob, undefined);
  });
});

test('a first round that is begun late puts no older disks in the place of the final ones', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const jobName = await resumedAfterSynchronizing(world);
    await untilRound(world, true);
    const { failback, itemId, protectionId } = await world.currentItem();
    const late = makeBeginFailbackRound(world);
    const input = { vaultId: sampleVaultId, itemId, protectionId, jobName, isFinal: false };
    assert.deepEqual(await late(input), { kind: 'begun' });
    assert.deepEqual((await world.currentItem()).failback, failback);
    await complete(world, jobName);
  });
});

test('a commit that fails on its way deletes nothing that is needed, and the next one leaves no orphan', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    await complete(world, await beginFailback(world, false));
    world.replicas.faults.fail('writePages', 'beforeEffect', {
      times: 1000,
      error: () => new Error('storage is full'),
    });
    const failed = await world.endedJob(
      await world.operate(jobKinds.commitFailback, workflowNames.commitFailback, 'commitStarted'),
    );
    assert.equal(failed.state, 'Failed');
    world.replicas.faults.clear();
    const waiting = await world.untilState('FailbackCommitPending');
    const begun = waiting.failback?.renewal?.disks ?? [];
    assert.equal(begun.length, 2);
    assert.equal(world.compute.vms.size, 1);
    await commitAndReprotect(world);
    for (const { blob } of begun) assert.equal(await world.replicas.properties(blob), undefined);
    assert.equal(world.compute.vms.size, 0);
  });
});

test('a disk that grew in Azure is told before anything is copied, and stays there', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const grown = (await world.currentItem()).failover?.disks[1]?.blob;
    const find = world.replicas.properties.bind(world.replicas);
    world.replicas.properties = async (blob) => {
      const found = await find(blob);
      return found && blob.blobName === grown?.blobName
        ? { ...found, lengthBytes: found.lengthBytes + 1024 ** 2 }
        : found;
    };
    const job = await world.endedJob(await beginFailback(world));
    assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Failed', ['US4027']]);
    world.replicas.properties = find;
    await assertGivenBack(world);
  });
});

test('a VM that is started in Azure after its shutdown stays there, with what it wrote', async () => {
  for (const when of ['finalRound', 'replacing'] as const) {
    await inWorld({}, async (world) => {
      await failedOver(world);
      const jobName = await beginFailback(world, false);
      await untilRound(world, true);
      if (when === 'replacing') {
        await report(world, 'copied');
        await world.until(async () => (await world.currentItem()).failback?.swap === 'ordered', 'the order');
      }
      await world.compute.startVm((await world.currentItem()).failover?.vmArmId ?? '');
      await report(world, when === 'replacing' ? 'replaced' : 'copied');
      const job = await world.endedJob(jobName);
      assert.deepEqual([job.state, job.errors.map(({ code }) => code)], ['Failed', ['US4028']], when);
      await assertGivenBack(world);
    });
  }
});

test('an export that does not end is waited for by run after run, and can be cancelled with the VM off', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const exportDisk = world.compute.exportDisk.bind(world.compute);
    let asked = 0;
    world.compute.exportDisk = () => {
      asked++;
      return Promise.resolve({ finished: false });
    };
    const jobName = await beginFailback(world, false);
    await world.until(async () => asked > 200, 'many looks', true);
    assert.deepEqual(
      vmOf(world).map(({ powerState }) => powerState),
      ['stopped'],
    );
    assert.ok((await world.harness.history(jobName)).length < 1000);
    await say(world, jobName, 'cancel');
    assert.equal((await world.endedJob(jobName)).state, 'Cancelled');
    world.compute.exportDisk = exportDisk;
    await assertGivenBack(world);
  });
});

test('what comes late in the final round asks no operator anew, and orders no swap of what is not copied', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    const jobName = await resumedAfterSynchronizing(world);
    await untilRound(world, true);
    const { itemId, protectionId } = await world.currentItem();
    const input = { vaultId: sampleVaultId, itemId, protectionId, jobName };
    assert.deepEqual(await makeSuspendFailback(world)(input), { kind: 'done' });
    assert.equal((await world.job(jobName)).state, 'InProgress');
    assert.deepEqual(await makeOrderReplacement(world)(input), { kind: 'superseded' });
    await complete(world, jobName);
  });
});

test('a commit that fails twice, and disabling after it, leave no blob and no snapshot', async () => {
  await inWorld({}, async (world) => {
    await failedOver(world);
    await complete(world, await beginFailback(world, false));
    const begun: ReplicaBlob[] = [];
    for (let attempt = 0; attempt < 2; attempt++) {
      world.replicas.faults.fail('writePages', 'beforeEffect', { times: 1000, error: () => new Error('full') });
      const commit = await world.operate(jobKinds.commitFailback, workflowNames.commitFailback, 'commitStarted');
      assert.equal((await world.endedJob(commit)).state, 'Failed');
      world.replicas.faults.clear();
      const { failback } = await world.untilState('FailbackCommitPending');
      begun.push(...(failback?.renewal?.disks ?? []).map(({ blob }) => blob));
    }
    assert.equal(new Set(begun.map(({ blobName }) => blobName)).size, 4);
    const { disks, failover } = await world.currentItem();
    await world.operate(jobKinds.disableProtection, workflowNames.disableProtection, 'disablingStarted', {
      leaveSite: true,
    });
    const row = rows.item(sampleVaultId, world.item.itemId);
    await world.until(async () => (await read(world.table, row)) === undefined, 'the item to be gone', true);
    for (const blob of [...begun, ...disks.map(({ replica }) => replica)]) {
      assert.equal(await world.replicas.properties(blob), undefined);
    }
    assert.equal(world.compute.exports.size, 0, 'the failback’s exports are ended');
    for (const { blob } of failover?.disks ?? []) assert.deepEqual(await world.replicas.listSnapshots(blob), []);
  });
});
