import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RecoveryPlanAction, RecoveryPlanGroup } from '@azure/arm-recoveryservices-siterecovery';
import type { PlanAction, RecoveryPlan } from '../../../core/domain/recovery-plan/recovery-plan.js';
import type { PlanRunInput } from '../../../core/domain/recovery-plan/plan-run.js';
import { workflowNames } from '../../../core/domain/workflows/workflows.js';
import { read, replace } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import type { StateTable } from '../../../core/ports/state-table.js';
import { asJobName } from '../../../core/domain/ids.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { openWebhooks } from '../../../providers/webhooks/webhooks.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem, vaultId } from '../../support/api/replicated-items.js';

const planPath = `${vaultPath}/replicationRecoveryPlans/payroll`;
const always: Pick<RecoveryPlanAction, 'failoverTypes' | 'failoverDirections'> = {
  failoverTypes: ['UnplannedFailover'],
  failoverDirections: ['PrimaryToRecovery'],
};
const runbook = (runbookId: string, timeout?: string, actionName = 'tell'): RecoveryPlanAction => ({
  actionName,
  ...always,
  customDetails: {
    instanceType: 'AutomationRunbookActionDetails',
    runbookId,
    fabricLocation: 'Recovery',
    ...(timeout === undefined ? {} : { timeout }),
  },
});

const script = (timeout?: string): RecoveryPlanAction => ({
  actionName: 'mount',
  ...always,
  customDetails: {
    instanceType: 'ScriptActionDetails',
    path: 'mount.sh',
    fabricLocation: 'Primary',
    ...(timeout === undefined ? {} : { timeout }),
  },
});

async function world() {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await ReplicatedItem.put(harness, relay);
  const groups = (...startGroupActions: RecoveryPlanAction[]): RecoveryPlanGroup[] => [
    { groupType: 'Boot', replicationProtectedItems: [{ id: item.armId }], startGroupActions },
  ];
  const fabric = `${vaultPath}/replicationFabrics/${relay.fabricName}`;
  const put = (sent: RecoveryPlanGroup[]) =>
    harness.arm('PUT', planPath, {
      properties: { primaryFabricId: fabric, recoveryFabricId: 'Microsoft Azure', groups: sent },
    });
  const patch = (sent: RecoveryPlanGroup[]) => harness.arm('PATCH', planPath, { properties: { groups: sent } });
  const shown = async (): Promise<RecoveryPlanGroup[]> =>
    ((await harness.arm('GET', planPath)).body as { properties: { groups: RecoveryPlanGroup[] } }).properties.groups;
  const stored = async () => {
    const plan = await read(harness.table, rows.plan(vaultId, 'payroll'));
    assert(plan);
    return plan;
  };
  const actions = async (): Promise<PlanAction[]> =>
    (await stored()).value.groups.flatMap(({ startActions, endActions }) => [...startActions, ...endActions]);
  /** As it was saved by an earlier version. */
  const store = async (change: (action: PlanAction) => PlanAction): Promise<void> => {
    const plan = await stored();
    const changed: RecoveryPlan = {
      ...plan.value,
      groups: plan.value.groups.map((group) => ({ ...group, startActions: group.startActions.map(change) })),
    };
    await harness.table.transact(plan.ref.partition, [replace(plan, changed)]);
  };
  const addresses = async () =>
    (await actions()).map(({ details }) => (details.kind === 'runbook' ? details.webhookUrl : ''));
  return { harness, groups, put, patch, shown, actions, store, addresses };
}

const refusal = ({ status, body }: ApiResponse) => {
  const { error } = body as { error: { target: string; message: string; details: { code: string }[] } };
  return { status, code: error.details[0]?.code, target: error.target, message: error.message };
};

test('a webhook is waited for four minutes at most: the default, and what a plan is refused beyond', async () => {
  const { put, groups, actions } = await world();
  for (const [timeout, seconds] of [
    [undefined, 240],
    ['PT4M', 240],
    ['00:01:00', 60],
    ['5', 5],
  ] as const) {
    assert.equal((await put(groups(runbook('https://example.net/hook', timeout)))).status, 202);
    const [action] = await actions();
    assert(action?.details.kind === 'runbook');
    assert.equal(action.details.timeoutSeconds, seconds);
  }
  for (const timeout of ['PT4M1S', '241', '00:05:00', 'PT10M', 'PT', '0']) {
    const { status, code, target, message } = refusal(await put(groups(runbook('https://example.net/hook', timeout))));
    assert.deepEqual(
      [status, code, target],
      [400, 'US1005', '$.properties.groups[0].startGroupActions[0].customDetails.timeout'],
    );
    assert.match(message, /at most 240 seconds/);
  }
});

