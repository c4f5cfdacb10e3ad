import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asJobName } from '../../../core/domain/ids.js';
import type { Job } from '../../../core/domain/jobs/job.js';
import { insert, list, remove } from '../../../core/records/access.js';
import { rows, vaultPartition } from '../../../core/records/rows.js';
import { Harness, vaultPath } from '../../support/api/harness.js';
import { ReplicatedItem, vaultId } from '../../support/api/replicated-items.js';
import { sampleJob } from '../../support/sample-job.js';

const nameOf = (number: number) => asJobName(`0190a000-0000-7000-8000-${String(number).padStart(12, '0')}`);

interface Page {
  value: { name: string; properties: Record<string, unknown> }[];
  nextLink?: string;
}

async function world(count: number, changes: (number: number) => Partial<Job> = () => ({})) {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const { partition } = rows.jobs(vaultId);
  await harness.table.transact(partition, (await list(harness.table, rows.jobs(vaultId))).map(remove));
  for (let number = 1; number <= count; number++) {
    const job: Job = { ...sampleJob(nameOf(number), harness.now.toString()), ...changes(number) };
    await harness.table.transact(vaultPartition(vaultId), [insert(rows.job(vaultId, job.jobName), job)]);
  }
  const get = async (path: string): Promise<Page> => (await harness.arm('GET', path)).body as Page;
  return { harness, relay, get };
}

test('jobs and items come page by page, whichever way the token is spelt; what comes meanwhile moves no page', async () => {
  const { harness, relay, get } = await world(5);
  const first = await get(`${vaultPath}/replicationJobs?api-version=1&$take=2`);
  assert.deepEqual(
    first.value.map(({ name }) => name),
    [nameOf(5), nameOf(4)],
  );
  const newest = sampleJob(nameOf(6), harness.now.toString());
  await harness.table.transact(vaultPartition(vaultId), [insert(rows.job(vaultId, newest.jobName), newest)]);
  assert(first.nextLink?.startsWith('http://127.0.0.1:7071/') === true);
  const second = await get((first.nextLink ?? '').slice('http://127.0.0.1:7071'.length));
  const third = await get(second.nextLink?.replace('http://127.0.0.1:7071', '') ?? '');
  assert.deepEqual(
    [...second.value, ...third.value].map(({ name }) => name),
    [nameOf(3), nameOf(2), nameOf(1)],
  );
  assert.equal(third.nextLink, undefined);

  for (const itemName of ['sql-01', 'web-01', 'app-01']) await ReplicatedItem.put(harness, relay, { itemName });
  const items = await get(`${vaultPath}/replicationProtectedItems?api-version=1&$take=2`);
  const rest = await get(
    (items.nextLink ?? '').replace('http://127.0.0.1:7071', '').replace('%24skipToken', 'skipToken'),
  );
  const names = [...items.value, ...rest.value].map(({ name }) => name);
  assert.deepEqual([items.value.length, names.sort()], [2, ['app-01', 'sql-01', 'web-01']]);
});

test('a filter is refused where there is none to have', async () => {
  const { harness } = await world(0);
  const answer = await harness.arm('GET', `${vaultPath}/replicationPolicies?api-version=1&$filter=name eq 'x'`);
  assert.deepEqual([answer.status, JSON.stringify(answer.body).includes('US1013')], [400, true]);
  assert.equal((await harness.arm('GET', `${vaultPath}/replicationPolicies?api-version=1&$filter=`)).status, 200);
});

test('an export has the jobs of the fabric that is asked for', async () => {
  const { harness } = await world(3, (number) => ({
    targetResourceId: `${vaultPath}/${['replicationFabrics/ABC/x/y', 'replicationFabrics/abcd', 'replicationPolicies/p'][number - 1]}`,
  }));
  let written = '';
  Object.assign(harness.app.transfers, {
    putOnce: async (_account: string, _name: string, data: Buffer) => void (written = data.toString()),
  });
  const accounts = [{ armId: 'a', kind: 'standard' }];
  Object.assign(harness.app.cloudInventory, { storageAccounts: async () => accounts });
  const fabricId = `${vaultPath}/replicationFabrics/abc`;
  assert.equal((await harness.arm('POST', `${vaultPath}/replicationJobs/export`, { fabricId })).status, 202);
  assert.deepEqual(
    (JSON.parse(written) as Page['value']).map(({ name }) => name),
    [nameOf(1)],
  );
});

test('what the relay or Azure said stands beside what the service makes of it', async () => {
  const error = { message: 'm', possibleCauses: 'c', recommendedAction: 'r', at: '2026-01-05T10:00:00Z' };
  const { get } = await world(1, () => ({
    state: 'Failed',
    errors: ['US4011', 'US5110', 'US6055'].map((code) => ({ code, ...error })),
  }));
  const job = (await get(`${vaultPath}/replicationJobs/${nameOf(1)}`)) as unknown as Page['value'][number];
  const errors = job.properties.errors as { providerErrorDetails?: { errorCode: number; errorId: string } }[];
  assert.deepEqual(
    errors.map(({ providerErrorDetails: found }) => found && [found.errorCode, found.errorId]),
    [undefined, [5110, 'US5110'], [6055, 'US6055']],
  );
});

test('what a job survived is told beside its success, and its details are those of its scenario', async () => {
  const networkId = '/subscriptions/s/virtualNetworks/test';
  const { get } = await world(3, (number) => ({
    state: 'Succeeded',
    itemId: 'item' as never,
    scenarioName: ['TestFailover', 'PlannedFailover', 'EnableDr'][number - 1] ?? '',
    comments: 'all well',
    intent: { orchestrator: 'testFailover', input: { networkId } },
    errors: [
      { code: 'US4011', message: 'late', possibleCauses: 'c', recommendedAction: 'r', at: '2026-01-05T10:00:00Z' },
    ],
  }));
  const status = await get(`${vaultPath}/replicationOperationStatus/${nameOf(1)}`);
  const { error, status: word } = status as unknown as { error: { code: string }; status: string };
  assert.deepEqual([word, error.code], ['Succeeded', 'US4011']);
  const details = await Promise.all(
    [1, 2, 3].map(async (number) => {
      const job = (await get(`${vaultPath}/replicationJobs/${nameOf(number)}`)) as unknown as Page['value'][number];
      return job.properties.customDetails as Record<string, unknown>;
    }),
  );
  assert.deepEqual(
    details.map(({ instanceType }) => instanceType),
    ['TestFailoverJobDetails', 'FailoverJobDetails', 'AsrJobDetails'],
  );
  assert.deepEqual([details[0]?.networkFriendlyName, details[0]?.comments], ['test', 'all well']);
});
