import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeCreateFailoverVm } from '../../../activities/failover-vm.js';
import { makeStartTestVm } from '../../../activities/test-failover.js';
import type { TargetNic } from '../../../core/domain/protected-item/protected-item.js';
import { withTest } from '../../../core/domain/failover/test-failover.js';
import { jobKinds, type Job } from '../../../core/domain/jobs/job.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { replace } from '../../../core/records/access.js';
import { vaultPartition } from '../../../core/records/rows.js';
import { inWorld } from '../../support/replication/in-world.js';
import { sampleNetworkId, type WorkflowWorld } from '../../support/replication/workflow-world.js';
import { sampleVaultId } from '../../support/sample-item.js';
import { sampleVm } from '../../support/sample-site.js';

const generation2 = sampleVm(
  { generation: 2, cpuCount: 8, memoryMegabytes: 32768, nics: [{ ...networked('data'), nicId: nicId(1) }] },
  2,
  128 * 1024,
);

function networked(subnetName: string) {
  return { macAddress: '00155D000001', networkId: 'e7000000-0000-4000-8000-000000000001', subnetName };
}
function nicId(number: number): string {
  return `41c00000-0000-4000-8000-00000000000${number}`;
}

/** Another machine, as a site whose VM was made anew would report it. */
const remade = { ...generation2, generation: 1 as const, cpuCount: 1, memoryMegabytes: 1024, nics: [] };

async function drill(world: WorkflowWorld): Promise<Job> {
  const stored = await world.storedItem();
  const jobName = await world.submit(
    jobKinds.testFailover,
    workflowNames.testFailover,
    { recoveryPoint: { kind: 'latest' } },
    ({ jobName, createdAt }) => [
      replace(stored, {
        ...stored.value,
        testFailover: { jobName, state: 'inProgress', startedAt: createdAt, networkId: sampleNetworkId, disks: [] },
      }),
    ],
  );
  return world.until(async () => {
    const job = await world.job(jobName);
    return job.state === 'Suspended' || job.state === 'Failed' ? job : undefined;
  }, 'the test VM to be up, or not');
}

test('a VM that the site names no more is failed over as the site last had it', async () => {
  await inWorld({ vm: generation2 }, async (world) => {
    await world.protect();
    await world.reportVms([]);
    assert.equal((await drill(world)).state, 'Suspended');
    const job = await world.failOver();
    assert.equal(job.state, 'Succeeded', JSON.stringify(job.errors));
    const item = await world.untilState('FailoverCommitPending');
    assert.deepEqual(item.failover?.source, generation2);
    for (const vm of world.compute.vms.values()) {
      assert.deepEqual([vm.generation, vm.size, vm.networkId], [2, 'Standard_D8s_v5', sampleNetworkId], vm.name);
    }
  });
});

test('making the VM of a failover, or of a test, once more gives the same one, whatever the site reports by then', async () => {
  await inWorld({ vm: generation2 }, async (world) => {
    await world.protect();
    assert.equal((await drill(world)).state, 'Suspended');
    await world.reportVms([remade]);
    const drilled = await world.storedItem();
    const { itemId, protectionId, testFailover } = drilled.value;
    assert(testFailover);
    await world.table.transact(vaultPartition(sampleVaultId), [
      replace(drilled, withTest(drilled.value, { state: 'inProgress' })),
    ]);
    const key = { vaultId: sampleVaultId, itemId, protectionId };
    const again = await makeStartTestVm(world.dependencies)({ ...key, jobName: testFailover.jobName });
    assert.equal(again.kind, 'done');

    await world.reportVms([generation2]);
    assert.equal((await world.failOver()).state, 'Succeeded');
    await world.untilState('FailoverCommitPending');
    await world.reportVms([remade]);
    const stored = await world.storedItem();
    const { failover, createdAt } = stored.value;
    assert(failover);
    const activeJob = { jobName: failover.jobName, scenarioName: 'UnplannedFailover', startedAt: createdAt };
    await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, { ...stored.value, activeJob })]);
    const made = await makeCreateFailoverVm(world.dependencies)({ ...key, jobName: failover.jobName });
    assert.equal(made.kind, 'done');
  });
});

const threeNics = sampleVm(
  { nics: [1, 2, 3].map((number) => ({ ...networked(number === 2 ? 'data' : 'default'), nicId: nicId(number) })) },
  2,
  128 * 1024,
);

test('a failover and a test make all interfaces that are used, and say which are gone', async () => {
  await inWorld({ vm: threeNics }, async (world) => {
    await world.protect();
    const stored = await world.storedItem();
    const nics: TargetNic[] = [
      { nicId: nicId(9), role: 'primary' },
      { nicId: nicId(1), role: 'notUsed' },
      { nicId: nicId(2), role: 'secondary', test: { subnetName: 'default', staticIpAddress: '10.0.0.77' } },
      { nicId: nicId(3), role: 'secondary', staticIpAddress: '10.0.0.33' },
    ];
    const target = { ...stored.value.target, nics };
    await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, { ...stored.value, target })]);
    for (const job of [await drill(world), await world.failOver()]) {
      assert.deepEqual(
        job.errors.map(({ code }) => code),
        ['US3077'],
        job.scenarioName,
      );
    }
    await world.untilState('FailoverCommitPending');
    const vms = [...world.compute.vms.values()].map(({ name, nics, size }) => [name, nics, size]);
    assert.deepEqual(vms, [
      [
        'sql-01-test',
        [
          { nicId: nicId(2), subnetName: 'default', staticIpAddress: '10.0.0.77' },
          { nicId: nicId(3), subnetName: 'default' },
        ],
        'Standard_B2s',
      ],
      [
        'sql-01',
        [
          { nicId: nicId(2), subnetName: 'data' },
          { nicId: nicId(3), subnetName: 'default', staticIpAddress: '10.0.0.33' },
        ],
        'Standard_B2s',
      ],
    ]);
  });
});

