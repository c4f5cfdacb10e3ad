import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import { operations } from '../../../functions/arm/operations.js';
import { fullPath } from '../../../functions/arm/router.js';
import type { ApiResponse } from '../../../functions/http/exchange.js';
import { Harness, premiumAccount, replicasAccount, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem } from '../../support/api/replicated-items.js';
import { sampleItem } from '../../support/sample-item.js';

interface ErrorBody {
  error: {
    code: string;
    message: string;
    target?: string;
    details: { code: string }[];
    possibleCauses: string;
    recommendedAction: string;
  };
}

const errorOf = (answer: ApiResponse): ErrorBody['error'] => (answer.body as ErrorBody).error;

/** Every refusal names what, where and what to do. */
function assertRefused(answer: ApiResponse, status: number, code: string, ownCode: string): ErrorBody['error'] {
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  const error = errorOf(answer);
  assert.equal(error.code, code);
  assert.equal(error.details[0]?.code, ownCode);
  assert.notEqual(error.message, '');
  assert.notEqual(error.recommendedAction, '');
  return error;
}

const policyPath = `${vaultPath}/replicationPolicies/gold`;
const policyBody = (input: object) => ({
  properties: { providerSpecificInput: { instanceType: 'HyperVReplicaAzure', ...input } },
});

test('an unknown path is refused and names the nearest operation', async () => {
  const harness = new Harness();
  await harness.putVault();
  const error = assertRefused(
    await harness.arm('GET', `${vaultPath}/replicationPolicys`),
    404,
    'OperationNotFound',
    'US1001',
  );
  assert.match(error.recommendedAction, /replicationPolicies\.list/);
  assert.match(error.message, /replicationPolicys/);
});

test('a known path with a wrong method names the methods that there are', async () => {
  const error = assertRefused(await new Harness().arm('DELETE', '/subscriptions'), 405, 'MethodNotAllowed', 'US1002');
  assert.match(error.message, /GET/);
});

test('a call without api-version is refused, in whatever case it may be spelt', async () => {
  const harness = new Harness();
  await harness.putVault();
  assertRefused(await harness.arm('GET', `${vaultPath}?x=1`), 400, 'MissingApiVersionParameter', 'US1003');
  assert.equal((await harness.arm('GET', `${vaultPath}?API-Version=2018-01-10`)).status, 200);
});

test('malformed JSON is refused and leaves nothing behind', async () => {
  const harness = new Harness();
  await harness.putVault();
  assertRefused(await harness.arm('PUT', policyPath, '{"properties":'), 400, 'InvalidRequestContent', 'US1004');
  assertRefused(
    await harness.arm('PUT', policyPath, Buffer.from([0x22, 0xff, 0x22]).toString('latin1') + '{'),
    400,
    'InvalidRequestContent',
    'US1004',
  );
  assert.deepEqual(harness.started, []);
  assert.deepEqual((await harness.arm('GET', `${vaultPath}/replicationJobs`)).body, { value: [] });
});

test('a body of the wrong shape is refused with the JSON path of every wrong place', async () => {
  const harness = new Harness();
  await harness.putVault();
  const error = assertRefused(
    await harness.arm('PUT', policyPath, policyBody({ replicationInterval: 60, recoveryPointHistoryDuration: 25 })),
    400,
    'InvalidParameter',
    'US1005',
  );
  assert.match(error.message, /\$\.properties\.providerSpecificInput\.replicationInterval: one of 30, 300, 900/);
  assert.match(error.message, /\$\.properties\.providerSpecificInput\.recoveryPointHistoryDuration/);
  assertRefused(await harness.arm('PUT', policyPath), 400, 'InvalidParameter', 'US1005');
  assert.deepEqual(harness.started, []);
});

test('30 s is refused for a premium account, and an unknown account by its place', async () => {
  const harness = new Harness();
  await harness.putVault();
  const premium = policyBody({ replicationInterval: 30, storageAccounts: [premiumAccount] });
  assertRefused(await harness.arm('PUT', policyPath, premium), 400, 'InvalidParameter', 'US1015');
  const unknown = policyBody({ storageAccounts: [replicasAccount, `${replicasAccount}x`] });
  const error = assertRefused(await harness.arm('PUT', policyPath, unknown), 400, 'InvalidReference', 'US1016');
  assert.equal(error.target, '$.properties.providerSpecificInput.storageAccounts[1]');
});

async function withPremiumItem(changes: Partial<ProtectedItem> = {}) {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const target = { ...sampleItem().target, storageAccountId: premiumAccount };
  await ReplicatedItem.put(harness, relay, { policyName: 'GOLD', target, ...changes });
  const change = (replicationInterval: number) => harness.arm('PUT', policyPath, policyBody({ replicationInterval }));
  return { harness, change };
}

