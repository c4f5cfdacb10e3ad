import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Turnstile } from '../../../relay/turnstile.js';

/** Work that goes on until it is told to end. */
function heldWork() {
  let end = () => undefined as void;
  const work = new Promise<void>((resolve) => (end = resolve));
  return { work: () => work, end };
}

test('no more weight is inside than the limit, and the queue is first come first served', async () => {
  const turnstile = new Turnstile(3);
  const entered: string[] = [];
  const [heavy, light, late] = [heldWork(), heldWork(), heldWork()];
  const enter = (name: string, held: ReturnType<typeof heldWork>, weight: number) =>
    turnstile.pass(
      () => {
        entered.push(name);
        return held.work();
      },
      { weight },
    );
  const all = [enter('first', heavy, 2), enter('heavy', light, 2), enter('light', late, 1)];
  await turn();
  // The light one would fit, but does not overtake.
  assert.deepEqual(entered, ['first']);
  heavy.end();
  await turn();
  assert.deepEqual(entered, ['first', 'heavy', 'light']);
  light.end();
  late.end();
  await Promise.all(all);
});

test('a weight above the limit passes alone', async () => {
  const turnstile = new Turnstile(2);
  assert.equal(await turnstile.pass(() => Promise.resolve('in'), { weight: 100 }), 'in');
});

test('who gives up in the queue leaves it, and room is given back after a failure', async () => {
  const turnstile = new Turnstile(1);
  const held = heldWork();
  const first = turnstile.pass(held.work);
  const cancel = new AbortController();
  const second = turnstile.pass(() => Promise.resolve('never'), { signal: cancel.signal });
  cancel.abort(new Error('no longer wanted'));
  await assert.rejects(second, /no longer wanted/);
  held.end();
  await first;
  await assert.rejects(
    turnstile.pass(() => Promise.reject(new Error('failed'))),
    /failed/,
  );
  assert.equal(await turnstile.pass(() => Promise.resolve('in')), 'in');
});

test('who takes long moves to the slow lane, and the others pass', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const turnstile = new Turnstile(2, { limit: 2, afterMilliseconds: 1000 });
  const hanging = Array.from({ length: 6 }, heldWork);
  const all = hanging.map(({ work }) => turnstile.pass(work));
  let passed = 0;
  const healthy = () => turnstile.pass(() => Promise.resolve(passed++));
  const first = healthy();
  await turn();
  assert.equal(passed, 0);
  // The first two give their places to the next two; when these are late as well, the slow lane is full.
  for (let wait = 0; wait < 2; wait++) {
    t.mock.timers.tick(1000);
    await turn();
  }
  assert.equal(passed, 0);
  // One of the slow ones ends: a late one takes its place, the fifth comes in; then the sixth, then the healthy one.
  for (const held of hanging.slice(0, 3)) {
    held.end();
    await turn();
    t.mock.timers.tick(1000);
    await turn();
  }
  await first;
  assert.equal(passed, 1);
  for (const held of hanging) held.end();
  await Promise.all(all);
});

test('whose last work failed waits among the slow, until it succeeds', async () => {
  const turnstile = new Turnstile(1, { limit: 1, afterMilliseconds: 60_000 });
  const fail = () => turnstile.pass(() => Promise.reject(new Error('failed')), { key: 'sick' });
  await assert.rejects(fail(), /failed/);
  const held = heldWork();
  const hanging = turnstile.pass(held.work, { key: 'sick' });
  // However many sick ones hang or queue, the main lane is free.
  const another = turnstile.pass(() => Promise.resolve('late'), { key: 'sick' });
  for (let cycle = 0; cycle < 5; cycle++) {
    assert.equal(await turnstile.pass(() => Promise.resolve('in'), { key: 'healthy' }), 'in');
  }
  held.end();
  await hanging;
  assert.equal(await another, 'late');
  const main = heldWork();
  const recovered = turnstile.pass(main.work, { key: 'sick' });
  const waiting = turnstile.pass(() => Promise.resolve('after it'), { key: 'healthy' });
  let isThrough = false;
  void waiting.then(() => (isThrough = true));
  await turn();
  assert.equal(isThrough, false, 'it is in the main lane again');
  main.end();
  await Promise.all([recovered, waiting]);
});

test('who gave up on purpose is not taken for sick', async () => {
  const turnstile = new Turnstile(1, { limit: 1, afterMilliseconds: 60_000 });
  const cancel = new AbortController();
  const stopped = turnstile.pass(
    async () => {
      cancel.abort(new Error('the assignment changed'));
      throw new Error('stopped');
    },
    { key: 'item', signal: cancel.signal },
  );
  await assert.rejects(stopped, /stopped/);
  const main = heldWork();
  const again = turnstile.pass(main.work, { key: 'item' });
  let isThrough = false;
  const waiting = turnstile.pass(() => Promise.resolve()).then(() => (isThrough = true));
  await turn();
  assert.equal(isThrough, false);
  main.end();
  await Promise.all([again, waiting]);
});

test('a heavy weight passes in the slow lane and holds up no light one', async () => {
  const turnstile = new Turnstile(10, { limit: 8, afterMilliseconds: 60_000 });
  const huge = heldWork();
  const passing = turnstile.pass(huge.work, { weight: 1000 });
  const second = turnstile.pass(() => Promise.resolve('second'), { weight: 6 });
  let isThrough = false;
  void second.then(() => (isThrough = true));
  assert.equal(await turnstile.pass(() => Promise.resolve('light'), { weight: 5 }), 'light');
  assert.equal(isThrough, false, 'one huge one at a time');
  huge.end();
  await passing;
  assert.equal(await second, 'second');
});
