import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asJobName, asVaultId } from '../../../core/domain/ids.js';
import type { Job } from '../../../core/domain/jobs/job.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { RecoveryPoint } from '../../../core/domain/recovery-point/recovery-point.js';
import { insert, list, read, upsert } from '../../../core/records/access.js';
import { itemIdOf, rows, vaultPartition } from '../../../core/records/rows.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { Harness, replicasAccount, sampleInventory, vaultPath, type TestRelay } from '../../support/api/harness.js';

const vaultId = asVaultId(vaultPath);
const cloudId = sampleInventory().clouds[0]?.cloudId ?? '';
const sql = sampleInventory().vms[0];
assert(sql !== undefined);

const containerOf = (relay: TestRelay) =>
  `${vaultPath}/replicationFabrics/${relay.fabricName}/replicationProtectionContainers/${cloudId}`;
const itemPathOf = (relay: TestRelay, name = 'sql-01') => `${containerOf(relay)}/replicationProtectedItems/${name}`;

const enableBody = (relay: TestRelay, vmId = sql.vmId, changes: object = {}) => ({
  properties: {
    policyId: `${vaultPath}/replicationPolicies/default`,
    protectableItemId: `${containerOf(relay)}/replicationProtectableItems/${vmId}`,
    providerSpecificDetails: {
      instanceType: 'HyperVReplicaAzure',
      targetStorageAccountId: replicasAccount,
      targetAzureVmName: 'sql-01-dr',
      disksToInclude: [sql.disks[0]?.diskId],
      ...changes,
    },
  },
});

const errorOf = (answer: ApiResponse) =>
  (
    answer.body as {
      error: { code: string; message: string; target?: string; details: { code: string; evidence?: object }[] };
    }
  ).error;

interface ItemWire {
  id: string;
  properties: Record<string, unknown> & {
    providerSpecificDetails: Record<string, unknown>;
    allowedOperations: string[];
  };
}

async function change(harness: Harness, relay: TestRelay, alter: (item: ProtectedItem) => ProtectedItem) {
  const ref = rows.item(vaultId, itemIdOf(vaultId, relay.fabricName, cloudId, 'sql-01'));
  const stored = await read(harness.table, ref);
  assert(stored !== undefined);
  const next = alter(stored.value);
  await harness.table.transact(ref.partition, [upsert(ref, next)]);
  return next;
}

/** As the workflow would leave it. */
const steady = (item: ProtectedItem): ProtectedItem => {
  const { activeJob: _ended, ...rest } = item;
  return {
    ...rest,
    state: 'Protected',
    replication: { ...item.replication, phase: 'delta', receivedCycle: 3, receivedTakenAt: '2026-01-05T10:00:00Z' },
  };
};

async function withPoint(harness: Harness, item: ProtectedItem, changes: Partial<RecoveryPoint> = {}) {
  const point: RecoveryPoint = {
    recoveryPointId: 'aaaaaaaa-0000-4000-8000-000000000001',
    protectionId: item.protectionId,
    epoch: 1,
    cycle: 3,
    takenAt: '2026-01-05T10:00:00Z',
    consistency: 'crashConsistent',
    state: 'ready',
    disks: [],
    pinnedBy: [],
    ...changes,
  };
  await harness.table.transact(vaultPartition(vaultId), [insert(rows.point(vaultId, item.itemId, point.cycle), point)]);
  return point;
}

test('protectable items come in pages that nextLink goes through, each VM once', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const seen: string[] = [];
  let path = `${containerOf(relay)}/replicationProtectableItems?api-version=1&$take=2`;
  for (let page = 0; page < 5 && path !== ''; page++) {
    const body = (await harness.arm('GET', path)).body as {
      value: { properties: { friendlyName: string } }[];
      nextLink?: string;
    };
    seen.push(...body.value.map(({ properties }) => properties.friendlyName));
    assert(body.nextLink === undefined || body.nextLink.startsWith('http://127.0.0.1:7071/subscriptions/'));
    path = body.nextLink?.replace('http://127.0.0.1:7071', '') ?? '';
  }
  assert.deepEqual(seen, ['sql-01', 'web-01', 'app-01']);
});

test('a protectable item tells its disks, and what stands against its protection', async () => {
  const inventory = sampleInventory();
  const disk = inventory.vms[0]?.disks[1];
  assert(disk !== undefined);
  disk.shared = true;
  const harness = new Harness();
  const relay = await harness.registeredRelay(inventory);
  const { body } = await harness.arm('GET', `${containerOf(relay)}/replicationProtectableItems/${sql.vmId}`);
  const { properties } = body as {
    properties: {
      protectionReadinessErrors: string[];
      customDetails: Record<string, unknown>;
      protectionStatus: string;
    };
  };
  assert.equal(properties.protectionStatus, 'Unprotected');
  assert.equal(properties.customDetails.instanceType, 'HyperVVirtualMachine');
  assert.equal(properties.customDetails.hasSharedVhd, 'Present');
  assert.equal(properties.protectionReadinessErrors.length, 1);
  assert.match(properties.protectionReadinessErrors[0] ?? '', /shared/);
});

