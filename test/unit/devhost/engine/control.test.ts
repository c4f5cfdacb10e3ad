import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OrchestrationContext } from 'durable-functions';
import { EngineHarness } from '../../../support/durable/engine-harness.js';
import { df } from '../../../support/durable/function-app.js';

const calls = new Map<string, number>();
function count(key: string): number {
  const next = (calls.get(key) ?? 0) + 1;
  calls.set(key, next);
  return next;
}
let mayPass = false;

df.app.activity('flaky', {
  handler: ({ key, passAt }: { key: string; passAt: number }) => {
    const n = count(key);
    if (n < passAt) throw new Error(`flaky ${n}`);
    return n;
  },
});
df.app.activity('gate', {
  handler: (name: string) => {
    if (!mayPass) throw new Error('the gate is shut');
    return `passed ${name}`;
  },
});
df.app.activity('step', { handler: (name: string) => `${name}#${count(name)}` });

df.app.orchestration('retries', function* (context: OrchestrationContext) {
  const { key, passAt } = context.df.getInput<{ key: string; passAt: number }>() ?? { key: '', passAt: 0 };
  const options = new df.RetryOptions(1000, 3);
  options.backoffCoefficient = 2;
  const startedAt = context.df.currentUtcDateTime.getTime();
  let result: unknown;
  try {
    result = yield context.df.callActivityWithRetry('flaky', options, { key, passAt });
  } catch (error) {
    result = (error as Error).message.split(' \n ')[0];
  }
  const elapsed = context.df.currentUtcDateTime.getTime() - startedAt;
  const after: unknown = yield context.df.callActivity('step', `after ${key}`);
  return [result, elapsed, after];
});

df.app.orchestration('gated', function* (context: OrchestrationContext) {
  const first: unknown = yield context.df.callActivity('step', `first of ${context.df.instanceId}`);
  const second: unknown = yield context.df.callActivity('gate', 'second');
  return [first, second];
});

df.app.orchestration('gatedParent', function* (context: OrchestrationContext) {
  const options = new df.RetryOptions(1, 2);
  const own: unknown = yield context.df.callActivityWithRetry('gate', options, 'own');
  const child: unknown = yield context.df.callSubOrchestrator('gated', null, `${context.df.instanceId}-child`);
  return [own, child];
});

df.app.orchestration('steps', function* (context: OrchestrationContext) {
  const seen: unknown[] = [];
  for (let n = 0; n < 3; n++) {
    seen.push(yield context.df.waitForExternalEvent('next'));
    context.df.setCustomStatus({ seen: seen.length });
    seen.push(yield context.df.callActivity('step', `${context.df.instanceId} ${n}`));
  }
  return seen;
});

let codeVersion = 1;
df.app.orchestration('changed', function* (context: OrchestrationContext) {
  yield context.df.callActivity(codeVersion === 1 ? 'step' : 'gate', 'x');
  yield context.df.waitForExternalEvent('go');
  return 'done';
});

df.app.orchestration('bigStatus', function* (context: OrchestrationContext) {
  context.df.setCustomStatus('x'.repeat(context.df.getInput<number>() ?? 0));
  yield context.df.callActivity('step', 'big');
  return 'x';
});

test('a retry waits its growing intervals and gives the first success', async () => {
  const harness = await EngineHarness.started();
  const status = await harness.finishedInTime(await harness.start('retries', { key: 'a', passAt: 3 }));
  assert.deepEqual(status.output, [3, 3000, 'after a#1']);
});

test('an exhausted retry takes the ids that the library expects, and what follows runs', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('retries', { key: 'b', passAt: 9 });
  const status = await harness.finishedInTime(id);
  assert.deepEqual(status.output, ["Activity function 'flaky' failed: flaky 3", 3000, 'after b#1']);
  const kinds = (await harness.history(id)).map(({ EventType }) => EventType);
  assert.deepEqual(
    kinds.filter((kind) => kind !== 'TimerFired'),
    [
      'ExecutionStarted',
      'TaskFailed',
      'TimerCreated',
      'TaskFailed',
      'TimerCreated',
      'TaskFailed',
      'TimerCreated',
      'TaskCompleted',
      'ExecutionCompleted',
    ],
  );
});

test('a suspended orchestration keeps its messages, over a restart too, and goes on when resumed', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('steps', null, 'paused');
  await harness.raise(id, 'next', 1);
  await harness.until(id, ({ customStatus }) => customStatus !== null);
  assert.equal(await harness.control(id, 'suspend'), 202);
  await harness.until(id, ({ runtimeStatus }) => runtimeStatus === 'Suspended');
  assert.equal(await harness.raise(id, 'next', 2), 202);
  assert.equal(await harness.raise(id, 'next', 3), 202);
  await harness.restart();
  assert.equal((await harness.status(id)).runtimeStatus, 'Suspended');
  assert.deepEqual((await harness.status(id)).customStatus, { seen: 1 });
  assert.equal(await harness.control(id, 'resume'), 202);
  assert.deepEqual(await harness.output(id), [1, 'paused 0#1', 2, 'paused 1#1', 3, 'paused 2#1']);
  assert.equal(await harness.control(id, 'suspend'), 410);
  assert.equal(await harness.control('nobody', 'resume'), 404);
});

