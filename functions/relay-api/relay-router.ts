import { randomUUID } from 'node:crypto';
import {
  commandResult,
  cycleManifest,
  digestRequest,
  diskRequest,
  failbackReport,
  heartbeatRequest,
  baseStartedRequest,
  inventoryRequest,
  registerRequest,
  resyncRequiredRequest,
  segmentRequest,
  uploadRequest,
} from '../../core/domain/relay-protocol/wire.js';
import { UnderstudyError } from '../../core/domain/errors.js';
import type { RegisteredRelay, Signed } from '../../core/records/rows.js';
import type { AppInvocation } from '../app.js';
import { ApiError, asUnderstudyError, retryAfter } from '../http/api-error.js';
import { sourceAddress, type ApiRequest, type ApiResponse } from '../http/exchange.js';
import { checkShape, parseJson } from '../http/json-body.js';
import { assignmentsQuery, awaitAssignments } from './assignments.js';
import { registerRelay } from './register.js';
import { grantDisk, reportFailback } from './failback.js';
import { NonceCache, relayCaller } from './relay-caller.js';
import { storeCommandResult, storeHeartbeat, storeInventory } from './reports.js';
import {
  announceCycle,
  announceBaseStarted,
  announceResyncRequired,
  announceSegment,
  grantDigests,
  grantUpload,
} from './transfers.js';

interface RelayCall {
  app: AppInvocation;
  relay: RegisteredRelay;
  signed: Signed;
  request: ApiRequest;
  /** The id in the path, where it has one. */
  id: string;
  json: () => unknown;
}

interface RelayOperation {
  method: 'GET' | 'PUT' | 'POST';
  /** Below /relay/v1; `{id}` is a segment. */
  path: string;
  summary: string;
  handle: (call: RelayCall) => Promise<unknown>;
}

/** The signed part of the relay API. */
export const relayOperations: readonly RelayOperation[] = [
  {
    method: 'PUT',
    path: '/inventory',
    summary: 'The site as VMM sees it, at start and whenever it changed',
    handle: ({ app, relay, signed, json }) => storeInventory(app, relay, signed, checkShape(inventoryRequest, json())),
  },
  {
    method: 'POST',
    path: '/heartbeat',
    summary: 'The relay is alive, and what each item is doing there',
    handle: ({ app, relay, signed, json }) => storeHeartbeat(app, relay, signed, checkShape(heartbeatRequest, json())),
  },
  {
    method: 'GET',
    path: '/assignments',
    summary: 'What the relay is to do: at once when it changed, else after waitSeconds',
    handle: ({ app, relay, request }) =>
      awaitAssignments(app, relay, checkShape(assignmentsQuery, Object.fromEntries(request.url.searchParams))),
  },
  {
    method: 'POST',
    path: '/commands/{id}/result',
    summary: 'How an order that a workflow waits for came out',
    handle: ({ app, relay, id, json }) => storeCommandResult(app, relay, id, checkShape(commandResult, json())),
  },
  {
    method: 'POST',
    path: '/items/{id}/uploads',
    summary: 'A SAS for one transfer log; with uploadId, a new one for a running upload',
    handle: ({ app, relay, id, json }) => grantUpload(app, relay, id, checkShape(uploadRequest, json())),
  },
  {
    method: 'POST',
    path: '/items/{id}/digests',
    summary: 'A SAS to read the checksums of one region of a replica disk',
    handle: ({ app, relay, id, json }) => grantDigests(app, relay, id, checkShape(digestRequest, json())),
  },
  {
    method: 'POST',
    path: '/items/{id}/disks',
    summary: 'A SAS to read a disk of the VM in Azure, as a failback holds it',
    handle: ({ app, relay, id, json }) => grantDisk(app, relay, id, checkShape(diskRequest, json())),
  },
  {
    method: 'POST',
    path: '/items/{id}/failback',
    summary: 'How far the site has come with a failback',
    handle: ({ app, relay, id, json }) => reportFailback(app, relay, id, checkShape(failbackReport, json())),
  },
  {
    method: 'POST',
    path: '/items/{id}/segments',
    summary: "A piece of a disk's base lies in blob storage",
    handle: ({ app, relay, id, json }) => announceSegment(app, relay, id, checkShape(segmentRequest, json())),
  },
  {
    method: 'POST',
    path: '/items/{id}/cycles',
    summary: 'All logs of a closed cycle lie in blob storage',
    handle: ({ app, relay, id, json }) => announceCycle(app, relay, id, checkShape(cycleManifest, json())),
  },
  {
    method: 'POST',
    path: '/items/{id}/baseStarted',
    summary: 'Tracking runs and the checkpoint stands',
    handle: ({ app, relay, id, json }) => announceBaseStarted(app, relay, id, checkShape(baseStartedRequest, json())),
  },
  {
    method: 'POST',
    path: '/items/{id}/resyncRequired',
    summary: 'The site can no longer vouch for its change logs',
    handle: ({ app, relay, id, json }) =>
      announceResyncRequired(app, relay, id, checkShape(resyncRequiredRequest, json())),
  },
];

