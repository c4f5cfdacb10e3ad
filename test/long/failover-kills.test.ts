import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { killAtEveryTurn, startKillableSystem } from '../support/system/host-kills.js';
import { judgeDisks, judgePoint } from '../support/system/judge-points.js';
import { assertJobs, carryOut, type Stage } from '../support/system/kill-stages.js';
import { eventually, logTail, type UnderstudySystem } from '../support/system/understudy-system.js';

/**
 * Kill -9 of the app's host after every turn that its engine commits, in each workflow, with real processes. Protection is
 * enabled before the kills begin; the site cycles seldom, so that most turns are the workflow's.
 */
const mib = 1024 * 1024;
const intervalSeconds = 900;
const protectTimeoutMs = 120_000;
const pointTimeoutMs = 120_000;
const instanceType = 'HyperVReplicaAzure';
const there = { failoverDirection: 'PrimaryToRecovery', providerSpecificDetails: { instanceType } } as const;
const back = {
  failoverDirection: 'RecoveryToPrimary',
  providerSpecificDetails: { instanceType: 'HyperVReplicaAzureFailback', dataSyncOption: 'ForDownTime' },
} as const;
const networkId =
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.Network/virtualNetworks/test';

type Address = [string, string, string, string, string];

async function protectQuietly(system: UnderstudySystem, vm: string): Promise<Address> {
  await system.site('guest', '--vm', vm, '--rate', '0');
  await system.protectVm(vm, intervalSeconds);
  await eventually(
    `${vm} to be protected, with a recovery point`,
    protectTimeoutMs,
    async () =>
      (await system.item(vm)).state === 'Protected' && (await system.points(vm)).length > 0 ? true : undefined,
    () => logTail(system, 'relay'),
  );
  const { fabricName, containerName, itemName } = await system.item(vm);
  return [...system.vault.scope, fabricName, containerName, itemName];
}

/** Business time goes on by an interval; then the site's next cycle is to bring something. */
async function nextCycle<T>(system: UnderstudySystem, what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const advance = { method: 'POST', body: JSON.stringify({ advance: `PT${intervalSeconds}S` }) };
  await eventually('business time to go on', pointTimeoutMs, async () => {
    const { ok } = await fetch(`${system.environment.endpoint}/admin/devhost/clock`, advance);
    return ok ? true : undefined;
  });
  return eventually(what, pointTimeoutMs, ask);
}

/** A stage of one item that ends in a state. */
const until = (vm: string, workflow: string, state: ProtectedItem['state'], begin: () => Promise<unknown>): Stage => ({
  workflow,
  vms: [vm],
  begin,
  isDone: ([item]) => item?.state === state,
});

test('the host killed at every turn of planned failover, failback, their commits, reverse replication and disabling: one VM, one set of disks, no orphan', async () => {
  const system = await startKillableSystem();
  try {
    const vm = 'sql-01';
    const address = await protectQuietly(system, vm);
    const items = system.vault.sdk.replicationProtectedItems;
    const file = join(system.folder, 'written');
    await writeFile(file, randomBytes(mib));
    await system.site('write', '--vm', vm, '--disk', '1', '--offset', String(20 * mib), '--file', file);
    await killAtEveryTurn(system);

    await carryOut(
      system,
      until(vm, 'plannedFailover', 'FailoverCommitPending', () =>
        items.beginPlannedFailover(...address, { properties: there }),
      ),
    );
    const { failover, disks, replication } = await system.item(vm);
    const vmArmId = failover?.vmArmId ?? '';
    assert.deepEqual(await system.cloudVmIds(), [vmArmId]);
    assert.equal((await system.compute.getVm(vmArmId))?.powerState, 'running');
    const final = { cycle: failover?.cycle ?? 0, epoch: replication.epoch - 1 };
    await judgeDisks(system, vm, final, failover?.disks ?? []);
    await carryOut(
      system,
      until(vm, 'commitFailover', 'FailoverCommitted', () => items.beginFailoverCommit(...address)),
    );
    assert.deepEqual(await system.cloudVmIds(), [vmArmId]);

    await system.guest.write(vmArmId, 0, 8 * mib, randomBytes(mib));
    await carryOut(
      system,
      until(vm, 'failback', 'FailbackCommitPending', () =>
        items.beginPlannedFailover(...address, { properties: back }),
      ),
    );
    const after = await system.item(vm);
    const siteEpoch = after.failback?.round?.epoch ?? 0;
    const handedOver = { cycle: after.replication.receivedCycle, epoch: siteEpoch };
    await judgeDisks(system, vm, handedOver, failover?.disks ?? []);
    await carryOut(
      system,
      until(vm, 'commitFailback', 'FailbackCommitted', () => items.beginFailoverCommit(...address)),
    );
    assert.deepEqual(await system.cloudVmIds(), []);
    for (const { replica } of disks) assert.equal(await system.replicas.properties(replica), undefined);

    await carryOut(
      system,
      until(vm, 'reverseReplicate', 'Protected', () => items.beginReprotect(...address, { properties: {} })),
    );
    const point = await nextCycle(system, 'a recovery point', async () => (await system.points(vm))[0]);
    await judgePoint(system, vm, point, undefined, siteEpoch);

    await carryOut(system, {
      workflow: 'disableProtection',
      vms: [vm],
      begin: () => items.beginDelete(...address, { properties: { disableProtectionReason: 'NotSpecified' } }),
      isDone: ([item]) => item === undefined,
    });
    assert.deepEqual(await system.cloudVmIds(), []);
    await assertJobs(system, [
      ...['PlannedFailover', 'CommitFailover', 'PlannedFailover', 'CommitFailover'],
      ...['ReverseReplicate', 'DisableDr'],
    ]);
  } finally {
    await system.stop();
  }
});