test('a filter that cannot be read is refused with the names that can', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const path = `${containerOf(relay)}/replicationProtectableItems?api-version=1`;
  const found = await harness.arm('GET', `${path}&$filter=${encodeURIComponent("FriendlyName eq 'WEB-01'")}`);
  assert.equal((found.body as { value: unknown[] }).value.length, 1);
  const answer = await harness.arm('GET', `${path}&$filter=${encodeURIComponent("colour eq 'red'")}`);
  assert.equal(answer.status, 400);
  assert.equal(errorOf(answer).details[0]?.code, 'US1013');
  assert.match(JSON.stringify(answer.body), /friendlyName, protectionStatus/);
});

test('enabling protection writes item and job in one transaction and starts one workflow by the job name', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const answer = await harness.arm('PUT', itemPathOf(relay), enableBody(relay));
  assert.equal(answer.status, 202, JSON.stringify(answer.body));
  assert.equal(harness.started.length, 1);
  const started = harness.started[0];
  assert(started !== undefined);
  const { orchestrator, instanceId, input } = started;
  const item = (await read(harness.table, rows.item(vaultId, itemIdOf(vaultId, relay.fabricName, cloudId, 'sql-01'))))
    ?.value;
  assert.equal(orchestrator, 'enableProtection');
  assert.deepEqual(input, {
    vaultId,
    itemId: item?.itemId,
    protectionId: item?.protectionId,
    jobName: instanceId,
    disksToInclude: [sql.disks[0]?.diskId],
  });
  assert.equal(item?.state, 'EnablingProtection');
  assert.equal(item.activeJob?.jobName, instanceId);
  assert.equal(item.target.vmName, 'sql-01-dr');
  const jobs = await harness.jobs();
  assert.deepEqual(
    jobs.map(({ jobName, state, scenarioName }) => [jobName, state, scenarioName]),
    [[instanceId, 'NotStarted', 'EnableDr']],
  );

  const wire = (await harness.arm('GET', itemPathOf(relay))).body as ItemWire;
  assert.deepEqual(wire.properties.allowedOperations, []);
  assert.equal(wire.properties.providerSpecificDetails.useManagedDisks, 'true');
  assert.deepEqual(wire.properties.currentScenario, {
    scenarioName: 'EnableDr',
    jobId: `${vaultPath}/replicationJobs/${instanceId}`,
    startTime: '2026-01-05T10:00:00Z',
  });
});

test('a second PUT while the first runs, and a second item of the same VM, are refused and change nothing', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  await harness.arm('PUT', itemPathOf(relay), enableBody(relay));
  const again = await harness.arm('PUT', itemPathOf(relay), enableBody(relay));
  assert.equal(again.status, 409);
  assert.equal(errorOf(again).details[0]?.code, 'US1008');
  const other = await harness.arm('PUT', itemPathOf(relay, 'other'), enableBody(relay));
  assert.equal(other.status, 409);
  assert.equal(errorOf(other).details[0]?.code, 'US1020');
  assert.equal(harness.started.length, 1);
  assert.equal((await harness.jobs()).length, 1);
  assert.equal((await list(harness.table, rows.items(vaultId))).length, 1);
});

test('a protectable item of nowhere is refused by its place in the body', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const answer = await harness.arm('PUT', itemPathOf(relay), enableBody(relay, '50000000-0000-4000-8000-00000000000f'));
  assert.equal(answer.status, 400);
  assert.equal(errorOf(answer).target, '$.properties.protectableItemId');
  assert.equal((await list(harness.table, rows.items(vaultId))).length, 0);
});

test('what the state does not allow is refused with what it allows', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  await harness.arm('PUT', itemPathOf(relay), enableBody(relay));
  await change(harness, relay, steady);
  const answer = await harness.arm('POST', `${itemPathOf(relay)}/failoverCommit`);
  assert.equal(answer.status, 409);
  const error = errorOf(answer);
  assert.equal(error.code, 'OperationNotAllowed');
  assert.deepEqual((error.details[0]?.evidence as { allowedOperations: string[] }).allowedOperations, [
    'TestFailover',
    'PlannedFailover',
    'UnplannedFailover',
    'RepairReplication',
    'DisableProtection',
  ]);
});