const routes = relayOperations.map((operation) => ({
  operation,
  pattern: new RegExp(`^/relay/v1${operation.path.replace('{id}', '([^/%]+)')}/?$`, 'i'),
}));

function find(request: ApiRequest): { operation: RelayOperation; id: string } {
  const path = request.url.pathname;
  const matches = routes.flatMap(({ operation, pattern }) => {
    const match = pattern.exec(path);
    return match === null ? [] : [{ operation, id: match[1] ?? '' }];
  });
  const found = matches.find(({ operation }) => operation.method === request.method.toUpperCase());
  if (found !== undefined) return found;
  const known = matches.map(({ operation }) => operation.method);
  throw new ApiError({
    code: known.length > 0 ? 'US1002' : 'US1001',
    httpStatus: known.length > 0 ? 405 : 404,
    target: path,
    message:
      known.length > 0
        ? `${request.method} is no operation on '${path}'; there is ${known.join(', ')}`
        : `the relay API, version 1, has no path '${path}'`,
    possibleCauses: 'The relay is of another version than this app.',
    recommendedAction: 'Use a relay of the same version as the app; docs/api.md lists the paths.',
  });
}

/** The doors of the relay API: registration proves itself by its key, everything else by the relay's signature. */
export class RelayRouter {
  private readonly nonces = new NonceCache();

  /** Never rejects. */
  async answer(app: AppInvocation, request: ApiRequest): Promise<ApiResponse> {
    try {
      return { status: 200, body: (await this.dispatch(app, request)) ?? {} };
    } catch (error) {
      return this.refuse(app, error);
    }
  }

  refuse(app: AppInvocation, error: unknown): ApiResponse {
    const known = asUnderstudyError(error, randomUUID(), (message, cause) => app.log(message, cause));
    return relayErrorResponse(known);
  }

  private async dispatch(app: AppInvocation, request: ApiRequest): Promise<unknown> {
    app.authenticator.admit(request);
    const json = (): unknown => parseJson(request.body);
    const nowMs = app.systemNow().epochMilliseconds;
    if (/^\/relay\/v1\/register\/?$/i.test(request.url.pathname) && request.method.toUpperCase() === 'POST') {
      app.rateLimits?.registrations.admit(`the address ${sourceAddress(request)}`, request.method, nowMs);
      return registerRelay(app, checkShape(registerRequest, json()));
    }
    const { operation, id } = find(request);
    const { relay, signed } = await relayCaller(app, this.nonces, request);
    app.rateLimits?.relays.admit(`relay ${relay.relayId}`, request.method, nowMs);
    return operation.handle({ app, relay, signed, request, id, json });
  }
}

function relayErrorResponse(error: UnderstudyError): ApiResponse {
  return {
    status: error.httpStatus,
    body: {
      error: {
        code: error.code,
        message: error.message,
        recommendedAction: error.recommendedAction,
        details: { ...error.details, ...(error instanceof ApiError && error.target ? { target: error.target } : {}) },
      },
    },
    ...retryAfter(error),
  };
}
