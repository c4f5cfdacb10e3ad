import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EntityContext, OrchestrationContext } from 'durable-functions';
import { MemoryStore } from '../../../../devhost/engine/memory-store.js';
import { EngineHarness } from '../../../support/durable/engine-harness.js';
import { FaultyStore } from '../../../support/durable/faulty-store.js';
import { df, functionAppWorker } from '../../../support/durable/function-app.js';
import { seeded } from '../../../support/durable/seeded.js';

df.app.activity('plusOne', { handler: (n: number) => n + 1 });
df.app.entity('sum', (context: EntityContext<number>) => {
  const next = (context.df.getState(() => 0) ?? 0) + (context.df.getInput<number>() ?? 0);
  context.df.setState(next);
  context.df.return(next);
});
df.app.orchestration('collects', function* (context: OrchestrationContext) {
  let n = 0;
  const events: unknown[] = [];
  for (let round = 0; round < 3; round++) {
    n = (yield context.df.callActivity('plusOne', n)) as number;
    context.df.signalEntity(new df.EntityId('sum', context.df.instanceId), 'add', 1);
    events.push(yield context.df.waitForExternalEvent('e'));
    yield context.df.callEntity(new df.EntityId('sum', context.df.instanceId), 'add', 10);
  }
  return [n, events];
});

test('commits that fail, and commits whose answer is lost, change nothing in the outcome', async () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const random = seeded(seed);
    const store = new FaultyStore(new MemoryStore(), () => {
      const dice = random(10);
      return dice === 0 ? 'fails' : dice === 1 ? 'answerLost' : 'none';
    });
    const harness = await EngineHarness.started({ store });
    const id = await harness.start('collects', null, `seed-${seed}`);
    for (const event of ['a', 'b', 'c']) assert.equal(await harness.raise(id, 'e', event), 202, `seed ${seed}`);
    assert.deepEqual(await harness.output(id, 20_000), [3, ['a', 'b', 'c']], `seed ${seed}`);
    const deadline = Date.now() + 10_000;
    for (;;) {
      const { body } = await harness.request('GET', `entities/sum/${id}`);
      if (body === '33') break;
      assert.ok(Date.now() < deadline, `seed ${seed}: the entity holds ${body}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await harness.engine.stop();
  }
});

test('an engine that another writer has overtaken stops and says so', async () => {
  const store = new MemoryStore();
  let fencedBy = '';
  const old = await EngineHarness.started({
    store,
    onFenced: (reason) => {
      fencedBy = reason;
    },
  });
  const id = await old.start('collects', null, 'contested');
  await old.until(id, ({ runtimeStatus }) => runtimeStatus === 'Running');
  store.writerEpoch = 2;
  const young = await EngineHarness.started({ store });
  store.writerEpoch = 1;
  const answer = await old.request('POST', `instances/${id}/raiseEvent/e`, 'null');
  assert.equal(answer.status, 503);
  store.writerEpoch = 2;
  assert.match(fencedBy, /contested was written by writer 2/);
  for (const event of ['a', 'b', 'c']) await young.raise(id, 'e', event);
  assert.deepEqual(await young.output(id), [3, ['a', 'b', 'c']]);
});

test('a worker that cannot run a function delays the turn and loses no message', async () => {
  let isDown = false;
  const harness = await EngineHarness.started({
    worker: {
      functions: functionAppWorker.functions,
      invoke: (request) => (isDown ? Promise.reject(new Error('worker gone')) : functionAppWorker.invoke(request)),
    },
  });
  const id = await harness.start('collects', null, 'delayed');
  await harness.until(id, ({ runtimeStatus }) => runtimeStatus === 'Running');
  isDown = true;
  for (const event of ['a', 'b', 'c']) assert.equal(await harness.raise(id, 'e', event), 202);
  assert.equal((await harness.status(id)).runtimeStatus, 'Running');
  assert.ok(harness.logged.some(({ fields }) => String(fields.error).includes('worker gone')));
  isDown = false;
  assert.deepEqual(await harness.output(id, 20_000), [3, ['a', 'b', 'c']]);
});
