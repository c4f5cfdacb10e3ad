import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DurableEngine, TypedData, Worker } from '../contract.js';
import type { Log } from '../log.js';
import type { AdminApi } from './admin-api.js';
import type { HttpAnswer } from './conversion.js';
import { toHttpAnswer, toRpcHttpRequest } from './conversion.js';
import type { HttpRoute } from './route-table.js';
import { findRoute } from './route-table.js';
import { refuseStranger } from './own-machine.js';
import { jsonAnswer } from './server.js';

const durablePrefix = '/runtime/webhooks/durabletask/';
const drainWithinMs = 10_000;
const notFound: HttpAnswer = { status: 404, headers: {}, body: Buffer.alloc(0) };

export interface RequestRouterOptions {
  routes: readonly HttpRoute[];
  worker: Worker;
  engine: DurableEngine;
  admin: AdminApi;
  /** Origin by which the app's durable client reaches the host. */
  origin: string;
  isBoundToLoopback: boolean;
  log: Log;
}

/** Sends a request to the host's own endpoints or to the app's function. */
export class RequestRouter {
  readonly #options: RequestRouterOptions;
  readonly #underWay = new Set<IncomingMessage>();
  #isDraining = false;

  constructor(options: RequestRouterOptions) {
    this.#options = options;
  }

  async handle(request: IncomingMessage, url: URL, body: Buffer): Promise<HttpAnswer> {
    const { admin, engine, isBoundToLoopback } = this.#options;
    const path = url.pathname.toLowerCase();
    if (path.startsWith('/admin/') || path.startsWith('/runtime/')) {
      const refusal = refuseStranger(request, isBoundToLoopback);
      if (refusal !== undefined) return refusal;
      if (path.startsWith('/admin/')) return admin.handle(request.method ?? 'GET', url, body);
      return path.startsWith(durablePrefix) ? webhook(engine, request, url, body) : notFound;
    }
    if (this.#isDraining) return jsonAnswer(503, { error: 'the host is stopping' });
    this.#underWay.add(request);
    try {
      return await invokeRoute(this.#options, request, url, body);
    } finally {
      this.#underWay.delete(request);
    }
  }

  /**
   * Takes no more requests for the app; those under way may still call the durable endpoints while they end. One whose caller
   * has gone is not waited for: no one hears its answer, and a long poll would hold the stop up.
   */
  async drain(): Promise<void> {
    this.#isDraining = true;
    const deadline = Date.now() + drainWithinMs;
    const isAwaited = (): boolean => [...this.#underWay].some(({ socket }) => !socket.destroyed);
    while (isAwaited() && Date.now() < deadline) await sleep(20);
  }
}

async function webhook(engine: DurableEngine, request: IncomingMessage, url: URL, body: Buffer): Promise<HttpAnswer> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(',') : value;
  }
  const answer = await engine.handleWebhook({ method: request.method ?? 'GET', url, headers, body });
  return { status: answer.status, headers: answer.headers, body: Buffer.from(answer.body) };
}

async function invokeRoute(
  { routes, worker, engine, origin, log }: RequestRouterOptions,
  request: IncomingMessage,
  url: URL,
  body: Buffer,
): Promise<HttpAnswer> {
  const match = findRoute(routes, request.method ?? 'GET', url.pathname);
  if (match === undefined) {
    log.debug('no function has this method and route', { method: request.method, path: url.pathname });
    return notFound;
  }
  const { name, triggerBinding, durableClientBindings } = match.route.function;
  const client: TypedData = { string: engine.clientBinding(origin) };
  const outcome = await worker.invoke({
    functionName: name,
    inputData: [
      { name: triggerBinding.name, data: toRpcHttpRequest(request, url, match.params, body) },
      ...durableClientBindings.map((binding) => ({ name: binding.name, data: client })),
    ],
    triggerMetadata: {},
  });
  return toHttpAnswer(outcome);
}
