import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { downloadDisk, firstDifference, qemuCompare } from '../../scripts/demo/compare-disks.js';
import { judgePoint } from '../support/system/judge-points.js';
import { eventually, logTail, startSystem } from '../support/system/understudy-system.js';

const mib = 1024 * 1024;
const polling = { updateIntervalInMs: 250 };
const vm = 'sql-01';

test('a VM goes to Azure, is written to there, comes back without losing a write, and is replicated again', async () => {
  const system = await startSystem({ speed: 10 });
  try {
    await system.protectVm(vm);
    await eventually(
      'sql-01 is protected',
      90_000,
      async () => ((await system.item(vm)).state === 'Protected' ? true : undefined),
      () => logTail(system, 'relay'),
    );
    const { sdk, scope } = system.vault;
    const { fabricName, containerName, itemName } = await system.vault.item(vm);
    const address = [...scope, fabricName, containerName, itemName] as const;
    const items = sdk.replicationProtectedItems;
    const planned = {
      failoverDirection: 'PrimaryToRecovery',
      providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
    } as const;
    await items.beginPlannedFailoverAndWait(...address, { properties: planned }, polling);
    await items.beginFailoverCommitAndWait(...address, polling);

    const { failover, disks } = await system.item(vm);
    const vmArmId = failover?.vmArmId ?? '';
    const write = async (lun: number, at: number, data: Buffer) => system.guest.write(vmArmId, lun, at, data);
    for (const lun of [0, 1]) await write(lun, (10 + lun) * mib, randomBytes(3 * mib));

    const poller = await items.beginPlannedFailover(...address, {
      properties: {
        failoverDirection: 'RecoveryToPrimary',
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzureFailback', dataSyncOption: 'ForSynchronization' },
      },
    });
    const waiting = await eventually(
      'the data is synchronized',
      60_000,
      async () => (await system.vault.jobs()).find(({ properties }) => properties?.state === 'Suspended'),
      async () => `${JSON.stringify((await system.vault.jobs())[0])} ${await logTail(system, 'relay')}`,
    );
    assert.equal(waiting.properties?.stateDescription, 'WaitingForFailbackCompletion');
    assert.deepEqual(waiting.properties.allowedActions, ['Cancel', 'Resume']);
    assert.equal(
      (await system.compute.getVm(vmArmId))?.powerState,
      'running',
      'it runs while its data is synchronized',
    );
    const fetched = (await system.item(vm)).failback?.round?.copied?.fetchedBytes ?? 0;
    assert.ok(fetched >= 6 * mib && fetched < 8 * mib, `only what differs is fetched: ${fetched} bytes`);
    for (const lun of [0, 1]) await write(lun, (30 + lun) * mib, randomBytes(64 * 1024));
    await assert.rejects(system.site('power', 'on', '--vm', vm), /US5022/);

    await sdk.replicationJobs.beginResumeAndWait(
      ...scope,
      waiting.name ?? '',
      { properties: { comments: 'go' } },
      polling,
    );
    const back = await poller.pollUntilDone().then(() => items.get(...address));
    assert.deepEqual(
      [back.properties?.protectionState, back.properties?.activeLocation, back.properties?.allowedOperations],
      ['FailbackCommitRequired', 'Primary', ['Commit', 'DisableProtection']],
    );
    await assert.rejects(write(0, 0, Buffer.alloc(512)), { code: 'US6053' });
    const { failback, replication } = await system.item(vm);
    assert.ok(failback?.round?.isFinal);

    // The disks that the site's VM started from, by its journal, against the VM's own disks in Azure.
    const out = join(system.folder, 'failback');
    await mkdir(out);
    const cycle = String(replication.receivedCycle);
    await system.site('disk-at', '--vm', vm, '--cycle', cycle, '--epoch', String(failback.round.epoch), '--out', out);
    for (const { diskId, name, sourceSizeBytes } of disks) {
      const blob = failover?.disks.find((disk) => disk.diskId === diskId)?.blob;
      assert.ok(blob);
      const copy = join(out, `${name}.vhd`);
      await downloadDisk(system.replicas, blob, copy);
      assert.equal(await firstDifference(join(out, `${name}.raw`), copy, sourceSizeBytes), undefined, name);
      const verdict = await qemuCompare(join(out, `${name}.raw`), copy);
      assert.notEqual(verdict, 'different', name);
      if (process.env.UNDERSTUDY_REQUIRE_JUDGES === '1') assert.equal(verdict, 'identical', name);
    }

    await items.beginFailoverCommitAndWait(...address, polling);
    assert.equal(await system.compute.getVm(vmArmId), undefined);
    for (const { blob } of failover?.disks ?? []) assert.equal(await system.replicas.properties(blob), undefined);
    for (const { replica } of disks)
      assert.equal(await system.replicas.properties(replica), undefined, 'the old replica');
    const again = await items.beginReprotectAndWait(...address, { properties: {} }, polling);
    assert.deepEqual([again.properties?.protectionState, again.properties?.activeLocation], ['Protected', 'Primary']);
    const point = await eventually(
      'replication goes on',
      60_000,
      async () => (await system.points(vm))[1],
      async () => `${JSON.stringify((await system.item(vm)).replication)} ${await logTail(system, 'relay')}`,
    );
    const after = await system.item(vm);
    assert.equal(after.replication.resyncRequired, undefined);
    assert.equal(after.failback, undefined);
    await judgePoint(system, vm, point, undefined, failback.round.epoch);
    const sent = after.disks.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
    const before = disks.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
    assert.ok(sent - before < 16 * mib, `only what changed since is sent: ${sent - before} bytes`);
  } finally {
    await system.stop();
  }
});