test('a script is waited for four hours at most, ten minutes where nothing is said', async () => {
  const { put, groups, actions } = await world();
  for (const [timeout, seconds] of [
    [undefined, 600],
    ['PT4H', 14_400],
  ] as const) {
    assert.equal((await put(groups(script(timeout)))).status, 202);
    const [action] = await actions();
    assert(action?.details.kind === 'script');
    assert.equal(action.details.timeoutSeconds, seconds);
  }
  for (const timeout of ['PT4H1S', '24:00:00']) {
    const { status, code, target, message } = refusal(await put(groups(script(timeout))));
    assert.deepEqual(
      [status, code, target],
      [400, 'US1005', '$.properties.groups[0].startGroupActions[0].customDetails.timeout'],
    );
    assert.match(message, /at most 14400 seconds/);
  }
});

test('a run of a plan that was saved with longer timeouts has those of now', async () => {
  const { harness, put, groups, store } = await world();
  await put(groups(script(), runbook('https://example.net/hook?token=t')));
  await store((action) => {
    assert(action.details.kind !== 'manual');
    return { ...action, details: { ...action.details, timeoutSeconds: 86_400 } };
  });
  const properties = {
    failoverDirection: 'PrimaryToRecovery',
    sourceSiteOperations: 'NotRequired',
    providerSpecificDetails: [{ instanceType: 'HyperVReplicaAzure', recoveryPointType: 'Latest' }],
  };
  const answer = await harness.arm('POST', `${planPath}/unplannedFailover`, { properties });
  assert.equal(answer.status, 202, JSON.stringify(answer.body));
  const run = harness.started.find(({ orchestrator }) => orchestrator === workflowNames.recoveryPlan);
  const actions = (run?.input as PlanRunInput).groups.flatMap(({ startActions }) => startActions);
  assert.deepEqual(
    actions.map(({ details }) => details.kind !== 'manual' && details.timeoutSeconds),
    [14_400, 240],
  );
});

test('a plan that was saved with a longer timeout is shown as it runs, and can be written back', async () => {
  const { put, patch, groups, shown, store } = await world();
  await put(groups(runbook('https://example.net/hook')));
  await store((action) => {
    assert(action.details.kind === 'runbook');
    return { ...action, details: { ...action.details, timeoutSeconds: 600 } };
  });
  const read = await shown();
  assert.match(JSON.stringify(read), /"timeout":"PT240S"/);
  assert.equal((await patch(read)).status, 202);
});

const uncalled: [string, boolean, RegExp][] = [
  ['https://user:secret@example.net/hook', true, /holds credentials/],
  ['http://user:secret@127.0.0.1/hook', true, /holds credentials/],
  ['http://example.net/hook?token=secret', true, /only https/],
  ['http://127.0.0.1/hook?token=secret', false, /only https/],
];
for (const [url, allowLoopback, why] of uncalled) {
  test(`a plan is not saved with the webhook ${url} (loopback allowed: ${allowLoopback})`, async () => {
    const { harness, put, patch, groups, addresses } = await world();
    harness.app.webhooks = openWebhooks({ allowLoopback });
    const [boot] = groups();
    await put(groups(runbook('https://example.net/hook')));
    const sent = [{ ...boot!, endGroupActions: [runbook('https://example.net/', undefined, 'other'), runbook(url)] }];
    for (const save of [put, patch]) {
      const { status, code, target, message } = refusal(await save(sent));
      assert.deepEqual(
        [status, code, target],
        [400, 'US1026', '$.properties.groups[0].endGroupActions[1].customDetails.runbookId'],
      );
      assert.match(message, why);
      assert.doesNotMatch(message, /secret/);
    }
    assert.deepEqual(await addresses(), ['https://example.net/hook']);
  });
}

