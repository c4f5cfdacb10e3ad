import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EntityContext, OrchestrationContext } from 'durable-functions';
import { EngineHarness } from '../../../support/durable/engine-harness.js';
import { df, functionAppWorker } from '../../../support/durable/function-app.js';

df.app.entity('counter', (context: EntityContext<number>) => {
  const value = context.df.getState(() => 0) ?? 0;
  switch (context.df.operationName) {
    case 'add':
      context.df.setState(value + (context.df.getInput<number>() ?? 0));
      break;
    case 'addAndTell':
      context.df.setState(value + 1);
      context.df.signalEntity(new df.EntityId('counter', 'told'), 'add', 10);
      break;
    case 'get':
      context.df.return(value);
      break;
    case 'delete':
      context.df.destructOnExit();
      break;
    default:
      throw new Error(`no operation ${String(context.df.operationName)}`);
  }
});

df.app.orchestration('addsAndReads', function* (context: OrchestrationContext) {
  const key = context.df.getInput<string>() ?? '';
  const id = new df.EntityId('counter', key);
  for (let n = 1; n <= 3; n++) context.df.signalEntity(id, 'add', n);
  yield context.df.callEntity(id, 'add', 4);
  const value: unknown = yield context.df.callEntity(id, 'get');
  try {
    yield context.df.callEntity(id, 'nonsense');
  } catch (error) {
    return [value, error instanceof Error];
  }
  return [value, false];
});

df.app.orchestration('signalsOnly', function* (context: OrchestrationContext) {
  const id = new df.EntityId('Counter', 'signalled');
  for (let n = 0; n < 5; n++) context.df.signalEntity(id, 'add', 1);
  yield context.df.createTimer(context.df.currentUtcDateTime);
  return 'sent';
});

async function untilState(harness: EngineHarness, path: string, expected: unknown): Promise<void> {
  const deadline = Date.now() + 5000;
  for (;;) {
    const answer = await harness.request('GET', `entities/${path}`);
    if (answer.status === 200 && answer.body === JSON.stringify(expected)) return;
    assert.ok(Date.now() < deadline, `entity ${path} is ${answer.status} ${answer.body}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

test('signals and calls of an orchestration reach the entity in order, and replies come back', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('addsAndReads', 'k1');
  assert.deepEqual(await harness.output(id), [10, true]);
  await untilState(harness, 'counter/k1', 10);
});

test('signals of an orchestration that is over at once are delivered all the same, once', async () => {
  const harness = await EngineHarness.started();
  assert.equal(await harness.output(await harness.start('signalsOnly')), 'sent');
  await untilState(harness, 'counter/signalled', 5);
  await harness.restart();
  await new Promise((resolve) => setTimeout(resolve, 30));
  await untilState(harness, 'counter/signalled', 5);
});

test('an id used again at once loses none of the signals of its earlier runs', async () => {
  const harness = await EngineHarness.started({
    worker: {
      functions: functionAppWorker.functions,
      invoke: async (request) => {
        if (request.functionName === 'counter') await new Promise((resolve) => setTimeout(resolve, 20));
        return functionAppWorker.invoke(request);
      },
    },
  });
  for (let round = 0; round < 6; round++) {
    await harness.output(await harness.start('signalsOnly', null, 'again'));
  }
  await untilState(harness, 'counter/signalled', 30);
  // No two of them wrote to the same place.
  assert.deepEqual(
    harness.logged.filter(({ level }) => level === 'error'),
    [],
  );
});

test('client signals are taken, read back, listed and deleted', async () => {
  const harness = await EngineHarness.started();
  assert.equal((await harness.request('GET', 'entities/counter/none')).status, 404);
  for (let n = 0; n < 60; n++) {
    assert.equal((await harness.request('POST', 'entities/Counter/c%201?op=add', 2)).status, 202);
  }
  await untilState(harness, 'counter/c%201', 120);
  const listed = await harness.request('GET', 'entities/counter?fetchState=true');
  assert.deepEqual(
    (JSON.parse(listed.body) as { entityId: unknown; state: unknown }[]).map(({ entityId, state }) => [
      entityId,
      state,
    ]),
    [[{ name: 'counter', key: 'c 1' }, 120]],
  );
  assert.equal((await harness.request('DELETE', 'entities/counter/c%201')).status, 202);
  const deadline = Date.now() + 5000;
  while ((await harness.request('GET', 'entities/counter/c%201')).status !== 404) assert.ok(Date.now() < deadline);
});

test('an entity signals another one', async () => {
  const harness = await EngineHarness.started();
  for (let n = 0; n < 4; n++) await harness.request('POST', 'entities/counter/teller?op=addAndTell');
  await untilState(harness, 'counter/told', 40);
});

test('operations go on after a restart on the state that was committed', async () => {
  const harness = await EngineHarness.started();
  await harness.request('POST', 'entities/counter/kept?op=add', 3);
  await untilState(harness, 'counter/kept', 3);
  await harness.restart();
  await harness.request('POST', 'entities/counter/kept?op=add', 4);
  await untilState(harness, 'counter/kept', 7);
  assert.deepEqual(await harness.output(await harness.start('addsAndReads', 'kept')), [17, true]);
});
