import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { bootDisks, bootVm } from '../../providers/local-compute/boot-vm.js';
import { bootSectors } from '../support/boot-disk.js';
import { eventually, logTail, startSystem } from '../support/system/understudy-system.js';

const vm = 'web-01';
const hasEmulator = spawnSync('qemu-system-x86_64', ['--version']).error === undefined;
const png = Buffer.from([0x89, 0x50, 0x4e, 0x47]);

test('a source boots, and after its failover the replica boots to the same console', async () => {
  if (!hasEmulator) {
    console.log('judge missed: qemu-system-x86_64');
    assert.notEqual(process.env.UNDERSTUDY_REQUIRE_JUDGES, '1', 'qemu-system-x86_64 is needed here');
    return;
  }
  const system = await startSystem({ speed: 10 });
  try {
    await system.site('guest', '--vm', vm, '--rate', '0');
    const sectors = bootSectors('understudy boots', 'written before protection');
    const write = async (offset: number, content: Buffer) => {
      const file = join(system.folder, 'sectors.bin');
      await writeFile(file, content);
      await system.site('write', '--vm', vm, '--disk', '0', '--offset', String(offset), '--file', file);
    };
    await write(0, sectors.subarray(0, 512));
    await write(512, sectors.subarray(512));
    await system.protectVm(vm);
    await eventually(
      `${vm} is protected`,
      90_000,
      async () => ((await system.item(vm)).state === 'Protected' ? true : undefined),
      () => logTail(system, 'relay'),
    );
    // A change that only replication brings over.
    await write(512, bootSectors('', 'written while it is replicated').subarray(512));
    const { sdk, scope } = system.vault;
    const { fabricName, containerName, itemName } = await system.vault.item(vm);
    await sdk.replicationProtectedItems.beginPlannedFailoverAndWait(
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
    const until = /replicated/;
    const source = await bootDisks([{ path: join(system.siteFolder, vm, `${vm}-os.vhdx`), format: 'vhdx' }], {
      seconds: 20,
      until,
    });
    const { failover } = await system.item(vm);
    const replica = await bootVm(system, failover?.vmArmId ?? '', {
      folder: join(system.folder, 'boot'),
      seconds: 20,
      until,
    });
    assert.equal(source.console, 'understudy boots\r\nwritten while it is replicated\r\n');
    assert.equal(replica.console, source.console);
    for (const { screenshot } of [source, replica]) assert.ok(screenshot.subarray(0, 4).equals(png));
    assert.ok(replica.screenshot.equals(source.screenshot), 'the screens show the same');
    await assert.rejects(bootVm(system, '/no/such/vm', { folder: system.folder, seconds: 1 }), { code: 'US6054' });
  } finally {
    await system.stop();
  }
});
