import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';
import type { DurableEngine, HostClock, HostModes, WebhookRequest, WebhookResponse, Worker } from '../contract.js';
import { clientBindingText } from './client-urls.js';
import { Entities } from './entities.js';
import { handleEntities } from './entity-webhook.js';
import { Orchestrations } from './orchestrations.js';
import { backoffMs, describeError, pause } from './services.js';
import type { EngineLog, EngineServices } from './services.js';
import type { DurableStore, InstanceHead } from './store.js';
import { json, webhookSegments, WebhookRefusal } from './webhook-parts.js';
import { handleInstances } from './webhook.js';

export type { EngineLog } from './services.js';

/** The real extension's default: ten for each processor, for activities and for orchestrators. */
const defaultSlots = 10 * availableParallelism();
const stopTimeoutMs = 5000;
const sweepEveryMs = 30_000;
const maxStartRetries = 5;
const takeUpsAtOnce = 8;

export interface DurableEngineOptions {
  worker: Worker;
  clock: HostClock;
  modes: HostModes;
  hubName: string;
  store: DurableStore;
  log: EngineLog;
  /** Where the app's durable client sends its requests; by default the webhooks of the base URL it is given. */
  rpcBaseUrl?: () => string | undefined;
  maxConcurrentActivities?: number;
  maxConcurrentTurns?: number;
  /** Called once when another writer has taken over the hub; the process should end. */
  onFenced?: (reason: string) => void;
}

export function createDurableEngine(options: DurableEngineOptions): DurableEngine {
  return new Engine(options);
}

class Engine implements DurableEngine {
  readonly #options: DurableEngineOptions;
  readonly #orchestrations: Orchestrations;
  readonly #entities: Entities;
  readonly #stopping = new AbortController();
  #sweep: NodeJS.Timeout | undefined;
  #isFenced = false;
  #isStarted = false;
  #committedTurns = 0;

  constructor(options: DurableEngineOptions) {
    this.#options = options;
    const turnSlots = pLimit(options.maxConcurrentTurns ?? defaultSlots);
    const activitySlots = pLimit(options.maxConcurrentActivities ?? defaultSlots);
    const services: EngineServices = {
      store: options.store,
      worker: options.worker,
      clock: options.clock,
      modes: options.modes,
      log: options.log,
      turnSlots: (run) => turnSlots(run),
      activitySlots: (run) => activitySlots(run),
      isStopping: () => this.#stopping.signal.aborted,
      startChild: (request) => this.#orchestrations.startChild(request),
      deliver: (request) => this.#entities.operate(request),
      requestSettled: (request) => {
        this.#entities.requestSettled(request);
      },
      requestsUnderWay: () => {
        if (!this.#isStarted) return undefined;
        const outboxes = [...this.#orchestrations.outboxes(), ...this.#entities.outboxes()];
        return new Set(outboxes.map(({ requestId }) => requestId));
      },
      reply: ({ requestId, caller }, reply) => {
        if (caller === null) return;
        const { instanceId, executionId } = caller;
        this.#orchestrations.tell(instanceId, { kind: 'entityReplied', executionId, requestId, reply });
      },
      turnCommitted: (head) => {
        this.#turnCommitted(head);
      },
      finished: (head) => {
        this.#orchestrations.finished(head);
      },
      fenced: (reason) => {
        this.#fence(reason);
      },
    };
    this.#orchestrations = new Orchestrations(services);
    this.#entities = new Entities(services);
  }

  async start(): Promise<void> {
    const { log, hubName } = this.#options;
    for (let attempt = 0; ; attempt++) {
      try {
        const unfinished = await this.#takeUpAll();
        this.#isStarted = true;
        log.info('durable engine started', { hub: hubName, unfinished });
        this.#sweep = setInterval(() => void this.#sweepOnce(), sweepEveryMs).unref();
        return;
      } catch (error) {
        if (this.#stopping.signal.aborted || attempt >= maxStartRetries) throw error;
        log.warn('the durable state could not be read; trying again', { error: describeError(error) });
        await pause(backoffMs(attempt), this.#stopping.signal);
      }
    }
  }

  async #takeUpAll(): Promise<number> {
    const instanceIds = await this.#options.store.listUnfinished();
    const slots = pLimit(takeUpsAtOnce);
    await Promise.all(instanceIds.map((instanceId) => slots(() => this.#takeUp(instanceId))));
    return instanceIds.length;
  }

  /** Finds what a start could not take up, and what a writer left behind that lost the hub while it was writing. */
  async #sweepOnce(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    try {
      await this.#takeUpAll();
    } catch (error) {
      this.#options.log.warn('the sweep for unfinished instances failed', { error: describeError(error) });
    }
  }

  async #takeUp(instanceId: string): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    try {
      if (instanceId.startsWith('@')) await this.#entities.takeUp(instanceId);
      else await this.#orchestrations.takeUp(instanceId);
    } catch (error) {
      // One damaged instance must not keep the others from running; the sweep tries it again.
      this.#options.log.error('an instance could not be taken up', { instanceId, error: describeError(error) });
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    clearInterval(this.#sweep);
    const closed = new AbortController();
    const closing = Promise.all([this.#orchestrations.close(), this.#entities.close()]);
    await Promise.race([closing, pause(stopTimeoutMs, closed.signal)]);
    closed.abort();
  }

  clientBinding(baseUrl: string): string {
    return clientBindingText(baseUrl.replace(/\/$/, ''), this.#options.hubName, this.#options.rpcBaseUrl?.());
  }

  async handleWebhook(request: WebhookRequest): Promise<WebhookResponse> {
    const { store, log, hubName } = this.#options;
    try {
      if (!this.#isStarted || this.#stopping.signal.aborted) {
        throw new WebhookRefusal(503, 'the durable engine is starting or stopping; try again');
      }
      const segments = webhookSegments(request.url);
      if (segments[0] === 'entities') {
        return await handleEntities({ entities: this.#entities, store, log }, request, segments);
      }
      return await handleInstances({ orchestrations: this.#orchestrations, store, log, hubName }, request, segments);
    } catch (error) {
      if (error instanceof WebhookRefusal) return json(error.status, { Message: error.message });
      log.error('a durable webhook failed', { path: request.url.pathname, error: String(error) });
      return json(503, { Message: `the durable state could not be reached: ${String(error)}` });
    }
  }

  #turnCommitted({ name, instanceId }: InstanceHead): void {
    const { killAfterTurns } = this.#options.modes;
    this.#committedTurns++;
    if (killAfterTurns === 0 || this.#committedTurns % killAfterTurns !== 0) return;
    this.#options.log.info('killed after a turn', { name, instanceId });
    process.kill(process.pid, 'SIGKILL');
  }

  #fence(reason: string): void {
    if (this.#isFenced) return;
    this.#isFenced = true;
    this.#options.log.error('another writer has taken over this hub: the engine stops', { reason });
    this.#stopping.abort();
    void this.#orchestrations.close();
    void this.#entities.close();
    this.#options.onFenced?.(reason);
  }
}
