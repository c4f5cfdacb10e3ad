import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { StallWatch } from '../../../relay/stall-watch.js';

const stalled = () => new Error('no progress');
const never = new AbortController().signal;

async function drain<T>(source: AsyncIterable<T>, betweenMilliseconds = 0): Promise<T[]> {
  const pieces: T[] = [];
  for await (const piece of source) {
    pieces.push(piece);
    if (betweenMilliseconds > 0) await sleep(betweenMilliseconds);
  }
  return pieces;
}

test('what moves is let go on, however long it takes in all', async () => {
  const watch = new StallWatch(never, 200, stalled);
  async function* source() {
    for (let piece = 0; piece < 5; piece++) {
      await sleep(60);
      yield piece;
    }
  }
  assert.deepEqual(await drain(watch.through(source()), 60), [0, 1, 2, 3, 4]);
  watch.end();
  assert.equal(watch.signal.aborted, false);
});

test('a source that hangs is given up, without waiting for its end', async () => {
  const watch = new StallWatch(never, 50, stalled);
  async function* hanging() {
    yield 1;
    await new Promise(() => undefined);
  }
  await assert.rejects(drain(watch.through(hanging())), /no progress/);
  watch.end();
});

test('a taker that hangs sees the signal', async () => {
  const watch = new StallWatch(never, 50, stalled);
  await new Promise((resolve) => {
    watch.signal.addEventListener('abort', resolve);
  });
  assert.match(String(watch.signal.reason), /no progress/);
  watch.end();
});

test('the outer signal passes through, and a source that is left is ended', async () => {
  const outer = new AbortController();
  const watch = new StallWatch(outer.signal, 5000, stalled);
  let isEnded = false;
  async function* source() {
    try {
      yield 1;
      yield 2;
    } finally {
      isEnded = true;
    }
  }
  for await (const piece of watch.through(source())) {
    assert.equal(piece, 1);
    break;
  }
  assert.ok(isEnded);
  outer.abort(new Error('paused'));
  assert.match(String(watch.signal.reason), /paused/);
  watch.end();
});
