import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TableClient } from '@azure/data-tables';
import { asItemId, asJobName, asProtectionId, asRelayId, asVaultId, asVmId } from '../core/domain/ids.js';
import type { Job } from '../core/domain/jobs/job.js';
import { jobNameAt } from '../core/domain/jobs/job-name.js';
import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';
import type { RowOperation, StateTable } from '../core/ports/state-table.js';
import { insert, upsert } from '../core/records/access.js';
import { itemIdOf, rows, vaultPartition } from '../core/records/rows.js';
import type { AppInvocation } from '../functions/app.js';
import { operations } from '../functions/arm/operations.js';
import { Router } from '../functions/arm/router.js';
import { compose, stateTableName } from '../functions/composition.js';
import { readSettings } from '../functions/settings.js';
import { startAzurite } from '../test/support/azurite.js';
import { sampleInventory, vaultPath } from '../test/support/api/harness.js';
import { sampleItem, sampleProgress } from '../test/support/sample-item.js';

const itemCount = 1000;
const jobCount = 500;
const pointCount = 24;
const secondsEach = 2;
const lanesOfRate = 4;

const vaultId = asVaultId(vaultPath);
const fabricName = 'f'.repeat(64);
const base = sampleInventory();
const cloudId = base.clouds[0]?.cloudId ?? '';
const template = base.vms[0];

/** Calls of the state table, by how many each request made. */
function counted(table: StateTable): { table: StateTable; take: () => number } {
  let calls = 0;
  const counting =
    <Parameters extends unknown[], Result>(method: (...parameters: Parameters) => Result) =>
    (...parameters: Parameters): Result => {
      calls++;
      return method(...parameters);
    };
  return {
    table: {
      get: counting(table.get.bind(table)),
      getMany: counting(table.getMany.bind(table)),
      query: counting(table.query.bind(table)),
      transact: counting(table.transact.bind(table)),
    },
    take: () => {
      const taken = calls;
      calls = 0;
      return taken;
    },
  };
}

const itemName = (index: number): string => `vm-${String(index).padStart(4, '0')}`;
const vmIdOf = (index: number): string => `50000000-0000-4000-8000-${String(index).padStart(12, '0')}`;

async function seed(table: StateTable): Promise<{ itemId: ProtectedItem['itemId']; jobName: Job['jobName'] }> {
  assert(template);
  const partition = vaultPartition(vaultId);
  const now = new Date().toISOString();
  const inventory = {
    ...base,
    vms: Array.from({ length: itemCount }, (_, index) => ({ ...template, vmId: vmIdOf(index), name: itemName(index) })),
  };
  const relayId = asRelayId('relay');
  const fabric = {
    ...{ fabricName, relayId, inventory, inventoryAt: now, lastHeartbeatAt: now, relayVersion: '1', registeredAt: now },
    networkMappings: [],
  };
  const policy = {
    ...{ name: 'default', replicationIntervalSeconds: 300 as const, recoveryPointHistoryHours: 2 },
    ...{ appConsistentFrequencyHours: 1, storageAccountIds: [], createdAt: now },
  };
  const vault = { vaultId, armId: vaultPath, name: 'local', location: 'local', tags: {}, createdAt: now };
  await table.transact('vaults', [upsert(rows.vaultIndex(vaultId), { vaultId })]);
  const operationsToWrite: RowOperation[] = [
    insert(rows.vault(vaultId), vault),
    insert(rows.fabric(vaultId, fabricName), fabric),
    insert(rows.policy(vaultId, 'default'), policy),
  ];
  const first = itemIdOf(vaultId, fabricName, cloudId, itemName(0));
  for (let index = 0; index < itemCount; index++) {
    const item = sampleItem({
      ...{
        itemId: itemIdOf(vaultId, fabricName, cloudId, itemName(index)),
        protectionId: asProtectionId(randomUUID()),
      },
      ...{ fabricName, containerName: cloudId, itemName: itemName(index), vmName: itemName(index), relayId },
      ...{ vmId: asVmId(vmIdOf(index)), policyName: 'default', state: 'Protected' },
      replication: sampleProgress({
        phase: 'delta',
        receivedCycle: 9,
        appliedCycle: 9,
        receivedTakenAt: now,
        appliedTakenAt: now,
      }),
    });
    operationsToWrite.push(insert(rows.item(vaultId, item.itemId), item));
  }
  let jobName = asJobName('');
  for (let index = 0; index < jobCount; index++) {
    jobName = jobNameAt(Date.now() - index * 60_000, randomUUID());
    const job: Job = {
      ...{ jobName, scenarioName: 'TestFailover', friendlyName: 'Test failover', state: 'Succeeded', errors: [] },
      tasks: ['a', 'b', 'c', 'd'].map((name) => ({
        taskId: name,
        name,
        friendlyName: name,
        state: 'Succeeded',
        startedAt: now,
        endedAt: now,
      })),
      ...{
        createdAt: now,
        startedAt: now,
        endedAt: now,
        targetResourceId: vaultPath,
        targetObjectName: itemName(index),
      },
      intent: { orchestrator: 'testFailover', input: {} },
    };
    operationsToWrite.push(insert(rows.job(vaultId, jobName), job));
  }
  for (let cycle = 1; cycle <= pointCount; cycle++) {
    operationsToWrite.push(
      insert(rows.point(vaultId, first, cycle), {
        ...{ recoveryPointId: randomUUID(), protectionId: asProtectionId('p'), epoch: 1, cycle, takenAt: now },
        ...{ consistency: 'crashConsistent' as const, state: 'ready' as const, pinnedBy: [], disks: [] },
      }),
    );
  }
  for (let from = 0; from < operationsToWrite.length; from += 50) {
    await table.transact(partition, operationsToWrite.slice(from, from + 50));
  }
  return { itemId: asItemId(first), jobName };
}