test('the host killed at every turn of a drill, its clean-up, an unplanned failover, a change of its point and its commit', async () => {
  const system = await startKillableSystem();
  try {
    const vm = 'web-01';
    const address = await protectQuietly(system, vm);
    const items = system.vault.sdk.replicationProtectedItems;
    const file = join(system.folder, 'written');
    await writeFile(file, randomBytes(mib));
    await system.site('write', '--vm', vm, '--disk', '0', '--offset', String(20 * mib), '--file', file);
    const [first, second] = await nextCycle(system, 'two recovery points', async () => {
      const points = await system.points(vm);
      return points.length >= 2 ? points : undefined;
    });
    assert.ok(first && second);
    await killAtEveryTurn(system);

    await carryOut(system, {
      workflow: 'testFailover',
      vms: [vm],
      begin: () =>
        items.beginTestFailover(...address, {
          properties: { ...there, networkType: 'VmNetworkAsInput', networkId },
        }),
      isDone: ([item]) => item?.testFailover?.state === 'waiting',
    });
    const { testFailover } = await system.item(vm);
    assert.equal((await system.cloudVmIds()).length, 1);
    const tested = { cycle: testFailover?.point?.cycle ?? 0, epoch: second.epoch };
    await judgeDisks(system, vm, tested, testFailover?.disks ?? []);
    await carryOut(system, {
      workflow: 'testFailoverCleanUp',
      vms: [vm],
      begin: () => items.beginTestFailoverCleanup(...address, { properties: { comments: '' } }),
      isDone: ([item]) => item !== undefined && item.testFailover === undefined,
    });
    assert.deepEqual(await system.cloudVmIds(), []);

    await carryOut(
      system,
      until(vm, 'unplannedFailover', 'FailoverCommitPending', () =>
        items.beginUnplannedFailover(...address, { properties: { ...there, sourceSiteOperations: 'NotRequired' } }),
      ),
    );
    const over = (await system.item(vm)).failover;
    assert.deepEqual(await system.cloudVmIds(), [over?.vmArmId]);
    await judgeDisks(system, vm, { cycle: over?.cycle ?? 0, epoch: second.epoch }, over?.disks ?? []);

    await carryOut(system, {
      workflow: 'changeRecoveryPoint',
      vms: [vm],
      begin: () =>
        items.beginApplyRecoveryPoint(...address, {
          properties: { recoveryPointId: first.recoveryPointId, providerSpecificDetails: { instanceType } },
        }),
      isDone: ([item]) => item?.failover?.cycle === first.cycle,
    });
    const changed = (await system.item(vm)).failover;
    assert.deepEqual(await system.cloudVmIds(), [over?.vmArmId]);
    await judgeDisks(system, vm, first, changed?.disks ?? []);

    await carryOut(
      system,
      until(vm, 'commitFailover', 'FailoverCommitted', () => items.beginFailoverCommit(...address)),
    );
    assert.deepEqual(await system.cloudVmIds(), [over?.vmArmId]);
    assert.equal((await system.compute.getVm(over?.vmArmId ?? ''))?.powerState, 'running');
    await assertJobs(system, [
      'TestFailover',
      'TestFailoverCleanup',
      'UnplannedFailover',
      'ChangePit',
      'CommitFailover',
    ]);
  } finally {
    await system.stop();
  }
});

test('the host killed at every turn of a recovery plan of two groups and of its commit', async () => {
  const system = await startKillableSystem();
  try {
    const vms = ['sql-01', 'web-01'];
    for (const vm of vms) await protectQuietly(system, vm);
    const { sdk, scope } = system.vault;
    const ids = (await Promise.all(vms.map((vm) => system.vault.item(vm)))).map(({ item }) => item.id ?? '');
    await sdk.replicationRecoveryPlans.beginCreateAndWait(
      ...scope,
      'payroll',
      {
        properties: {
          primaryFabricId: ids[0]?.replace(/\/replicationProtectionContainers\/.*$/, '') ?? '',
          recoveryFabricId: 'Microsoft Azure',
          groups: ids.map((id) => ({ groupType: 'Boot', replicationProtectedItems: [{ id }] })),
        },
      },
      { updateIntervalInMs: 250 },
    );
    await killAtEveryTurn(system);

    await carryOut(system, {
      workflow: 'recoveryPlan',
      vms,
      begin: () =>
        sdk.replicationRecoveryPlans.beginPlannedFailover(...scope, 'payroll', {
          properties: { failoverDirection: 'PrimaryToRecovery' },
        }),
      isDone: (items) => items.every((item) => item?.state === 'FailoverCommitPending'),
    });
    const vmIds: (string | undefined)[] = [];
    for (const vm of vms) {
      const { failover, replication } = await system.item(vm);
      vmIds.push(failover?.vmArmId);
      assert.equal((await system.compute.getVm(failover?.vmArmId ?? ''))?.powerState, 'running');
      const final = { cycle: failover?.cycle ?? 0, epoch: replication.epoch - 1 };
      await judgeDisks(system, vm, final, failover?.disks ?? []);
    }
    assert.deepEqual((await system.cloudVmIds()).sort(), vmIds.sort());

    await carryOut(system, {
      workflow: 'recoveryPlan',
      vms,
      begin: () => sdk.replicationRecoveryPlans.beginFailoverCommit(...scope, 'payroll'),
      isDone: (items) => items.every((item) => item?.state === 'FailoverCommitted'),
    });
    assert.deepEqual((await system.cloudVmIds()).sort(), vmIds.sort());
    await assertJobs(system, []);
  } finally {
    await system.stop();
  }
});