test('a size that takes fewer interfaces than are used ends a failover before anything is copied', async () => {
  await inWorld({ vm: threeNics }, async (world) => {
    await world.protect();
    const stored = await world.storedItem();
    const target = { ...stored.value.target, vmSize: 'Standard_D2s_v5' };
    await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, { ...stored.value, target })]);
    const { state, errors } = await world.failOver();
    assert.deepEqual([state, errors.map(({ code }) => code)], ['Failed', ['US4041']]);
    await world.untilState('Protected');
  });
});

test('an address that the network does not have ends a failover, or a test, before anything is copied', async () => {
  await inWorld({ vm: threeNics }, async (world) => {
    await world.protect();
    const stored = await world.storedItem();
    const test = { subnetName: 'data', staticIpAddress: '10.0.0.77' };
    const nics: TargetNic[] = [
      { nicId: nicId(1), role: 'primary', staticIpAddress: '10.0.1.9' },
      { nicId: nicId(2), role: 'secondary', test },
    ];
    const target = { ...stored.value.target, nics };
    await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, { ...stored.value, target })]);
    const told = [await drill(world), await world.failOver()].map(({ errors }) =>
      errors.map(({ code, message }) => [code, message]),
    );
    assert.deepEqual(told, [
      [['US6055', 'address 10.0.0.77 cannot be had in subnet data (10.0.1.0/24) of prod']],
      [['US6055', 'address 10.0.1.9 cannot be had in subnet default (10.0.0.0/24) of prod']],
    ]);
    await world.untilState('Protected');
    assert.equal(world.compute.vms.size, 0);
  });
});

test('a failover whose chosen subnet is gone goes on in another, and its job says so; a test is not concerned', async () => {
  await inWorld({ vm: generation2 }, async (world) => {
    await world.protect();
    const stored = await world.storedItem();
    const target = {
      ...stored.value.target,
      nics: [{ nicId: nicId(1), role: 'primary' as const, subnetName: 'gone' }],
    };
    await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, { ...stored.value, target })]);
    const jobs = [await drill(world), await world.failOver()];
    assert.deepEqual(
      jobs.map(({ state, errors }) => [state, errors.map(({ code, message }) => [code, message])]),
      [
        ['Suspended', []],
        [
          'Succeeded',
          [
            [
              'US3078',
              'the subnet gone that was chosen for a network interface is not in prod: it comes up in another',
            ],
          ],
        ],
      ],
    );
  });
});

test('where a VM must have a network, a failover or a test without one ends before anything is copied', async () => {
  await inWorld({ vm: generation2 }, async (world) => {
    await world.protect();
    const stored = await world.storedItem();
    const { networkId: _, ...target } = stored.value.target;
    await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, { ...stored.value, target })]);
    world.compute.capabilities.runsWithoutNetwork = false;
    const { state, errors } = await world.failOver();
    assert.deepEqual([state, errors.map(({ code }) => code)], ['Failed', ['US6066']]);
    await world.untilState('Protected');
    assert.equal((await drill(world)).state, 'Suspended', 'it names a network of its own');
  });
});

test('a test is in no availability set, and one that was begun without keeping its source goes on', async () => {
  await inWorld({ vm: generation2 }, async (world) => {
    await world.protect();
    const stored = await world.storedItem();
    const target = { ...stored.value.target, availabilitySetId: 'set' };
    await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, { ...stored.value, target })]);
    assert.equal((await drill(world)).state, 'Suspended');
    const [vm] = world.compute.vms.values();
    assert.deepEqual([vm?.size, vm?.availabilitySetId], ['Standard_D8s_v5', undefined]);
    const drilled = await world.storedItem();
    const { itemId, protectionId, testFailover } = drilled.value;
    assert(testFailover);
    const { source: _, ...earlier } = testFailover;
    await world.table.transact(vaultPartition(sampleVaultId), [
      replace(drilled, { ...drilled.value, testFailover: { ...earlier, state: 'inProgress' } }),
    ]);
    const key = { vaultId: sampleVaultId, itemId, protectionId, jobName: testFailover.jobName };
    assert.equal((await makeStartTestVm(world.dependencies)(key)).kind, 'done');
  });
});

test('a VM that nobody ever described is not failed over by guesses', async () => {
  await inWorld({}, async (world) => {
    await world.protect();
    await world.reportVms([]);
    const stored = await world.storedItem();
    const { source: _, ...undescribed } = stored.value;
    await world.table.transact(vaultPartition(sampleVaultId), [replace(stored, undescribed)]);
    const drilled = await drill(world);
    const failedOver = await world.failOver();
    for (const { state, errors } of [drilled, failedOver]) {
      assert.deepEqual([state, errors.map(({ code }) => code)], ['Failed', ['US4040']]);
    }
    assert.equal((await world.untilState('Protected')).failover, undefined);
    assert.equal(world.compute.vms.size, 0);
  });
});
