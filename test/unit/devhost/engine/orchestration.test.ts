import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OrchestrationContext } from 'durable-functions';
import type { HostClock } from '../../../../devhost/contract.js';
import { EngineHarness } from '../../../support/durable/engine-harness.js';
import { ManualClock } from '../../../support/durable/manual-clock.js';
import { df } from '../../../support/durable/function-app.js';

df.app.activity('hello', { handler: (name: string) => `Hello ${name}!` });
df.app.activity('fail', { handler: (message: string) => Promise.reject(new Error(message)) });
df.app.activity('echo', { handler: (value: unknown) => value ?? null });

df.app.orchestration('chain', function* (context: OrchestrationContext) {
  const greetings: unknown[] = [];
  for (const name of ['a', 'b', 'c']) greetings.push(yield context.df.callActivity('hello', name));
  return greetings;
});

df.app.orchestration('fanOut', function* (context: OrchestrationContext) {
  const count = context.df.getInput<number>() ?? 0;
  const tasks = Array.from({ length: count }, (_, index) => context.df.callActivity('echo', { index }));
  const results = (yield context.df.Task.all(tasks)) as { index: number }[];
  return results.map(({ index }) => index);
});

df.app.orchestration('waitsForGo', function* (context: OrchestrationContext) {
  const first: unknown = yield context.df.waitForExternalEvent('go');
  const second: unknown = yield context.df.waitForExternalEvent('go');
  return [first, second];
});

df.app.orchestration('sleeps', function* (context: OrchestrationContext) {
  const ms = context.df.getInput<number>() ?? 0;
  const before = context.df.currentUtcDateTime.getTime();
  yield context.df.createTimer(new Date(before + ms));
  return context.df.currentUtcDateTime.getTime() - before;
});

df.app.orchestration('sleepsThenEchoes', function* (context: OrchestrationContext) {
  const before = context.df.currentUtcDateTime.getTime();
  yield context.df.createTimer(new Date(before + 1000));
  const slept = context.df.currentUtcDateTime.getTime() - before;
  const echoed: unknown = yield context.df.callActivity('echo', 400);
  return [slept, echoed];
});

df.app.orchestration('eventOrTimeout', function* (context: OrchestrationContext) {
  const timeout = context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 60_000));
  const event = context.df.waitForExternalEvent('approval');
  const winner: unknown = yield context.df.Task.any([event, timeout]);
  if (winner === event) {
    if (context.df.getInput<string>() !== 'keepTimer') timeout.cancel();
    return ['approved', event.result];
  }
  return ['timed out'];
});

df.app.orchestration('parent', function* (context: OrchestrationContext) {
  const results: unknown[] = [];
  results.push(yield context.df.callSubOrchestrator('chain'));
  results.push(yield context.df.callSubOrchestrator('fanOut', 2, `${context.df.instanceId}-child`));
  try {
    yield context.df.callSubOrchestrator('throws', 'inner');
  } catch (error) {
    results.push((error as Error).message.trim());
  }
  return results;
});

df.app.orchestration('throws', function* (context: OrchestrationContext) {
  yield context.df.callActivity('hello', 'x');
  throw new Error(`no: ${String(context.df.getInput())}`);
});

df.app.orchestration('catchesActivity', function* (context: OrchestrationContext) {
  try {
    yield context.df.callActivity('fail', 'boom');
  } catch (error) {
    return (error as Error).message;
  }
  return 'not thrown';
});

df.app.orchestration('counts', function* (context: OrchestrationContext) {
  const { left, log } = context.df.getInput<{ left: number; log: unknown[] }>() ?? { left: 0, log: [] };
  if (left === 0) return log;
  log.push(yield context.df.waitForExternalEvent('tick'));
  context.df.continueAsNew({ left: left - 1, log });
  return undefined;
});

df.app.orchestration('waitsTwice', function* (context: OrchestrationContext) {
  const slow = context.df.waitForExternalEvent('never');
  const timer = context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 60_000));
  yield context.df.Task.any([context.df.callActivity('hello', 'a'), timer, slow]);
  yield context.df.Task.any([context.df.callActivity('hello', 'b'), timer, slow]);
});

test('a task waited for in two places is warned of, once', async () => {
  const harness = await EngineHarness.started();
  await harness.finishedInTime(await harness.start('waitsTwice'));
  assert.equal(harness.logged.filter(({ message }) => message.includes('waited for a second time')).length, 1);
});

test('a chain of activities runs in order and its output is the last word', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('chain');
  assert.deepEqual(await harness.output(id), ['Hello a!', 'Hello b!', 'Hello c!']);
});

test('a fan-out collects all results in the order of the calls', async () => {
  const harness = await EngineHarness.started();
  assert.deepEqual(
    await harness.output(await harness.start('fanOut', 20)),
    Array.from({ length: 20 }, (_, i) => i),
  );
});

