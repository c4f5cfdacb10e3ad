import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import type { EntityContext, OrchestrationContext } from 'durable-functions';
import { EngineHarness } from '../../support/durable/engine-harness.js';
import { df } from '../../support/durable/function-app.js';

let release: () => void = () => undefined;
df.app.activity('failsAtOnce', {
  handler: () => {
    throw new TypeError('the activity says no');
  },
});
df.app.activity('held', {
  handler: () =>
    new Promise<void>((resolve) => {
      release = resolve;
    }),
});
df.app.activity('nothing', { handler: () => undefined });
df.app.orchestration('allOf', function* (context: OrchestrationContext) {
  yield context.df.Task.all([context.df.callActivity('failsAtOnce'), context.df.callActivity('held')]);
});
df.app.orchestration('waitsForGo', function* (context: OrchestrationContext) {
  const data: unknown = yield context.df.waitForExternalEvent('Go');
  return data;
});
df.app.orchestration('again', function* (context: OrchestrationContext) {
  const input = context.df.getInput();
  yield context.df.callActivity('nothing');
  if (input === 'first') context.df.continueAsNew('second');
  return input;
});
df.app.orchestration('inputTypes', function* (context: OrchestrationContext) {
  const input = context.df.getInput<{ Timestamp: unknown; deep: { Timestamp: unknown }; time: unknown }>();
  yield context.df.callActivity('nothing');
  return [input?.Timestamp instanceof Date, input?.deep.Timestamp instanceof Date, typeof input?.time];
});
df.app.orchestration('oddResults', function* (context: OrchestrationContext) {
  const results: unknown[] = [yield context.df.callActivity('nothing')];
  try {
    yield context.df.callActivity('failsAtOnce');
  } catch (error) {
    results.push(error instanceof TypeError, error instanceof Error && error.message.includes('the activity says no'));
  }
  return results;
});
df.app.entity('failing', (_context: EntityContext<unknown>) => {
  throw new Error('the entity says no');
});
df.app.orchestration('callsEntity', function* (context: OrchestrationContext) {
  try {
    yield context.df.callEntity(new df.EntityId('failing', 'one'), 'any');
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'no error';
});
df.app.orchestration('falsyStatus', function* (context: OrchestrationContext) {
  context.df.setCustomStatus('set');
  yield context.df.callActivity('nothing');
  context.df.setCustomStatus(0);
  yield context.df.callActivity('nothing');
});
df.app.orchestration('endless', function* (context: OrchestrationContext) {
  yield context.df.Task.all(Array.from({ length: 520 }, () => context.df.callActivity('nothing')));
});

test('C11: a failed Task.all ends only when its other tasks have ended', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('allOf');
  await sleep(100);
  assert.equal((await harness.status(id)).runtimeStatus, 'Running');
  release();
  assert.equal((await harness.finished(id)).runtimeStatus, 'Failed');
  await harness.engine.stop();
});

test('C12: an event of another case is not the one waited for', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('waitsForGo');
  await harness.raise(id, 'go', 'wrong case');
  await sleep(50);
  assert.equal((await harness.status(id)).runtimeStatus, 'Running');
  await harness.raise(id, 'Go', 'right case');
  assert.equal(await harness.output(id), 'right case');
  await harness.engine.stop();
});

test('C13: a string given to continueAsNew arrives quoted', async () => {
  const harness = await EngineHarness.started();
  assert.equal(await harness.output(await harness.start('again', 'first')), '"second"');
  await harness.engine.stop();
});

test('C14: a property named Timestamp in the input becomes a Date', async () => {
  const harness = await EngineHarness.started();
  const time = '2026-01-01T00:00:00Z';
  const id = await harness.start('inputTypes', { Timestamp: time, deep: { Timestamp: time }, time });
  assert.deepEqual(await harness.output(id), [true, true, 'string']);
  await harness.engine.stop();
});

test('C15: a missing result is null, and an error arrives as text', async () => {
  const harness = await EngineHarness.started();
  assert.deepEqual(await harness.output(await harness.start('oddResults')), [null, false, true]);
  await harness.engine.stop();
});

test('C16: the error of an entity loses its message', async () => {
  const harness = await EngineHarness.started();
  const message = await harness.output(await harness.start('callsEntity'));
  assert.ok(typeof message === 'string' && message !== 'no error');
  assert.ok(!message.includes('the entity says no'), message);
  await harness.engine.stop();
});

test('C17: a falsy custom status is not sent', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('falsyStatus');
  assert.equal((await harness.finished(id)).customStatus, 'set');
  await harness.engine.stop();
});

test('C19: a long history is warned of', async () => {
  const harness = await EngineHarness.started();
  await harness.finished(await harness.start('endless'), 20_000);
  assert.ok(
    harness.logged.some(({ level, message }) => level === 'warn' && message.includes('long history')),
    'no warning was logged',
  );
  await harness.engine.stop();
});

test('C10, C22: orchestrators leave retries to timers, not to the engine', () => {
  const files = readdirSync('orchestrators', { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  assert.ok(files.length > 0, 'there are no orchestrators to look at');
  for (const file of files) {
    const source = readFileSync(join('orchestrators', file), 'utf8');
    assert.doesNotMatch(source, /WithRetry|RetryOptions/, `${file} uses the engine's retry`);
  }
});
