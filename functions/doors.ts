import { Buffer } from 'node:buffer';
import {
  app as functions,
  type HttpMethod,
  type HttpRequest,
  type HttpResponseInit,
  type InvocationContext,
} from '@azure/functions';
import * as df from 'durable-functions';
import { operations } from './arm/operations.js';
import { Router } from './arm/router.js';
import type { App, AppInvocation } from './app.js';
import type { ApiRequest, ApiResponse } from './http/exchange.js';
import { readBody } from './http/request-body.js';
import { RelayRouter } from './relay-api/relay-router.js';
import { sendAlerts } from './timers/alerting.js';
import { checkConfiguration } from './timers/check-configuration.js';
import { housekeeping } from './timers/housekeeping.js';
import { scheduleResyncs } from './timers/schedule-resyncs.js';
import { sweep } from './timers/sweep.js';
import { watch } from './timers/watch.js';
import { durableWorkflows } from './workflows-client.js';

/** What stands behind a door. */
interface Answerer {
  answer(app: AppInvocation, request: ApiRequest): Promise<ApiResponse>;
  /** Of a request that could not even be read. */
  refuse(app: AppInvocation, error: unknown): ApiResponse;
}

const methods: HttpMethod[] = ['GET', 'PUT', 'POST', 'PATCH', 'DELETE'];

async function toApiRequest(request: HttpRequest): Promise<ApiRequest> {
  return {
    method: request.method,
    url: new URL(request.url),
    headers: new Map([...request.headers].map(([name, value]) => [name.toLowerCase(), value])),
    body:
      request.method === 'GET' ? Buffer.alloc(0) : await readBody(request.body, request.headers.get('content-length')),
  };
}

function toHttpResponse(response: ApiResponse): HttpResponseInit {
  const hasBody = response.body !== undefined;
  return {
    status: response.status,
    headers: {
      'Cache-Control': 'no-store',
      ...(hasBody ? { 'Content-Type': 'application/json; charset=utf-8' } : {}),
      ...response.headers,
    },
    ...(hasBody ? { body: JSON.stringify(response.body) } : {}),
  };
}

const within = (app: App, client: df.DurableClient, context: InvocationContext): AppInvocation => ({
  ...app,
  log: (message, error) => {
    if (error === undefined) context.log(message);
    else context.error(message, error);
    app.log(message, error);
  },
  workflows: durableWorkflows(client),
});

/**
 * Registers the HTTP and timer functions. Few functions with a wildcard and one router behind them, so that every wrong path
 * gets our error; none at the root, because that would shadow the platform's own paths under /admin and /runtime.
 */
export function registerDoors(app: App): void {
  const door = (name: string, route: string, to: Answerer) =>
    df.app.client.http(name, {
      route,
      methods,
      // The app checks callers itself: tokens of operators, signatures of relays.
      authLevel: 'anonymous',
      handler: async (request, client, context) => {
        const invocation = within(app, client, context);
        const read = await toApiRequest(request).catch((error: unknown) => to.refuse(invocation, error));
        return toHttpResponse('status' in read ? read : await to.answer(invocation, read));
      },
    });
  const router = new Router(operations);
  door('armApi', 'subscriptions/{*path}', router);
  door('understudyApi', 'understudy/v1/{*path}', router);
  door('relayApi', 'relay/v1/{*path}', new RelayRouter());
  functions.http('healthz', {
    route: 'healthz',
    methods,
    authLevel: 'anonymous',
    handler: async () => toHttpResponse({ status: 200, body: { status: 'ok' } }),
  });
  const timer = (name: string, schedule: string, run: (app: AppInvocation) => Promise<void>) =>
    df.app.client.timer(name, {
      schedule,
      handler: async (_timer, client, context) => run(within(app, client, context)),
    });
  // Apart from one another, so that they do not read the same rows at the same time.
  timer('sweep', '0 * * * * *', sweep);
  timer('watch', '20 * * * * *', watch);
  timer('scheduleResyncs', '40 * * * * *', scheduleResyncs);
  timer('sendAlerts', '55 * * * * *', sendAlerts);
  timer('housekeeping', '10 7 * * * *', housekeeping);
  timer('checkConfiguration', '50 30 */12 * * *', checkConfiguration);
}
