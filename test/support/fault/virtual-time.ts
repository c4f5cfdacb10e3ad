import assert from 'node:assert/strict';
import timersPromises from 'node:timers/promises';
import type { HostClock } from '../../../devhost/contract.js';

interface Entry {
  atMs: number;
  order: number;
  run: (() => void) | undefined;
}

/** More timers than this at one instant: something spins. */
const timersOfOneInstantMax = 200_000;

const real = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate };
const realSleep = timersPromises.setTimeout;
const realTurn = timersPromises.setImmediate;
const RealDate = Date;
const realPerformanceNow = performance.now.bind(performance);
const realAbortTimeout = AbortSignal.timeout.bind(AbortSignal);

/**
 * The time of one simulated world, system time and business time in one: it moves to the next timer when nothing else goes
 * on, so that no pause of the product costs real time and work never waits for a clock.
 */
export class VirtualTime implements HostClock {
  #nowMs: number;
  #order = 0;
  /** A binary heap by instant, then by order; cancelled entries stay until they come up. */
  readonly #heap: Entry[] = [];
  /** Callbacks of `setImmediate` that have not run: as long as there are any, something goes on. */
  pendingTurns = 0;
  #atThisInstant = 0;

  constructor(startMs: number) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  schedule(atMs: number, callback: () => void): () => void {
    // Whole milliseconds, as clocks tell them.
    const entry: Entry = { atMs: Math.max(Math.ceil(atMs), this.#nowMs), order: this.#order++, run: callback };
    this.#push(entry);
    return () => {
      entry.run = undefined;
    };
  }

  get nextMs(): number | undefined {
    while (this.#heap[0] !== undefined && this.#heap[0].run === undefined) this.#pop();
    return this.#heap[0]?.atMs;
  }

  /** Runs the next timer. */
  runNext(): void {
    const next = this.nextMs;
    assert(next !== undefined, 'no timer is set');
    const entry = this.#pop();
    if (next > this.#nowMs) this.#atThisInstant = 0;
    assert(++this.#atThisInstant < timersOfOneInstantMax, `time stands still at ${new Date(next).toISOString()}`);
    this.#nowMs = Math.max(this.#nowMs, next);
    entry?.run?.();
  }

  advanceTo(atMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, atMs);
  }

  sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      this.schedule(this.#nowMs + milliseconds, resolve);
    });
  }

  /** Resolves when nothing is left to do at this instant but timers. */
  async settle(): Promise<void> {
    do {
      await new Promise((resolve) => real.setImmediate(resolve));
    } while (this.pendingTurns > 0);
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || isBefore(parent, entry)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = entry;
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      const least = right !== undefined && left !== undefined && isBefore(right, left) ? right : left;
      if (least === undefined || isBefore(last, least)) break;
      heap[at] = least;
      at = least === right ? 2 * at + 2 : 2 * at + 1;
    }
    heap[at] = last;
    return first;
  }
}

const isBefore = (a: Entry, b: Entry): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** The world whose time the process's timers follow now; outside of one they are the real ones. */
let current: VirtualTime | undefined;

export function followTime(time: VirtualTime | undefined): void {
  current = time;
}

/** What `setTimeout` and `setInterval` give back in a simulated world. */
class SimulatedTimer {
  cancel: () => void = () => undefined;
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
  hasRef(): boolean {
    return true;
  }
}

function simulatedTimeout(time: VirtualTime, callback: () => void, milliseconds: number): SimulatedTimer {
  const timer = new SimulatedTimer();
  timer.cancel = time.schedule(time.now() + Math.max(1, milliseconds), callback);
  return timer;
}

function simulatedInterval(time: VirtualTime, callback: () => void, milliseconds: number): SimulatedTimer {
  const timer = new SimulatedTimer();
  const again = () => {
    timer.cancel = time.schedule(time.now() + Math.max(1, milliseconds), () => {
      again();
      callback();
    });
  };
  again();
  return timer;
}

type Callback = (...args: unknown[]) => void;

/**
 * Puts the process's timers, Date and performance.now under the rule of `followTime`. Only a simulation may do so: the
 * product itself never patches a clock (docs/architecture.md, rule 15). Once a process.
 */
export function takeOverTimers(): void {
  const replaceGlobal = (name: string, value: unknown) => Reflect.set(globalThis, name, value);
  replaceGlobal('setTimeout', (callback: Callback, milliseconds = 0, ...args: unknown[]) =>
    current
      ? simulatedTimeout(current, () => callback(...args), milliseconds)
      : real.setTimeout(callback, milliseconds, ...args),
  );
  replaceGlobal('setInterval', (callback: Callback, milliseconds = 0, ...args: unknown[]) =>
    current
      ? simulatedInterval(current, () => callback(...args), milliseconds)
      : real.setInterval(callback, milliseconds, ...args),
  );
  const clear = (realClear: (timer: NodeJS.Timeout | undefined) => void) => (timer: unknown) => {
    if (timer instanceof SimulatedTimer) timer.cancel();
    else realClear(timer as NodeJS.Timeout | undefined);
  };
  replaceGlobal('clearTimeout', clear(real.clearTimeout));
  replaceGlobal('clearInterval', clear(real.clearInterval));
  replaceGlobal('setImmediate', (callback: Callback, ...args: unknown[]) => {
    const time = current;
    if (time === undefined) return real.setImmediate(callback, ...args);
    time.pendingTurns++;
    let isPending = true;
    const done = () => {
      if (isPending) time.pendingTurns--;
      isPending = false;
    };
    const immediate = real.setImmediate(() => {
      done();
      callback(...args);
    });
    cancelTurn.set(immediate, done);
    return immediate;
  });
  replaceGlobal('clearImmediate', (immediate: NodeJS.Immediate | undefined) => {
    if (immediate) cancelTurn.get(immediate)?.();
    real.clearImmediate(immediate);
  });
  Reflect.set(timersPromises, 'setTimeout', sleepInWorld);
  Reflect.set(timersPromises, 'setImmediate', (value?: unknown) =>
    current ? new Promise<unknown>((resolve) => setImmediate(() => resolve(value))) : realTurn(value),
  );
  Reflect.set(performance, 'now', () => (current ? current.now() : realPerformanceNow()));
  replaceGlobal(
    'Date',
    new Proxy(RealDate, {
      construct: (target, args: unknown[]) =>
        Reflect.construct(target, args.length === 0 && current ? [current.now()] : args) as Date,
      get: (target, name): unknown =>
        name === 'now' ? () => current?.now() ?? RealDate.now() : Reflect.get(target, name),
    }),
  );
  Reflect.set(AbortSignal, 'timeout', (milliseconds: number) => {
    if (current === undefined) return realAbortTimeout(milliseconds);
    const controller = new AbortController();
    simulatedTimeout(
      current,
      () => controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
      milliseconds,
    );
    return controller.signal;
  });
}

const cancelTurn = new WeakMap<NodeJS.Immediate, () => void>();

function sleepInWorld<T>(milliseconds = 0, value?: T, options: { signal?: AbortSignal } = {}): Promise<T | undefined> {
  const time = current;
  if (time === undefined) return realSleep(milliseconds, value, options);
  const { signal } = options;
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      timer.cancel();
      reject(new DOMException('The operation was aborted', 'AbortError'));
    };
    const timer = simulatedTimeout(
      time,
      () => {
        signal?.removeEventListener('abort', giveUp);
        resolve(value);
      },
      milliseconds,
    );
    signal?.addEventListener('abort', giveUp, { once: true });
    if (signal?.aborted) giveUp();
  });
}
