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