test('a policy is not changed to 30 s while a replica in a premium account uses it', async () => {
  const { harness, change } = await withPremiumItem();
  const error = assertRefused(await change(30), 400, 'InvalidParameter', 'US3115');
  assert.equal(error.target, '$.properties.providerSpecificInput.replicationInterval');
  assert.match(error.message, /premium .* sql-01/);
  assert.deepEqual(harness.started, []);
  assert.equal((await change(300)).status, 202);
  const other = policyPath.replace('gold', 'silver');
  assert.equal((await harness.arm('PUT', other, policyBody({ replicationInterval: 30 }))).status, 202);
});

test('an item whose enabling failed replicates nothing, so that its policy may be changed to 30 s', async () => {
  const { change } = await withPremiumItem({ state: 'EnablingFailed' });
  assert.equal((await change(30)).status, 202);
});

test('routes match in any case, and an unknown resource is 404', async () => {
  const harness = new Harness();
  await harness.putVault();
  const shouted = vaultPath.replace('resourceGroups', 'RESOURCEGROUPS').replace('/local', '/LOCAL');
  assert.equal((await harness.arm('GET', shouted)).status, 200);
  assertRefused(await harness.arm('GET', policyPath), 404, 'ResourceNotFound', 'US1006');
  assertRefused(
    await harness.arm('GET', policyPath.replace('vaults/local', 'vaults/other')),
    404,
    'ResourceNotFound',
    'US1006',
  );
});

test('a foreign Host or Origin is refused in loopback mode, our own Origin is not', async () => {
  const harness = new Harness();
  await harness.putVault();
  const get = (headers: Record<string, string>) => harness.arm('GET', vaultPath, undefined, headers);
  assertRefused(await get({ host: 'rebound.example:7071' }), 403, 'ForbiddenHost', 'US1011');
  assertRefused(await get({ origin: 'https://evil.example' }), 403, 'ForbiddenHost', 'US1011');
  assertRefused(await get({ origin: 'null' }), 403, 'ForbiddenHost', 'US1011');
  assert.equal((await get({ origin: 'http://127.0.0.1:7071' })).status, 200);
  assert.equal((await get({ host: 'localhost:7071', origin: 'http://localhost:7071' })).status, 200);
});

test('a foreseen failure keeps its code, an unforeseen one tells nothing but its activity', async () => {
  const harness = new Harness();
  harness.table.get = async () => {
    throw new Error('secret inside');
  };
  const answer = await harness.arm('GET', vaultPath);
  const error = assertRefused(answer, 500, 'InternalServerError', 'US1017');
  assert.doesNotMatch(JSON.stringify(answer.body), /secret/);
  assert.equal(harness.logged.length, 1);
  assert.match(error.message, /activity/);
});

test('no two operations share a method and a path, or a name', () => {
  const keys = operations.map((operation) => `${operation.method} ${fullPath(operation).toLowerCase()}`);
  assert.equal(new Set(keys).size, keys.length);
  const names = operations.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
});

test('a policy PUT answers 202 with absolute links that echo the api-version', async () => {
  const harness = new Harness();
  await harness.putVault();
  const answer = await harness.arm('PUT', `${policyPath}?api-version=2022-08-01`, policyBody({}), {
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'understudy.example',
  });
  assert.equal(answer.status, 202);
  assert.equal(answer.body, undefined);
  const job = harness.started[0];
  assert(job !== undefined);
  assert.equal(job.orchestrator, 'runOperation');
  assert.deepEqual(answer.headers, {
    'Azure-AsyncOperation': `https://understudy.example${vaultPath}/replicationOperationStatus/${job.instanceId}?api-version=2022-08-01`,
    Location: `https://understudy.example${policyPath}/operationresults/${job.instanceId}?api-version=2022-08-01`,
    'Retry-After': '1',
  });
});

test('a job whose workflow could not be started stays as an intent and the caller is told 202', async () => {
  const harness = new Harness();
  await harness.putVault();
  harness.startFails = true;
  const answer = await harness.arm('PUT', policyPath, policyBody({}));
  assert.equal(answer.status, 202);
  const jobs = (await harness.arm('GET', `${vaultPath}/replicationJobs`)).body as {
    value: { properties: { state: string; scenarioName: string; tasks: { state: string }[] } }[];
  };
  assert.equal(jobs.value[0]?.properties.state, 'NotStarted');
  assert.equal(jobs.value[0].properties.scenarioName, 'AddProtectionProfile');
  assert.deepEqual(
    jobs.value[0].properties.tasks.map(({ state }) => state),
    ['NotStarted'],
  );
});