/** Requests a second with so many under way at a time, and the middle of their durations. */
async function rate(
  request: () => Promise<unknown>,
  lanes = lanesOfRate,
): Promise<{ perSecond: number; middleMs: number; count: number }> {
  await request();
  const durations: number[] = [];
  const end = performance.now() + secondsEach * 1000;
  const startedAt = performance.now();
  const lane = async (): Promise<void> => {
    while (performance.now() < end) {
      const before = performance.now();
      await request();
      durations.push(performance.now() - before);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  const seconds = (performance.now() - startedAt) / 1000;
  durations.sort((one, other) => one - other);
  return {
    perSecond: durations.length / seconds,
    middleMs: durations[Math.floor(durations.length / 2)] ?? 0,
    count: durations.length,
  };
}

/** The ten commonest operations on a vault of 1,000 items, with what of it is the storage's own time: the same reads by the SDK alone. */
export async function benchApi(print: (line: string) => void): Promise<void> {
  const azurite = await startAzurite();
  const folder = await mkdtemp(join(tmpdir(), 'understudy-bench-'));
  try {
    const inventoryPath = join(folder, 'azure.json');
    await writeFile(inventoryPath, JSON.stringify({ storageAccounts: [], networks: [] }));
    const { app } = await compose(
      readSettings({
        AzureWebJobsStorage: azurite.connectionString,
        UNDERSTUDY_AUTH: 'none',
        UNDERSTUDY_BOUND_TO: 'loopback',
        UNDERSTUDY_AZURE_INVENTORY: inventoryPath,
      }),
    );
    const { table, take } = counted(app.table);
    const { jobName } = await seed(app.table);
    const invocation: AppInvocation = {
      ...app,
      table,
      workflows: {
        startNew: () => Promise.resolve(),
        ensure: () => Promise.resolve(false),
        ring: () => Promise.resolve(false),
        resume: () => Promise.resolve(),
      },
    };
    const router = new Router(operations);
    const get = async (path: string): Promise<void> => {
      const url = new URL(`${vaultPath}${path}?api-version=2023-08-01`, 'http://127.0.0.1:7071');
      const headers = new Map([['host', '127.0.0.1:7071']]);
      const answer = await router.answer(invocation, { method: 'GET', url, headers, body: Buffer.alloc(0) });
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      // As it goes over the wire.
      JSON.stringify(answer.body);
    };
    const client = TableClient.fromConnectionString(azurite.connectionString, stateTableName, {
      allowInsecureConnection: true,
    });
    const partition = vaultPartition(vaultId);
    const one = () => client.getEntity(partition, 'vault');
    const all = async (): Promise<void> => {
      const filter = `PartitionKey eq '${partition}' and RowKey ge 'item!' and RowKey lt 'item"'`;
      for await (const page of client.listEntities({ queryOptions: { filter } }).byPage()) void page;
    };
    const ceilings = { one: await rate(one), all: await rate(all, 1) };
    print(
      `the SDK alone: one row ${Math.round(ceilings.one.perSecond)} reads/s; ${itemCount} items ${ceilings.all.middleMs.toFixed(0)} ms`,
    );
    const container = `/replicationFabrics/${fabricName}/replicationProtectionContainers/${cloudId}`;
    const item = `${container}/replicationProtectedItems/${itemName(0)}`;
    const paths: [string, string][] = [
      ['item GET', item],
      [`${itemCount} items`, '/replicationProtectedItems'],
      ['job GET', `/replicationJobs/${jobName}`],
      [`${jobCount} jobs`, '/replicationJobs'],
      ['operation status', `/replicationOperationStatus/${jobName}`],
      [`${pointCount} recovery points`, `${item}/recoveryPoints`],
      ['fabric GET', `/replicationFabrics/${fabricName}`],
      ['policies', '/replicationPolicies'],
      ['vault health', '/replicationVaultHealth'],
      ['recovery plans', '/replicationRecoveryPlans'],
    ];
    print(`operation           requests/s, ${lanesOfRate} at once   ms, alone   storage calls   of the SDK alone`);
    for (const [name, path] of paths) {
      await get(path);
      take();
      const { perSecond, count } = await rate(() => get(path));
      // The first of each rate warms up, uncounted among the durations.
      const calls = take() / (count + 1);
      const { middleMs } = await rate(() => get(path), 1);
      const readsItems = name.includes('items') || name === 'vault health' || name === 'recovery plans';
      const share = readsItems ? ceilings.all.middleMs / middleMs : (perSecond * calls) / ceilings.one.perSecond;
      const cells = [
        perSecond.toFixed(0).padStart(21),
        middleMs.toFixed(1).padStart(12),
        calls.toFixed(1).padStart(16),
      ];
      print(`${name.padEnd(20)}${cells.join('')}${`${Math.round(share * 100)}%`.padStart(19)}`);
    }
  } finally {
    await azurite.stop();
    await rm(folder, { recursive: true, force: true });
  }
}
