import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProtectedItem } from '../../core/domain/protected-item/protected-item.js';
import { judgePoint } from '../support/system/judge-points.js';
import { eventually, logTail, startSystem, type UnderstudySystem } from '../support/system/understudy-system.js';

const vm = 'web-01';
const mib = 1024 * 1024;
/** Committed turns from one kill -9 of the app's host to the next. */
const turnsBetweenKills = [8];
const stageTimeoutMs = 300_000;
const againMs = 5000;

/** Begins it, whatever dies meanwhile: a request that was answered by nobody may have been taken all the same. */
async function act(
  system: UnderstudySystem,
  state: ProtectedItem['state'],
  begin: (address: [string, string, string, string, string]) => Promise<unknown>,
): Promise<void> {
  const { fabricName, containerName, itemName } = await system.item(vm);
  const { state: before } = await system.item(vm);
  const [group, vault] = system.vault.scope;
  const address: [string, string, string, string, string] = [group, vault, fabricName, containerName, itemName];
  let begunAt = 0;
  await eventually(
    `${vm} to be ${state}`,
    stageTimeoutMs,
    async () => {
      const item = await system.item(vm);
      if (item.activeJob !== undefined) return undefined;
      if (item.state === state) return true;
      // A job that failed, for example because the app could not be reached for long, has given back what it took.
      if (item.state === before && Date.now() - begunAt > againMs) {
        begunAt = Date.now();
        await begin(address);
      }
      return undefined;
    },
    async () =>
      `${JSON.stringify(await system.item(vm))} ${await logTail(system, 'devhost')} ${await logTail(system, 'relay')}`,
  );
}

for (const turns of turnsBetweenKills) {
  test(`the app's host killed after every ${turns} committed turns: there and back, one VM, one set of disks, no orphan`, async () => {
    const system = await startSystem({ speed: 2, devhostModes: `killAfterTurns=${turns}` });
    try {
      await system.site('guest', '--vm', vm, '--rate', '0');
      await eventually(`${vm} to be protected`, stageTimeoutMs, async () => {
        await system.protectVm(vm).catch(() => undefined);
        return (await system.item(vm)).state === 'Protected' ? true : undefined;
      });
      const items = system.vault.sdk.replicationProtectedItems;
      const instanceType = 'HyperVReplicaAzure';
      const there = { failoverDirection: 'PrimaryToRecovery', providerSpecificDetails: { instanceType } } as const;
      await act(system, 'FailoverCommitPending', (address) =>
        items.beginPlannedFailover(...address, { properties: there }),
      );
      await act(system, 'FailoverCommitted', (address) => items.beginFailoverCommit(...address));
      const { failover, disks } = await system.item(vm);
      assert.equal((await system.compute.getVm(failover?.vmArmId ?? ''))?.powerState, 'running');
      await system.guest.write(failover?.vmArmId ?? '', 0, 8 * mib, Buffer.alloc(mib, 'written in Azure'));
      const back = {
        failoverDirection: 'RecoveryToPrimary',
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzureFailback', dataSyncOption: 'ForDownTime' },
      } as const;
      await act(system, 'FailbackCommitPending', (address) =>
        items.beginPlannedFailover(...address, { properties: back }),
      );
      const siteEpoch = (await system.item(vm)).failback?.round?.epoch ?? 0;
      await act(system, 'FailbackCommitted', (address) => items.beginFailoverCommit(...address));
      assert.equal(await system.compute.getVm(failover?.vmArmId ?? ''), undefined);
      for (const { blob } of failover?.disks ?? []) assert.equal(await system.replicas.properties(blob), undefined);
      for (const { replica } of disks) assert.equal(await system.replicas.properties(replica), undefined);
      await act(system, 'Protected', (address) => items.beginReprotect(...address, { properties: {} }));
      const point = await eventually('a recovery point', stageTimeoutMs, async () => (await system.points(vm))[0]);
      await judgePoint(system, vm, point, undefined, siteEpoch);
      const kills = system.told.filter((message) => message.includes('devhost')).length;
      console.log(`devhost was killed and started again about ${kills} times`);
      assert.ok(kills > 10, 'it was killed again and again');
    } finally {
      await system.stop();
    }
  });
}
