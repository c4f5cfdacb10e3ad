import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DurableEngine, HostClock, HostModes, WebhookResponse, Worker } from '../../../devhost/contract.js';
import { createDurableEngine } from '../../../devhost/engine/engine.js';
import type { EngineLog } from '../../../devhost/engine/engine.js';
import { MemoryStore } from '../../../devhost/engine/memory-store.js';
import type { DurableStore } from '../../../devhost/engine/store.js';
import { functionAppWorker } from './function-app.js';
import { ManualClock } from './manual-clock.js';

export interface LogLine {
  level: 'info' | 'warn' | 'error';
  message: string;
  fields: Record<string, unknown>;
}

export interface StatusBody {
  name: string;
  instanceId: string;
  runtimeStatus: string;
  input: unknown;
  output: unknown;
  customStatus: unknown;
  createdTime: string;
  lastUpdatedTime: string;
  historyEvents?: Record<string, unknown>[];
}

const noModes: HostModes = { strictTypes: true, activitiesTwice: false, replayEachTurn: false, killAfterTurns: 0 };
const finalStatuses = ['Completed', 'Failed', 'Terminated', 'Canceled'];
const pollMs = 2;

/** An engine with its webhooks, driven as a client drives it. */
export class EngineHarness {
  readonly clock: ManualClock;
  readonly store: DurableStore;
  readonly logged: LogLine[] = [];
  engine: DurableEngine;
  readonly #create: () => DurableEngine;

  constructor(
    options: {
      store?: DurableStore;
      clock?: ManualClock;
      hostClock?: HostClock;
      modes?: Partial<HostModes>;
      worker?: Worker;
      maxConcurrentActivities?: number;
      onFenced?: (reason: string) => void;
    } = {},
  ) {
    this.store = options.store ?? new MemoryStore();
    this.clock = options.clock ?? new ManualClock();
    const write = (level: LogLine['level']) => (message: string, fields?: Record<string, unknown>) => {
      this.logged.push({ level, message, fields: fields ?? {} });
    };
    const log: EngineLog = { info: write('info'), warn: write('warn'), error: write('error') };
    this.#create = () =>
      createDurableEngine({
        worker: options.worker ?? functionAppWorker,
        clock: options.hostClock ?? this.clock,
        modes: { ...noModes, ...options.modes },
        hubName: 'TestHub',
        store: this.#aliveStore(),
        log,
        ...(options.maxConcurrentActivities === undefined
          ? {}
          : { maxConcurrentActivities: options.maxConcurrentActivities }),
        ...(options.onFenced === undefined ? {} : { onFenced: options.onFenced }),
      });
    this.engine = this.#create();
  }

  static async started(options: ConstructorParameters<typeof EngineHarness>[0] = {}): Promise<EngineHarness> {
    const harness = new EngineHarness(options);
    await harness.engine.start();
    return harness;
  }

  #kill: () => void = () => undefined;

  /** The store as one engine reaches it: once that is dead, nothing of it comes there any more. */
  #aliveStore(): DurableStore {
    let isDead = false;
    this.#kill = () => {
      isDead = true;
    };
    return new Proxy(this.store, {
      get: (store, property) => {
        const member: unknown = Reflect.get(store, property);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]): unknown =>
          isDead ? new Promise(() => undefined) : (Reflect.apply(member, store, args) as unknown);
      },
    });
  }

  /** The host is killed, and starts again on what it had stored. */
  async die(): Promise<void> {
    this.#kill();
    const dead = this.engine;
    this.engine = this.#create();
    await this.engine.start();
    void dead.stop();
  }

  /** A new engine on the same store, as after a restart of the host. */
  async restart(): Promise<void> {
    await this.engine.stop();
    this.engine = this.#create();
    await this.engine.start();
  }

  async request(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = { 'content-type': 'application/json' },
  ): Promise<WebhookResponse> {
    return this.engine.handleWebhook({
      method,
      url: new URL(`http://127.0.0.1:7071/runtime/webhooks/durabletask/${path}`),
      headers,
      body: body === undefined ? Buffer.alloc(0) : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
    });
  }

  async start(name: string, input: unknown = null, instanceId = ''): Promise<string> {
    const answer = await this.request(
      'POST',
      `orchestrators/${name}${instanceId === '' ? '' : `/${encodeURIComponent(instanceId)}`}`,
      JSON.stringify(input),
    );
    assert.equal(answer.status, 202, answer.body);
    return (JSON.parse(answer.body) as { id: string }).id;
  }

  async raise(instanceId: string, event: string, data: unknown = null): Promise<number> {
    return (await this.request('POST', `instances/${instanceId}/raiseEvent/${event}`, JSON.stringify(data))).status;
  }

  async control(instanceId: string, verb: string, reason = 'because'): Promise<number> {
    return (await this.request('POST', `instances/${instanceId}/${verb}?reason=${encodeURIComponent(reason)}`)).status;
  }

  async status(instanceId: string, query = ''): Promise<StatusBody> {
    const answer = await this.request('GET', `instances/${encodeURIComponent(instanceId)}${query}`);
    assert.ok([200, 202, 500].includes(answer.status), `${answer.status} ${answer.body}`);
    return JSON.parse(answer.body) as StatusBody;
  }

  async history(instanceId: string): Promise<Record<string, unknown>[]> {
    return (await this.status(instanceId, '?showHistory=true&showHistoryOutput=true')).historyEvents ?? [];
  }

  /** Polls until the condition holds; business time stands still. */
  async until(instanceId: string, holds: (status: StatusBody) => boolean, withinMs = 5000): Promise<StatusBody> {
    const deadline = Date.now() + withinMs;
    for (;;) {
      const status = await this.status(instanceId);
      if (holds(status)) return status;
      if (Date.now() > deadline) {
        assert.fail(`${instanceId} is ${JSON.stringify(status)}; log: ${JSON.stringify(this.logged.slice(-5))}`);
      }
      await sleep(pollMs);
    }
  }

  async finished(instanceId: string, withinMs?: number): Promise<StatusBody> {
    return this.until(instanceId, ({ runtimeStatus }) => finalStatuses.includes(runtimeStatus), withinMs);
  }

  async output(instanceId: string, withinMs?: number): Promise<unknown> {
    const status = await this.finished(instanceId, withinMs);
    assert.equal(status.runtimeStatus, 'Completed', JSON.stringify(status.output));
    return status.output;
  }

  /** Like `finished`, and moves business time to the next timer whenever nothing else goes on. */
  async finishedInTime(instanceId: string, withinMs = 5000): Promise<StatusBody> {
    const deadline = Date.now() + withinMs;
    for (;;) {
      const status = await this.status(instanceId);
      if (finalStatuses.includes(status.runtimeStatus)) return status;
      if (Date.now() > deadline) {
        assert.fail(`${instanceId} is ${JSON.stringify(status)}; log: ${JSON.stringify(this.logged.slice(-5))}`);
      }
      await sleep(pollMs * 5);
      const { nextMs } = this.clock;
      if (nextMs !== undefined && nextMs > this.clock.now()) this.clock.advance(nextMs - this.clock.now());
    }
  }
}