test('a failover goes to the named point, to Latest where none is named, and to none that is not there', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  await harness.arm('PUT', itemPathOf(relay), enableBody(relay));
  const item = await change(harness, relay, steady);
  const point = await withPoint(harness, item);
  await withPoint(harness, item, {
    recoveryPointId: 'aaaaaaaa-0000-4000-8000-000000000002',
    cycle: 4,
    state: 'deleting',
  });
  const listed = (await harness.arm('GET', `${itemPathOf(relay)}/recoveryPoints`)).body as { value: { id: string }[] };
  assert.equal(listed.value.length, 1);

  const failover = (recoveryPointId?: string) =>
    harness.arm('POST', `${itemPathOf(relay)}/unplannedFailover`, {
      properties: {
        failoverDirection: 'PrimaryToRecovery',
        sourceSiteOperations: 'NotRequired',
        providerSpecificDetails: { instanceType: 'HyperVReplicaAzure', recoveryPointId },
      },
    });
  for (const absent of ['aaaaaaaa-0000-4000-8000-000000000002', 'LatestApplicationConsistent']) {
    const answer = await failover(absent);
    assert.equal(answer.status, 400);
    assert.equal(errorOf(answer).details[0]?.code, 'US1016');
  }
  assert.equal((await harness.arm('GET', itemPathOf(relay))).status, 200);
  assert.equal(harness.started.length, 1);

  assert.equal((await failover(listed.value[0]?.id)).status, 202);
  assert.deepEqual((harness.started[1]?.input as { recoveryPoint: object }).recoveryPoint, {
    kind: 'point',
    recoveryPointId: point.recoveryPointId,
  });
  assert.equal((await failover()).status, 409);
  await change(harness, relay, steady);
  assert.equal((await failover()).status, 202);
  assert.deepEqual((harness.started[2]?.input as { recoveryPoint: object }).recoveryPoint, { kind: 'latest' });
});

test('an operation tells its progress, then its result: the resource it was called on', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const accepted = await harness.arm('PUT', itemPathOf(relay), enableBody(relay));
  const path = (name: string) => new URL(accepted.headers?.[name] ?? '');
  const status = path('Azure-AsyncOperation');
  const location = path('Location');
  const get = (url: URL) => harness.arm('GET', url.pathname + url.search);

  const running = await get(status);
  assert.equal(running.status, 200);
  assert.equal((running.body as { status: string }).status, 'InProgress');
  assert.equal(running.headers?.['Retry-After'], '1');
  assert.equal((await get(location)).status, 202);

  const jobName = status.pathname.split('/').at(-1) ?? '';
  const ref = rows.job(vaultId, asJobName(jobName));
  const end = async (state: Job['state'], errors: Job['errors'] = []) => {
    const job = await read(harness.table, ref);
    assert(job !== undefined);
    await harness.table.transact(ref.partition, [
      upsert(ref, { ...job.value, state, errors, endedAt: '2026-01-05T10:01:00Z' }),
    ]);
  };
  await end('Succeeded');
  assert.deepEqual(await get(status), {
    status: 200,
    body: {
      id: `${vaultPath}/replicationOperationStatus/${jobName}`,
      name: jobName,
      status: 'Succeeded',
      startTime: '2026-01-05T10:00:00Z',
      endTime: '2026-01-05T10:01:00Z',
      percentComplete: 100,
      properties: null,
      error: null,
    },
  });
  assert.equal(((await get(location)).body as ItemWire).id, itemPathOf(relay));

  await end('Failed', [
    { code: 'US3101', message: 'sql-01 is off', possibleCauses: '', recommendedAction: 'Start it.', at: '' },
  ]);
  const failed = (await get(status)).body as { status: string; error: { code: string; message: string } };
  assert.equal(failed.status, 'Failed');
  assert.equal(failed.error.code, 'US3101');
  assert.equal((await get(location)).status, 409);

  const elsewhere = `${itemPathOf(relay, 'other')}/operationresults/${jobName}?api-version=1`;
  assert.equal((await harness.arm('GET', elsewhere)).status, 404);
  const job = (await harness.arm('GET', `${vaultPath}/replicationJobs/${jobName}`)).body as {
    properties: { tasks: { name: string; endTime: string }[]; errors: { serviceErrorDetails: { code: string } }[] };
  };
  assert.equal(job.properties.errors[0]?.serviceErrorDetails.code, 'US3101');
  assert.deepEqual(
    job.properties.tasks.map(({ name }) => name),
    [
      'EnableProtectionPrerequisitesCheck',
      'CreateProtectionTarget',
      'EnableProtection',
      'VmStartInitialReplication',
      'UpdateDraState',
    ],
  );
});

test('jobs are listed newest first and filtered by state', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  harness.now = harness.now.add({ minutes: 1 });
  await harness.arm('PUT', itemPathOf(relay), enableBody(relay));
  harness.now = harness.now.add({ minutes: 1 });
  await harness.arm('PUT', itemPathOf(relay, 'web-01'), enableBody(relay, sampleInventory().vms[1]?.vmId));
  const jobs = async (filter: string) => {
    const answer = await harness.arm(
      'GET',
      `${vaultPath}/replicationJobs?api-version=1&$filter=${encodeURIComponent(filter)}`,
    );
    return (answer.body as { value: { properties: { targetObjectName: string } }[] }).value.map(
      ({ properties }) => properties.targetObjectName,
    );
  };
  assert.deepEqual(await jobs(''), ['web-01', 'sql-01', 'vmm-01']);
  assert.deepEqual(await jobs("JobStatus eq 'Failed'"), []);
  assert.deepEqual(await jobs("StartTime eq '2026-01-05T10:01:30Z' and EndTime eq '2026-01-05T11:00:00Z'"), ['web-01']);
});
