import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { downloadDisk, firstDifference, qemuCompare } from '../../scripts/demo/compare-disks.js';
import { judgePoint } from '../support/system/judge-points.js';
import { eventually, logTail, startSystem } from '../support/system/understudy-system.js';

const mib = 1024 * 1024;
const polling = { updateIntervalInMs: 250 };
const vm = 'web-01';

test('a VM that the site lost is failed back to one that is made anew on another host, and replicated again', async () => {
  const system = await startSystem({ speed: 10 });
  try {
    await system.protectVm(vm);
    await eventually(
      `${vm} is protected`,
      90_000,
      async () => ((await system.item(vm)).state === 'Protected' ? true : undefined),
      () => logTail(system, 'relay'),
    );
    const { sdk, scope } = system.vault;
    const { fabricName, containerName, itemName, item } = await system.vault.item(vm);
    const address = [...scope, fabricName, containerName, itemName] as const;
    const items = sdk.replicationProtectedItems;
    const addresses = (change: object) =>
      system.vault.call<{ publicAddress: boolean; publicIpAddress?: string }>('POST', '/understudy/v1/publicAddress', {
        itemId: item.id,
        ...change,
      });
    assert.equal((await addresses({ publicAddress: true })).publicAddress, true);
    await system.site('remove', '--vm', vm);
    await items.beginUnplannedFailoverAndWait(
      ...address,
      {
        properties: {
          failoverDirection: 'PrimaryToRecovery',
          providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' },
        },
      },
      polling,
    );
    await items.beginFailoverCommitAndWait(...address, polling);
    assert.match((await addresses({})).publicIpAddress ?? '', /^203\.0\.113\./);
    const { failover, disks } = await system.item(vm);
    await system.guest.write(failover?.vmArmId ?? '', 0, 8 * mib, Buffer.alloc(mib, 'written in Azure'));

    const back = (recoveryVmCreationOption: string, providerIdForAlternateRecovery?: string) => ({
      properties: {
        failoverDirection: 'RecoveryToPrimary',
        providerSpecificDetails: {
          instanceType: 'HyperVReplicaAzureFailback' as const,
          dataSyncOption: 'ForDownTime',
          recoveryVmCreationOption,
          ...(providerIdForAlternateRecovery !== undefined && { providerIdForAlternateRecovery }),
        },
      },
    });
    // Told from the inventory, or by the site itself where that is half a minute old.
    await assert.rejects(
      items.beginPlannedFailoverAndWait(...address, back('NoAction'), polling),
      /has no (virtual machine|VM)/,
    );
    assert.equal((await system.compute.getVm(failover?.vmArmId ?? ''))?.powerState, 'running');
    await assert.rejects(
      items.beginPlannedFailoverAndWait(...address, back('CreateVmIfNotFound', 'no-such-host'), polling),
      /no host no-such-host/,
    );
    const hostId = await otherHost(system.siteFolder, failover?.source?.hostId);
    const done = await items.beginPlannedFailoverAndWait(...address, back('CreateVmIfNotFound', hostId), polling);
    assert.equal(done.properties?.protectionState, 'FailbackCommitRequired');

    const { failback, replication } = await system.item(vm);
    const siteEpoch = failback?.round?.epoch ?? 0;
    const out = join(system.folder, 'failback');
    await mkdir(out);
    const cycle = String(replication.receivedCycle);
    await system.site('disk-at', '--vm', vm, '--cycle', cycle, '--epoch', String(siteEpoch), '--out', out);
    for (const { diskId, name, sourceSizeBytes } of disks) {
      const blob = failover?.disks.find((disk) => disk.diskId === diskId)?.blob;
      assert.ok(blob);
      await downloadDisk(system.replicas, blob, join(out, `${name}.vhd`));
      assert.equal(
        await firstDifference(join(out, `${name}.raw`), join(out, `${name}.vhd`), sourceSizeBytes),
        undefined,
      );
      assert.notEqual(await qemuCompare(join(out, `${name}.raw`), join(out, `${name}.vhd`)), 'different');
    }
    await items.beginFailoverCommitAndWait(...address, polling);
    await items.beginReprotectAndWait(...address, { properties: {} }, polling);
    await system.site('guest', '--vm', vm, '--rate', '20', '--kind', 'random');
    const point = await eventually('replication goes on', 60_000, async () => (await system.points(vm))[1]);
    await judgePoint(system, vm, point, undefined, siteEpoch);
  } finally {
    await system.stop();
  }
});

async function otherHost(siteFolder: string, hostId: string | undefined): Promise<string> {
  const { readSiteFile } = await import('../../providers/simulated-site/site-file.js');
  const other = (await readSiteFile(siteFolder))?.hosts.find((host) => host.hostId !== hostId);
  assert.ok(other);
  return other.hostId;
}
