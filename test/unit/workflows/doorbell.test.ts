import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OrchestrationContext, Task } from 'durable-functions';
import { lookUntil } from '../../../orchestrators/doorbell.js';

const startMs = Date.parse('2026-01-05T10:00:00Z');

/** Seconds after the start at which rows are read, where the doorbell rings at none but the first `rings` waits. */
function looksAt(
  timeoutSeconds: number,
  { foundAtSecond = Infinity, rings = 0, ringsAfterSeconds = 1 } = {},
): { looks: number[]; found: string | undefined } {
  let nowMs = startMs;
  const looks: number[] = [];
  const timer = (fireAt: Date) => ({ fireAt, cancel: () => undefined });
  const context = {
    df: {
      get currentUtcDateTime() {
        return new Date(nowMs);
      },
      waitForExternalEvent: () => ({}),
      createTimer: timer,
      Task: { any: ([rung, elapsed]: unknown[]) => ({ rung, elapsed }) },
    },
  } as unknown as OrchestrationContext;
  const look = function* (): Generator<Task, string | undefined> {
    const second = (nowMs - startMs) / 1000;
    looks.push(second);
    return second >= foundAtSecond ? 'found' : undefined;
  };
  const steps = lookUntil(context, look, timeoutSeconds);
  let answer: unknown;
  for (let wait = 0; ; wait++) {
    const step = steps.next(answer);
    if (step.done === true) return { looks, found: step.value };
    type Timer = ReturnType<typeof timer>;
    const { elapsed, rung, fireAt } = step.value as unknown as { elapsed?: Timer; rung?: object; fireAt?: Date };
    const isRung = rung !== undefined && wait < rings;
    nowMs = isRung ? nowMs + ringsAfterSeconds * 1000 : ((fireAt ?? elapsed?.fireAt)?.getTime() ?? NaN);
    answer = isRung ? rung : elapsed;
  }
}

test('without a ring rows are read each ten seconds at first, then each minute, and at the deadline', () => {
  const { looks, found } = looksAt(4 * 60 * 60 + 125);
  assert.equal(found, undefined);
  assert.deepEqual(looks.slice(0, 12), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]);
  const pauses = looks.slice(1).map((second, index) => second - (looks[index] ?? 0));
  assert.deepEqual(
    pauses.slice(0, -1),
    pauses.slice(0, -1).toSorted((a, b) => a - b),
  );
  assert.equal(Math.max(...pauses), 60);
  assert.equal(looks.at(-1), 4 * 60 * 60 + 125);
  assert.ok(looks.length < 300, `${looks.length} looks in four hours`);
});

test('a wait ends at its deadline, not after it', () => {
  assert.deepEqual(looksAt(25).looks, [0, 10, 20, 25]);
  assert.deepEqual(looksAt(4).looks, [0, 4]);
  assert.deepEqual(looksAt(0).looks, [0]);
});

test('what is there is found late by a tenth of the wait, ten seconds at least', () => {
  for (const foundAtSecond of [1, 61, 95, 301, 599, 3600]) {
    const { looks, found } = looksAt(7200, { foundAtSecond });
    assert.equal(found, 'found');
    const late = (looks.at(-1) ?? 0) - foundAtSecond;
    assert.ok(
      late >= 0 && late < Math.min(60, Math.max(10, foundAtSecond / 10 + 1)),
      `${foundAtSecond}: ${late} s late`,
    );
  }
});

test('rows are read at each ring, until one wait is lost', () => {
  assert.deepEqual(looksAt(25, { rings: 3 }).looks, [0, 1, 2, 3, 13, 23, 25]);
});