test('http on loopback is saved where the app runs there itself', async () => {
  const { put, groups, addresses } = await world();
  assert.equal((await put(groups(runbook('http://127.0.0.1:9/hook?token=t')))).status, 202);
  assert.deepEqual(await addresses(), ['http://127.0.0.1:9/hook?token=t']);
});

for (const way of ['put', 'patch'] as const) {
  test(`a plan that is read and written back keeps the addresses of its webhooks (${way})`, async () => {
    const { [way]: save, put, groups, shown, addresses } = await world();
    const first = ['https://Example.net?token=secret', 'https://example.net/b%20c?sig=secret&x=a%2Bb'];
    await put(groups(runbook(first[0]!, undefined, 'one'), runbook(first[1]!, undefined, 'two')));
    const read = await shown();
    assert.doesNotMatch(JSON.stringify(read), /secret/);
    assert.equal((await save(read)).status, 202);
    assert.deepEqual(await addresses(), first);
    // To another place, in another order.
    const [, , boot] = await shown();
    const [one, two] = boot?.startGroupActions ?? [];
    assert.equal((await save([{ ...boot!, startGroupActions: [two!], endGroupActions: [one!] }])).status, 202);
    assert.deepEqual(await addresses(), first.reverse());
  });
}

test('a masked address stands for the stored one, whatever its action is called now; a whole one replaces it', async () => {
  const secret = 'https://example.net/services/T0/B0/secret?token=secret';
  const { put, patch, groups, shown, addresses } = await world();
  await put(groups(runbook(secret)));
  const text = JSON.stringify(await shown());
  assert.ok(!text.includes('secret') && !text.includes('T0'), 'nothing that lets a caller in is shown');
  const [mask = ''] = /https:\/\/example\.net\/\*\*\*#[0-9a-f]{12}/.exec(text) ?? [];
  for (const [name, sent, saved] of [
    ['tell', mask, secret],
    ['tell others', mask, secret],
    ['tell', 'https://example.net/services', 'https://example.net/services'],
  ] as const) {
    assert.equal((await patch(groups(runbook(sent, undefined, name)))).status, 202);
    assert.deepEqual(await addresses(), [saved]);
  }
  const { status, code, message } = refusal(await patch(groups(runbook(mask))));
  assert.deepEqual([status, code], [400, 'US1026']);
  assert.match(message, /the masked address of action 'tell' stands for none/);
  assert.deepEqual(await addresses(), ['https://example.net/services']);
});

test('nothing that lets a caller in is shown of a plan that an earlier version saved', async () => {
  const { put, patch, groups, shown, store, addresses } = await world();
  await put(groups(runbook('https://example.net/hook')));
  for (const webhookUrl of ['https://user:secret@example.net/hook?token=t', 'https://example.net/hook?a\nsecret#b']) {
    await store((action) => {
      assert(action.details.kind === 'runbook');
      return { ...action, details: { ...action.details, webhookUrl } };
    });
    const read = await shown();
    assert.match(JSON.stringify(read), /"runbookId":"https:\/\/example.net\/\*\*\*#[0-9a-f]{12}"/);
    assert.equal((await patch(read)).status, 202);
    assert.deepEqual(await addresses(), [webhookUrl]);
  }
});

for (const way of ['put', 'patch'] as const) {
  test(`a plan that begins to run while it is saved is not saved over its run (${way})`, async () => {
    const { harness, [way]: save, put, groups, addresses } = await world();
    await put(groups(runbook('https://example.net/one')));
    const planRow = rows.plan(vaultId, 'payroll');
    const transact: StateTable['transact'] = async (partition, operations) => {
      const stored = await read(harness.sharedTable, planRow);
      const isSaved = operations.some(({ rowKey }) => rowKey === planRow.rowKey);
      if (isSaved && stored && stored.value.activeJob === undefined) {
        const activeJob = { jobName: asJobName('run'), scenarioName: 'TestFailover', startedAt: 'now' };
        await harness.sharedTable.transact(partition, [replace(stored, { ...stored.value, activeJob })]);
      }
      return harness.table.transact(partition, operations);
    };
    Object.assign(harness.app, { table: { ...harness.table, transact } });
    assert.equal((await save(groups(runbook('https://example.net/two')))).status, 409);
    assert.equal((await read(harness.table, planRow))?.value.activeJob?.jobName, 'run');
    assert.deepEqual(await addresses(), ['https://example.net/one']);
  });
}
