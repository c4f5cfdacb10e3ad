import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OrchestrationContext } from 'durable-functions';
import { EngineHarness } from '../../../support/durable/engine-harness.js';
import { df } from '../../../support/durable/function-app.js';

let runCount = 0;
let running = 0;
let mostRunning = 0;
df.app.activity('typed', { handler: (value: unknown) => ({ type: typeof value, value: value ?? null }) });
df.app.activity('unstable', { handler: () => ++runCount });
df.app.activity('stable', { handler: () => 'same' });
df.app.activity('slow', {
  handler: async () => {
    running++;
    mostRunning = Math.max(mostRunning, running);
    await new Promise((resolve) => setTimeout(resolve, 5));
    running--;
  },
});
df.app.activity('big', { handler: (length: number) => 'x'.repeat(length) });
df.app.activity('bytes', { handler: () => Buffer.from('bytes') });
df.app.activity('numbers', {
  handler: (which: string) => (which === 'int' ? 42 : which === 'double' ? 1.5 : undefined),
});

df.app.orchestration('callsTyped', function* (context: OrchestrationContext) {
  const seen: unknown[] = [];
  for (const value of ['text', '123', 123, 1.5, true, { a: [1] }, null]) {
    seen.push(yield context.df.callActivity('typed', value));
  }
  return seen;
});
df.app.orchestration('callsOne', function* (context: OrchestrationContext) {
  const { name, input } = context.df.getInput<{ name: string; input?: unknown }>() ?? { name: '' };
  try {
    const result: unknown = yield context.df.callActivity(name, input);
    return result;
  } catch (error) {
    return `caught ${(error as Error).message.split(' \n ')[0]}`;
  }
});
df.app.orchestration('callsSlow', function* (context: OrchestrationContext) {
  yield context.df.Task.all(Array.from({ length: 12 }, () => context.df.callActivity('slow')));
});
df.app.orchestration('usesHttp', function* (context: OrchestrationContext) {
  try {
    yield context.df.callHttp({ method: 'GET', url: 'http://127.0.0.1:1/', enablePolling: false });
  } catch (error) {
    return (error as Error).message.split(' \n ')[0];
  }
  return 'no error';
});

const expectedTypes = (bool: unknown) => [
  { type: 'string', value: 'text' },
  { type: 'string', value: '123' },
  { type: 'number', value: 123 },
  { type: 'number', value: 1.5 },
  bool,
  { type: 'object', value: { a: [1] } },
  { type: 'undefined', value: null },
];

test('with strict types an activity gets its input as the real host converts it', async () => {
  const strict = await EngineHarness.started({ modes: { strictTypes: true } });
  const strictOutput = await strict.output(await strict.start('callsTyped'));
  assert.deepEqual(strictOutput, expectedTypes({ type: 'string', value: 'True' }));
  const plain = await EngineHarness.started({ modes: { strictTypes: false } });
  const plainOutput = await plain.output(await plain.start('callsTyped'));
  assert.deepEqual(plainOutput, expectedTypes({ type: 'boolean', value: true }));
});

test('results of all kinds come back as JSON', async () => {
  const harness = await EngineHarness.started();
  const result = async (name: string, input?: unknown) =>
    harness.output(await harness.start('callsOne', { name, input }));
  assert.equal(await result('numbers', 'int'), 42);
  assert.equal(await result('numbers', 'double'), 1.5);
  assert.equal(await result('numbers', 'none'), null);
  assert.equal(await result('bytes'), Buffer.from('bytes').toString('base64'));
});

test('activities run twice keep the first outcome, and a difference is logged', async () => {
  const harness = await EngineHarness.started({ modes: { activitiesTwice: true } });
  runCount = 0;
  assert.equal(await harness.output(await harness.start('callsOne', { name: 'unstable' })), 1);
  assert.equal(runCount, 2);
  assert.equal(harness.logged.filter(({ message }) => message.includes('two outcomes')).length, 1);
  await harness.output(await harness.start('callsOne', { name: 'stable' }));
  assert.equal(harness.logged.filter(({ message }) => message.includes('two outcomes')).length, 1);
});

test('an orchestration gives the same when every turn is replayed from the store', async () => {
  const harness = await EngineHarness.started({ modes: { replayEachTurn: true } });
  const output = await harness.output(await harness.start('callsTyped'));
  assert.deepEqual(output, expectedTypes({ type: 'string', value: 'True' }));
});

test('no more activities run at a time than allowed', async () => {
  const harness = await EngineHarness.started({ maxConcurrentActivities: 3 });
  await harness.output(await harness.start('callsSlow'));
  assert.equal(mostRunning, 3);
});

test('payloads over 45 KB are warned of, over 1 MB refused', async () => {
  const harness = await EngineHarness.started();
  const large = (await harness.output(await harness.start('callsOne', { name: 'big', input: 50_000 }))) as string;
  assert.equal(large.length, 50_000);
  assert.ok(harness.logged.some(({ level, message }) => level === 'warn' && message.includes('large activity result')));
  const tooLarge = await harness.output(await harness.start('callsOne', { name: 'big', input: 1_100_000 }));
  assert.match(String(tooLarge), /caught Activity function 'big' failed: its result has 1100002 bytes/);
  const start = await harness.request('POST', 'orchestrators/callsOne', JSON.stringify('x'.repeat(1_100_000)));
  assert.equal(start.status, 413);
});

test('an unknown activity and callHttp fail with a clear message', async () => {
  const harness = await EngineHarness.started();
  assert.match(
    String(await harness.output(await harness.start('callsOne', { name: 'absent' }))),
    /'absent' doesn't exist/,
  );
  assert.match(String(await harness.output(await harness.start('usesHttp'))), /callHttp is not supported/);
});
