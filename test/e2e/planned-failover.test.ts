import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { downloadDisk, qemuCompare } from '../../scripts/demo/compare-disks.js';
import { judgePoint } from '../support/system/judge-points.js';
import { eventually, logTail, startSystem } from '../support/system/understudy-system.js';

const testNetworkId =
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.Network/virtualNetworks/test';

test('a VM is drilled while it is replicated; a planned failover then moves it without losing a write, and its source stays off', async () => {
  const system = await startSystem({ speed: 10 });
  try {
    await system.protectVm('sql-01');
    await eventually(
      'sql-01 has two recovery points',
      90_000,
      async () => ((await system.points('sql-01')).length >= 2 ? true : undefined),
      () => logTail(system, 'relay'),
    );
    const { sdk, scope } = system.vault;
    const { fabricName, containerName, itemName, item } = await system.vault.item('sql-01');
    assert.ok(item.properties?.allowedOperations?.includes('PlannedFailover'));
    const address = [...scope, fabricName, containerName, itemName] as const;
    const tested = await sdk.replicationProtectedItems.beginTestFailoverAndWait(
      ...address,
      {
        properties: {
          failoverDirection: 'PrimaryToRecovery',
          networkType: 'VmNetworkAsInput',
          networkId: testNetworkId,
          providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
        },
      },
      { updateIntervalInMs: 250 },
    );
    assert.equal(tested.properties?.testFailoverState, 'WaitingForCompletion');
    assert.equal(tested.properties.protectionStateDescription, 'Cleanup test failover pending');
    assert.deepEqual(tested.properties.allowedOperations?.slice(0, 2), ['TestFailoverCleanup', 'UnplannedFailover']);
    const { testFailover } = await system.item('sql-01');
    const point = (await system.points('sql-01')).find(({ cycle }) => cycle === testFailover?.point?.cycle);
    assert.ok(testFailover && point, 'the tested point is held');
    await judgePoint(system, 'sql-01', point);
    const cleaned = await sdk.replicationProtectedItems.beginTestFailoverCleanupAndWait(
      ...address,
      { properties: { comments: 'the database came up' } },
      { updateIntervalInMs: 250 },
    );
    assert.equal(cleaned.properties?.testFailoverState, 'None');
    assert.ok(cleaned.properties.lastSuccessfulTestFailoverTime);
    for (const { blob } of testFailover.disks) assert.equal(await system.replicas.properties(blob), undefined);
    const failedOver = await sdk.replicationProtectedItems.beginPlannedFailoverAndWait(
      ...scope,
      fabricName,
      containerName,
      itemName,
      {
        properties: {
          failoverDirection: 'PrimaryToRecovery',
          providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
        },
      },
      { updateIntervalInMs: 250 },
    );
    assert.equal(failedOver.properties?.protectionState, 'PlannedFailoverCommitRequired');
    assert.equal(failedOver.properties.activeLocation, 'Recovery');

    // The source's own files, as the VM left them when it was shut down: no write is missing.
    const { disks, failover } = await system.item('sql-01');
    const outFolder = join(system.folder, 'failover');
    await mkdir(outFolder);
    for (const { diskId, name } of disks) {
      const blob = failover?.disks.find((disk) => disk.diskId === diskId)?.blob;
      assert.ok(blob);
      const copy = join(outFolder, `${name}.vhd`);
      await downloadDisk(system.replicas, blob, copy);
      const verdict = await qemuCompare(join(system.siteFolder, 'sql-01', `${name}.vhdx`), copy, 'vhdx');
      assert.notEqual(verdict, 'different', name);
      if (process.env.UNDERSTUDY_REQUIRE_JUDGES === '1') assert.equal(verdict, 'identical', name);
    }
    await assert.rejects(system.site('power', 'on', '--vm', 'sql-01'), /US5022/);
    const committed = await sdk.replicationProtectedItems.beginFailoverCommitAndWait(
      ...scope,
      fabricName,
      containerName,
      itemName,
      { updateIntervalInMs: 250 },
    );
    assert.equal(committed.properties?.protectionState, 'PlannedFailoverStatesBegin');
  } finally {
    await system.stop();
  }
});
