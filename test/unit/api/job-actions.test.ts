import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asJobName, asProtectionId } from '../../../core/domain/ids.js';
import type { Job } from '../../../core/domain/jobs/job.js';
import { plannedTasks, startTask } from '../../../core/domain/jobs/transitions.js';
import { jobKinds } from '../../../core/domain/jobs/job.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { TestFailoverCleanUpInput, TestFailoverInput } from '../../../core/domain/workflows/workflows.js';
import { insert } from '../../../core/records/access.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import { entraAuthenticator } from '../../../functions/http/authentication.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem, vaultId } from '../../support/api/replicated-items.js';
import { sampleJob } from '../../support/sample-job.js';

const nameOf = (number: number) => asJobName(`0190a000-0000-7000-8000-00000000000${number}`);

async function world(changes: Partial<ProtectedItem> = {}) {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await ReplicatedItem.put(harness, relay, changes);
  const { itemId, protectionId, vmName } = item.first;
  const put = async (number: number, orchestrator: string, changed: Partial<Job> = {}): Promise<Job> => {
    const jobName = nameOf(number);
    const job: Job = {
      ...sampleJob(jobName, harness.now.toString()),
      state: 'Failed',
      itemId,
      targetObjectName: vmName,
      targetResourceId: item.armId,
      intent: { orchestrator, input: { vaultId, itemId, protectionId, jobName } },
      ...changed,
    };
    await harness.table.transact(vaultPartition(vaultId), [insert(rows.job(vaultId, jobName), job)]);
    return job;
  };
  const ask = (number: number, action: string, body?: unknown, headers?: Record<string, string>) =>
    harness.arm('POST', `${vaultPath}/replicationJobs/${nameOf(number)}/${action}`, body, headers);
  const shown = async (number: number) =>
    (await harness.arm('GET', `${vaultPath}/replicationJobs/${nameOf(number)}`)).body as {
      properties: { allowedActions: string[]; stateDescription: string };
    };
  return { harness, item, put, ask, shown };
}

const refusal = ({ status, body }: ApiResponse) => {
  const { error } = body as { error: { message: string; details: { code: string }[] } };
  return { status, code: error.details[0]?.code, message: error.message };
};

test('what a contributor ordered is begun anew by a contributor only', async () => {
  for (const [orchestrator, state, isEnough] of [
    ['enableProtection', 'EnablingFailed', false],
    ['disableProtection', 'Protected', false],
    ['unplannedFailover', 'Protected', true],
  ] as const) {
    const { harness, put, ask } = await world({ state });
    await put(1, orchestrator);
    const authenticator = entraAuthenticator({
      verify: async (token) => ({ name: 'ann', objectId: 'ann', roles: [`Understudy.${token}`] }),
    });
    Object.assign(harness.app, { authenticator });
    const as = (role: string) => ask(1, 'restart', undefined, { authorization: `Bearer ${role}` });
    if (!isEnough) assert.deepEqual([refusal(await as('Operator')).code, harness.started.length], ['US1010', 0]);
    assert.equal((await as(isEnough ? 'Operator' : 'Contributor')).status, 200, orchestrator);
    assert.equal(harness.started.length, 1);
  }
});

test('a job of an earlier life of the item, or one that was begun anew already, is not begun anew', async () => {
  const { harness, put, ask } = await world({ state: 'Protected' });
  const old = await put(1, 'unplannedFailover');
  const earlierLife = { ...(old.intent.input as object), protectionId: asProtectionId('another') };
  await put(2, 'commitFailover', { intent: { orchestrator: 'commitFailover', input: earlierLife } });
  await put(3, 'unplannedFailover');
  const again = refusal(await ask(1, 'restart'));
  assert.deepEqual([again.status, again.code], [409, 'US1025']);
  assert.match(again.message, new RegExp(`sql-01 has the later job ${nameOf(3)}`));
  assert.match(refusal(await ask(2, 'restart')).message, /sql-01 was protected anew/);
  assert.equal(harness.started.length, 0);
  assert.equal((await ask(3, 'restart')).status, 200);
});

