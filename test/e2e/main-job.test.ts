import assert from 'node:assert/strict';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkOrderedHistory, type ReadDisk } from '../../providers/simulated-site/guests/ordered-records.js';
import { judgeFailover } from '../../scripts/demo/judge-failover.js';
import { judgePoint } from '../support/system/judge-points.js';
import { eventually, logTail, startSystem } from '../support/system/understudy-system.js';

test('a VM is protected, replicated, failed over and committed through the official SDK, every recovery point a prefix of its guest’s history', async () => {
  const system = await startSystem({ speed: 10 });
  try {
    await system.protectVm('sql-01');
    const points = await eventually(
      'sql-01 has five recovery points',
      90_000,
      async () => {
        const found = await system.points('sql-01');
        return found.length >= 5 ? found : undefined;
      },
      () => logTail(system, 'relay'),
    );

    const item = await system.item('sql-01');
    const layout = {
      diskSizes: item.disks.map(({ sourceSizeBytes }) => sourceSizeBytes),
      tag: Number.parseInt(item.vmId.slice(0, 8), 16),
    };
    let lastSequence = 0;
    for (const point of points) {
      await judgePoint(system, 'sql-01', point, async ({ images }) => {
        const history = await checkOrderedHistory(layout, images.map(reader));
        assert.equal(history.kind, 'prefix', `cycle ${point.cycle}: ${JSON.stringify(history)}`);
        assert.ok(history.lastSequence >= lastSequence, 'history never goes back');
        lastSequence = history.lastSequence;
      });
    }
    assert.ok(lastSequence > 0, 'the guest wrote while it was replicated');

    const { sdk, scope } = system.vault;
    const found = await system.vault.item('sql-01');
    const address = [...scope, found.fabricName, found.containerName, found.itemName] as const;
    assert.ok(found.item.properties?.allowedOperations?.includes('UnplannedFailover'));
    const failedOver = await sdk.replicationProtectedItems.beginUnplannedFailoverAndWait(
      ...address,
      {
        properties: {
          failoverDirection: 'PrimaryToRecovery',
          sourceSiteOperations: 'NotRequired',
          providerSpecificDetails: { instanceType: 'HyperVReplicaAzure', recoveryPointId: 'Latest' },
        },
      },
      { updateIntervalInMs: 250 },
    );
    assert.equal(failedOver.properties?.protectionState, 'UnplannedFailoverCommitPendingStatesBegin');
    assert.equal(failedOver.properties?.activeLocation, 'Recovery');
    const outFolder = join(system.folder, 'failover');
    await mkdir(outFolder);
    const judge = (): ReturnType<typeof judgeFailover> =>
      judgeFailover({
        environment: system.environment,
        dataFolder: join(system.folder, 'data'),
        siteFolder: system.siteFolder,
        fabricName: found.fabricName,
        containerName: found.containerName,
        itemName: found.itemName,
        vmName: 'sql-01',
        outFolder,
      });
    const committed = await sdk.replicationProtectedItems.beginFailoverCommitAndWait(...address, {
      updateIntervalInMs: 250,
    });
    assert.equal(committed.properties?.protectionState, 'UnplannedFailoverCommitted');
    assert.deepEqual(await system.points('sql-01'), [], 'commit gives up the other recovery points');
    const disks = await judge();
    assert.equal(disks.length, 2);
    for (const disk of disks) {
      assert.equal(disk.firstDifferenceBytes, undefined, disk.name);
      assert.notEqual(disk.qemu, 'different', disk.name);
      if (process.env.UNDERSTUDY_REQUIRE_JUDGES === '1') assert.equal(disk.qemu, 'identical');
    }
    const jobs = await system.vault.jobs();
    for (const scenario of ['EnableDr', 'IrCompletion', 'UnplannedFailover', 'CommitFailover']) {
      const job = jobs.find(({ properties }) => properties?.scenarioName === scenario);
      assert.equal(job?.properties?.state, 'Succeeded', `${scenario}: ${JSON.stringify(job?.properties?.errors)}`);
      assert.ok(
        job.properties.tasks?.every(({ state }) => state === 'Succeeded' || state === 'Skipped'),
        JSON.stringify(job.properties.tasks),
      );
    }
  } finally {
    await system.stop();
  }
});

const reader =
  (path: string): ReadDisk =>
  async (offsetBytes, lengthBytes) => {
    const file = await open(path, 'r');
    try {
      const buffer = Buffer.alloc(lengthBytes);
      await file.read(buffer, 0, lengthBytes, offsetBytes);
      return buffer;
    } finally {
      await file.close();
    }
  };