test('termination ends an orchestration with its reason, also a suspended one', async () => {
  const harness = await EngineHarness.started();
  for (const verb of ['resume', 'suspend']) {
    const id = await harness.start('steps');
    await harness.control(id, verb);
    assert.equal(await harness.control(id, 'terminate', 'had enough'), 202);
    const status = await harness.finished(id);
    assert.deepEqual([status.runtimeStatus, status.output], ['Terminated', 'had enough']);
    assert.equal(await harness.raise(id, 'next', 1), 410);
  }
});

test('a failed orchestration is rewound to before its last failure and keeps what had been done', async () => {
  const harness = await EngineHarness.started();
  mayPass = false;
  const id = await harness.start('gated', null, 'rewound');
  assert.equal((await harness.finished(id)).runtimeStatus, 'Failed');
  mayPass = true;
  assert.equal(await harness.control(id, 'rewind'), 202);
  assert.deepEqual(await harness.output(id), ['first of rewound#1', 'passed second']);
  assert.equal(await harness.control(id, 'rewind'), 410);
  assert.equal(await harness.control('nobody', 'rewind'), 404);
});

test('an orchestration that failed by an exhausted retry is rewound', async () => {
  const harness = await EngineHarness.started();
  mayPass = false;
  const id = await harness.start('gatedParent', null, 'elder');
  assert.equal((await harness.finishedInTime(id)).runtimeStatus, 'Failed');
  mayPass = true;
  assert.equal(await harness.control(id, 'rewind'), 202);
  assert.deepEqual(await harness.output(id), ['passed own', ['first of elder-child#1', 'passed second']]);
});

test('a child that failed under its parent is rewound with it', async () => {
  const harness = await EngineHarness.started();
  mayPass = true;
  df.app.orchestration('parentOfGated', function* (context: OrchestrationContext) {
    const child: unknown = yield context.df.callSubOrchestrator('gated', null, 'gated-child');
    return child;
  });
  mayPass = false;
  const id = await harness.start('parentOfGated');
  assert.equal((await harness.finished(id)).runtimeStatus, 'Failed');
  mayPass = true;
  assert.equal(await harness.control(id, 'rewind'), 202);
  assert.deepEqual(await harness.output(id), ['first of gated-child#1', 'passed second']);
});

test('a restart runs the same input anew, under a new id or the same', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('retries', { key: 'again', passAt: 1 });
  await harness.finished(id);
  const other = await harness.request('POST', `instances/${id}/restart`);
  assert.equal(other.status, 202);
  const otherId = (JSON.parse(other.body) as { id: string }).id;
  assert.notEqual(otherId, id);
  assert.equal(((await harness.output(otherId)) as unknown[])[2], 'after again#2');
  assert.equal((await harness.request('POST', `instances/${id}/restart?restartWithNewInstanceId=false`)).status, 202);
  assert.equal(((await harness.output(id)) as unknown[])[2], 'after again#3');
  assert.equal((await harness.request('POST', 'instances/nobody/restart')).status, 404);
});

test('purging takes finished instances only, one or by time', async () => {
  const harness = await EngineHarness.started();
  const done = await harness.start('gated');
  await harness.finished(done);
  const running = await harness.start('steps');
  assert.equal((await harness.request('DELETE', `instances/${running}`)).status, 404);
  assert.equal((await harness.request('DELETE', `instances/${done}`)).body, '{"instancesDeleted":1}');
  assert.equal((await harness.request('GET', `instances/${done}`)).status, 404);
  const more = await Promise.all([1, 2, 3].map(() => harness.start('gated')));
  for (const id of more) await harness.finished(id);
  assert.equal((await harness.request('DELETE', 'instances/')).status, 400);
  const from = new Date(harness.clock.now() - 1000).toISOString();
  const purged = await harness.request('DELETE', `instances/?createdTimeFrom=${from}&runtimeStatus=Completed,Failed`);
  assert.equal(purged.body, '{"instancesDeleted":3}');
  assert.equal((await harness.status(running)).runtimeStatus, 'Running');
});

test('a changed orchestrator is caught by its history', async () => {
  const harness = await EngineHarness.started();
  codeVersion = 1;
  const id = await harness.start('changed');
  await harness.until(id, ({ runtimeStatus }) => runtimeStatus === 'Running');
  await new Promise((resolve) => setTimeout(resolve, 20));
  codeVersion = 2;
  await harness.raise(id, 'go');
  const status = await harness.finished(id);
  assert.equal(status.runtimeStatus, 'Failed');
  assert.match(String(status.output), /Non-Deterministic workflow detected.*'step'.*'gate'/);
});

test('a custom status of more than 16 KB fails the orchestration', async () => {
  const harness = await EngineHarness.started();
  assert.equal((await harness.finished(await harness.start('bigStatus', 8000))).runtimeStatus, 'Completed');
  const failed = await harness.finished(await harness.start('bigStatus', 8200));
  assert.equal(failed.runtimeStatus, 'Failed');
  assert.match(String(failed.output), /custom status has 16404 bytes/);
});