test('external events reach their waiters, also those raised too early', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('waitsForGo');
  assert.equal(await harness.raise(id, 'other', 0), 202);
  assert.equal(await harness.raise(id, 'go', { n: 1 }), 202);
  assert.equal(await harness.raise(id, 'go', { n: 2 }), 202);
  assert.deepEqual(await harness.output(id), [{ n: 1 }, { n: 2 }]);
  assert.equal(await harness.raise(id, 'go', 3), 410);
  assert.equal(await harness.raise('nobody', 'go', 3), 404);
});

test('a timer fires at its time of the business clock and not before', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('sleeps', 1_800_000);
  await harness.until(id, ({ runtimeStatus }) => runtimeStatus === 'Running');
  harness.clock.advance(1_799_999);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal((await harness.status(id)).runtimeStatus, 'Running');
  harness.clock.advance(1);
  assert.equal(await harness.output(id), 1_800_000);
});

test('a timer that the machine fires a moment early has fired at its time, and what comes after it has its own result', async () => {
  const clock = new ManualClock();
  // As setTimeout does where its clock and that of the date differ by less than a millisecond.
  const hostClock: HostClock = {
    now: () => clock.now(),
    schedule: (atMs, callback) => clock.schedule(atMs - 1, callback),
  };
  const harness = await EngineHarness.started({ clock, hostClock });
  const id = await harness.start('sleepsThenEchoes');
  await harness.until(id, ({ runtimeStatus }) => runtimeStatus === 'Running');
  clock.advance(999);
  assert.deepEqual(await harness.output(id), [1000, 400]);
});

test('a timer of ten days is made of segments and fires at its end', async () => {
  const harness = await EngineHarness.started();
  const day = 86_400_000;
  const id = await harness.start('sleeps', 10 * day);
  const status = await harness.finishedInTime(id);
  assert.equal(status.output, 10 * day);
  const fired = (await harness.history(id)).filter(({ EventType }) => EventType === 'TimerFired');
  assert.equal(fired.length, 3);
});

test('a cancelled losing timer lets its orchestration end at once', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('eventOrTimeout');
  await harness.raise(id, 'approval', 'yes');
  assert.deepEqual(await harness.output(id), ['approved', 'yes']);
});

test('a losing timer that is not cancelled keeps its orchestration running until it fires', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('eventOrTimeout', 'keepTimer');
  await harness.raise(id, 'approval', 'yes');
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal((await harness.status(id)).runtimeStatus, 'Running');
  harness.clock.advance(60_000);
  assert.deepEqual(await harness.output(id), ['approved', 'yes']);
});

test('the timer wins where no event comes', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('eventOrTimeout');
  assert.deepEqual((await harness.finishedInTime(id)).output, ['timed out']);
});

test('sub-orchestrations give their results and errors to their parent', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('parent', null, 'family');
  const output = (await harness.output(id)) as unknown[];
  assert.deepEqual(output.slice(0, 2), [
    ['Hello a!', 'Hello b!', 'Hello c!'],
    [0, 1],
  ]);
  assert.match(String(output[2]), /Orchestrator function 'throws' failed: no: inner/);
  assert.equal((await harness.status('family-child')).runtimeStatus, 'Completed');
});

test('an uncaught error fails the orchestration with its message', async () => {
  const harness = await EngineHarness.started();
  const status = await harness.finished(await harness.start('throws', 'top'));
  assert.equal(status.runtimeStatus, 'Failed');
  assert.equal(status.output, "Orchestrator function 'throws' failed: no: top");
});

test("an activity's error reaches the orchestrator with reason and details", async () => {
  const harness = await EngineHarness.started();
  const message = String(await harness.output(await harness.start('catchesActivity')));
  assert.match(message, /^Activity function 'fail' failed: boom \n Result: Failure\nException: boom/);
});

test('continueAsNew begins anew under the same id and keeps events that come later', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('counts', { left: 3, log: [] });
  for (const n of [1, 2, 3]) {
    assert.equal(await harness.raise(id, 'tick', n), 202);
    await harness.until(
      id,
      ({ input, runtimeStatus }) => runtimeStatus === 'Completed' || (input as { log: unknown[] }).log.length === n,
    );
  }
  assert.deepEqual(await harness.output(id), [1, 2, 3]);
});

test('a second start of a running id is refused, and of a finished one replaces it', async () => {
  const harness = await EngineHarness.started();
  await harness.start('waitsForGo', null, 'only');
  const again = await harness.request('POST', 'orchestrators/chain/only', 'null');
  assert.equal(again.status, 409);
  await harness.raise('only', 'go', 1);
  await harness.raise('only', 'go', 2);
  await harness.finished('only');
  await harness.start('chain', null, 'only');
  assert.equal((await harness.finished('only')).name, 'chain');
});

test('work goes on where it stood when the host starts again', async () => {
  const harness = await EngineHarness.started();
  const id = await harness.start('waitsForGo');
  const sleeper = await harness.start('sleeps', 5000);
  await harness.raise(id, 'go', 1);
  await harness.restart();
  await harness.raise(id, 'go', 2);
  assert.deepEqual(await harness.output(id), [1, 2]);
  harness.clock.advance(5000);
  assert.equal(await harness.output(sleeper), 5000);
});
