import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import type { Clock } from '../../../core/ports/clock.js';
import { openBusinessClock } from '../../../providers/business-clock/business-clock.js';
import { errorWithCode } from '../../support/conformance/error-code.js';

const start = Temporal.Instant.from('2026-01-01T00:00:00Z');

/** A host whose business time runs at `speed` from `start`, and whose answers tests may replace. */
class FakeHost {
  answer: string | undefined;
  requests = 0;
  private readonly startedMs = performance.now();
  private advancedMs = 0;
  private readonly server = createServer((_, response) => {
    this.requests++;
    if (this.answer === 'drop') return void response.destroy();
    response.end(this.answer ?? JSON.stringify({ now: this.now().toString(), speed: this.speed }));
  });

  constructor(private readonly speed: number) {}

  now(): Temporal.Instant {
    const elapsedMs = (performance.now() - this.startedMs) * this.speed + this.advancedMs;
    return start.add({ milliseconds: Math.floor(elapsedMs) });
  }

  advance(ms: number): void {
    this.advancedMs += ms;
  }

  async open(): Promise<Clock> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return openBusinessClock(`http://127.0.0.1:${(this.server.address() as AddressInfo).port}/admin/devhost/clock`);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

async function withHost(speed: number, body: (host: FakeHost, clock: Clock) => Promise<void>): Promise<void> {
  const host = new FakeHost(speed);
  const clock = await host.open();
  try {
    await body(host, clock);
  } finally {
    await host.close();
  }
}

const tookMs = async (work: Promise<unknown>): Promise<number> => {
  const from = performance.now();
  await work;
  return performance.now() - from;
};

test('without a URL business time is system time', async () => {
  for (const url of [undefined, '']) {
    const clock = openBusinessClock(url);
    const before = Date.now();
    const found = (await clock.now()).epochMilliseconds;
    assert(found >= before && found <= Date.now());
    const until = Temporal.Now.instant().add({ milliseconds: 30 });
    await clock.waitUntil(until);
    assert(Date.now() >= until.epochMilliseconds, 'the wait ended too soon');
    await clock.waitUntil(start);
  }
});

test('business time is read from the host', () =>
  withHost(1, async (host, clock) => {
    const found = await clock.now();
    assert(Temporal.Instant.compare(found, start) >= 0 && Temporal.Instant.compare(found, host.now()) <= 0);
    host.advance(3_600_000);
    assert(Temporal.Instant.compare(await clock.now(), start.add({ hours: 1 })) >= 0);
  }));

test('a faster clock ends a wait sooner', () =>
  withHost(600, async (host, clock) => {
    const until = host.now().add({ minutes: 1 });
    const waited = await tookMs(clock.waitUntil(until));
    assert(waited < 1000, `${waited} ms`);
    assert(Temporal.Instant.compare(host.now(), until) >= 0, 'the wait ended too soon');
  }));

test('an advanced clock ends waits soon, those that are reached and no others', () =>
  withHost(1, async (host, clock) => {
    const ended: string[] = [];
    const stop = new AbortController();
    const waits = ['PT10M', 'PT20M', 'PT30M'].map(async (duration) => {
      await clock.waitUntil(start.add(duration), stop.signal).then(
        () => ended.push(duration),
        (error: unknown) => ended.push(String(error)),
      );
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    host.advance(25 * 60_000);
    assert((await tookMs(Promise.all(waits.slice(0, 2)))) < 1000);
    assert.deepEqual([...ended].sort(), ['PT10M', 'PT20M']);
    stop.abort(new Error('enough'));
    await Promise.all(waits);
    assert.deepEqual(ended[2], 'Error: enough');
  }));

test('many who wait cost the host no more than a few readings a second', () =>
  withHost(1, async (host, clock) => {
    const stop = new AbortController();
    setMaxListeners(0, stop.signal);
    const waits = Array.from({ length: 50 }, () => clock.waitUntil(start.add({ hours: 1 }), stop.signal));
    await new Promise((resolve) => setTimeout(resolve, 600));
    stop.abort(new Error('enough'));
    const results = await Promise.allSettled(waits);
    assert(results.every(({ status }) => status === 'rejected'));
    assert(host.requests <= 15, `${host.requests} readings`);
  }));

test('while the host is down or answers nonsense now() says so and waits go on until it is back', () =>
  withHost(1, async (host, clock) => {
    for (const answer of ['drop', 'not JSON', '{"now":"yesterday","speed":1}', '{"speed":1}']) {
      host.answer = answer;
      await assert.rejects(clock.now(), errorWithCode('US6040'));
    }
    const wait = clock.waitUntil(host.now().add({ minutes: 5 }));
    await new Promise((resolve) => setTimeout(resolve, 100));
    host.advance(6 * 60_000);
    host.answer = undefined;
    assert((await tookMs(wait)) < 1500);
  }));

test('a wait that was called off rejects with the reason, before or while it waits', () =>
  withHost(1, async (_, clock) => {
    const reason = new Error('called off');
    for (const subject of [clock, openBusinessClock(undefined)]) {
      const far = Temporal.Now.instant().add({ hours: 100_000 });
      await assert.rejects(subject.waitUntil(far, AbortSignal.abort(reason)), reason);
      const stop = new AbortController();
      const wait = subject.waitUntil(far, stop.signal);
      setTimeout(() => stop.abort(reason), 20);
      await assert.rejects(wait, reason);
    }
  }));