test('a test failover that is up is ended by its job too: resume and cancel both clean it up, once', async () => {
  for (const action of ['resume', 'cancel'] as const) {
    const testFailover = { jobName: nameOf(1), state: 'waiting' as const, startedAt: 'now', disks: [] };
    const { harness, item, put, ask, shown } = await world({ testFailover });
    await put(1, 'testFailover', { state: 'Suspended', suspendedFor: 'testFailover' });
    const { allowedActions, stateDescription } = (await shown(1)).properties;
    assert.deepEqual([allowedActions, stateDescription], [['Cancel', 'Resume'], 'WaitingForStopTestFailover']);
    const answer = await ask(1, action, action === 'resume' ? { properties: { comments: 'all came up' } } : undefined);
    assert.equal(answer.status, 200);
    const [cleanUp] = harness.started;
    assert.equal(cleanUp?.orchestrator, 'testFailoverCleanUp');
    const { comments, jobName } = cleanUp.input as TestFailoverCleanUpInput;
    assert.equal(comments, action === 'resume' ? 'all came up' : '');
    const { state, cleanUpJobName } = (await item.now()).testFailover ?? {};
    assert.deepEqual([state, cleanUpJobName], ['cleaningUp', jobName]);
    assert.equal((await ask(1, action)).status, 409);
    assert.equal(harness.started.length, 1);
  }
});

test('a Resume that was meant for a manual action, and is repeated, does not have a plan’s drill cleaned up', async () => {
  const { harness, put, ask, shown } = await world();
  const input = { planName: 'plan' };
  const [ref, plan] = [rows.plan(vaultId, 'plan'), { planName: 'plan', fabricName: 'f', createdAt: 'now', groups: [] }];
  await harness.table.transact(vaultPartition(vaultId), [insert(ref, { ...plan, test: { jobName: nameOf(2) } })]);
  for (const [number, waiter] of [
    [1, undefined],
    [2, 'the-manual-action'],
  ] as const) {
    await put(number, 'recoveryPlan', {
      ...{
        state: 'Suspended' as const,
        suspendedFor: 'testFailover' as const,
        intent: { orchestrator: 'recoveryPlan', input },
      },
      ...(waiter !== undefined && { waiter }),
    });
  }
  assert.deepEqual((await shown(2)).properties.allowedActions, ['Cancel']);
  assert.equal((await ask(2, 'resume')).status, 409);
  // Of an earlier drill than the one that is up.
  assert.equal((await ask(1, 'cancel')).status, 409);
  assert.equal(harness.started.length, 0);
});

test('a test failover that failed is begun anew with its network and its point', async () => {
  const { harness, item, put, ask } = await world();
  const { itemId, protectionId } = item.first;
  const recoveryPoint = { kind: 'latestProcessed' };
  const input = { vaultId, itemId, protectionId, jobName: nameOf(1), networkId: '/networks/test', recoveryPoint };
  await put(1, 'testFailover', { intent: { orchestrator: 'testFailover', input } });
  assert.equal((await ask(1, 'restart')).status, 200);
  const [begun] = harness.started;
  const { jobName, ...asked } = begun?.input as TestFailoverInput;
  assert.deepEqual(
    [begun?.orchestrator, asked],
    ['testFailover', { ...asked, networkId: '/networks/test', recoveryPoint }],
  );
  const { testFailover } = await item.now();
  assert.deepEqual([testFailover?.jobName, testFailover?.networkId], [jobName, '/networks/test']);
});

test('cancel is offered as long as a workflow still looks for it', async () => {
  const { put, ask, shown } = await world({ state: 'EnablingProtection' });
  const kind = jobKinds.enableProtection;
  const fresh = sampleJob(nameOf(1), 'now');
  const running = { ...fresh, state: 'InProgress' as const, tasks: plannedTasks(nameOf(1), kind) };
  const { tasks } = startTask(running, 'VmStartInitialReplication', 'now');
  await put(1, 'enableProtection', { state: 'InProgress', tasks });
  assert.deepEqual((await shown(1)).properties.allowedActions, ['Cancel']);
  const late = startTask({ ...running, tasks }, 'UpdateDraState', 'now').tasks;
  await put(2, 'enableProtection', { state: 'InProgress', tasks: late });
  assert.deepEqual((await shown(2)).properties.allowedActions, []);
  assert.deepEqual([(await ask(2, 'cancel')).status, (await ask(1, 'cancel')).status], [409, 200]);
});
