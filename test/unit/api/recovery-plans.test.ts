import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asVaultId } from '../../../core/domain/ids.js';
import { read } from '../../../core/records/access.js';
import { rows } from '../../../core/records/rows.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem } from '../../support/api/replicated-items.js';

const plan = `${vaultPath}/replicationRecoveryPlans/payroll`;
const hook = 'https://example.net/hook';
const token = '?token=secret';

async function planDoor() {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const item = await ReplicatedItem.put(harness, relay);
  const primaryFabricId = `${vaultPath}/replicationFabrics/${relay.fabricName}`;
  const groups = (...actions: object[]) => [
    { groupType: 'Boot', replicationProtectedItems: [{ id: item.armId }], endGroupActions: actions },
  ];
  const action = (actionName: string, customDetails: object) => ({
    actionName,
    failoverTypes: ['PlannedFailover'],
    failoverDirections: ['PrimaryToRecovery'],
    customDetails: { fabricLocation: 'Recovery', ...customDetails },
  });
  const stored = async () => {
    const found = await read(harness.table, rows.plan(asVaultId(vaultPath), 'payroll'));
    return (found?.value.groups ?? []).flatMap(({ endActions }) => endActions).map(({ details }) => details);
  };
  return {
    harness,
    stored,
    runbook: (actionName: string, runbookId: string, timeout?: string) =>
      action(actionName, { instanceType: 'AutomationRunbookActionDetails', runbookId, timeout }),
    script: (timeout: string) => action('s', { instanceType: 'ScriptActionDetails', path: 'a.sh', timeout }),
    put: (...actions: object[]) =>
      harness.arm('PUT', plan, {
        properties: { primaryFabricId, recoveryFabricId: 'Microsoft Azure', groups: groups(...actions) },
      }),
    patch: (body: object) => harness.arm('PATCH', plan, body),
    groups,
  };
}

test('a plan that is read and written again keeps the tokens of its webhooks', async () => {
  const { harness, put, patch, runbook, groups, stored } = await planDoor();
  assert.equal((await put(runbook('tell', `${hook}${token}`))).status, 202);
  const kept = { kind: 'runbook', webhookUrl: `${hook}${token}`, timeoutSeconds: 240 };
  assert.deepEqual(await stored(), [kept]);
  const { body } = await harness.arm('GET', plan);
  assert.ok(!JSON.stringify(body).includes('secret'));
  assert.equal((await harness.arm('PUT', plan, body)).status, 202);
  assert.deepEqual(await stored(), [kept]);
  const { properties } = body as { properties: { groups: object[] } };
  assert.equal((await patch({ properties: { groups: properties.groups } })).status, 202);
  assert.deepEqual(await stored(), [kept]);
  for (const other of [runbook('other', hook), runbook('tell', `${hook}2`)]) {
    await patch({ properties: { groups: groups(other) } });
    assert.ok(!JSON.stringify(await stored()).includes('secret'));
  }
});

test('addresses that would not be called, and timeouts beyond their bounds, are refused when the plan is saved', async () => {
  const { put, runbook, script, stored } = await planDoor();
  const refused = async (action: object, found: RegExp) => {
    const { status, body } = await put(action);
    const text = JSON.stringify(body);
    assert.equal(status, 400, text);
    assert.match(text, found);
    assert.match(text, /\$\.properties\.groups\[0\]\.endGroupActions\[0\]\.customDetails/);
    assert.ok(!text.includes('secret'));
  };
  await refused(runbook('a', `http://127.0.0.1:8080/${token}`), /only https/);
  await refused(runbook('a', 'https://operator:secret@example.net/hook'), /user name or a password/);
  await refused(runbook('a', hook, 'PT241S'), /240 seconds/);
  await refused(runbook('a', hook, 'PT0S'), /240 seconds/);
  await refused(script('PT4H1S'), /14400 seconds/);
  assert.deepEqual(await stored(), []);
  assert.equal((await put(script('04:00:00'))).status, 202);
  assert.deepEqual(await stored(), [{ kind: 'script', scriptName: 'a.sh', timeoutSeconds: 14400 }]);
});
