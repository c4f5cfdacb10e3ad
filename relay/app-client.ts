import type { KeyObject } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import {
  assignmentsResponse,
  cycleResponse,
  digestResponse,
  diskResponse,
  registerResponse,
  relayError,
  segmentResponse,
  uploadResponse,
  type AssignmentsResponse,
  type CommandResult,
  type CycleManifest,
  type FailbackReport,
  type ItemReport,
  type ResyncScope,
  type SegmentAnnouncement,
  type UploadTarget,
} from '../core/domain/relay-protocol/wire.js';
import type { SiteInventory } from '../core/domain/site/inventory.js';
import { UnderstudyError } from '../core/domain/errors.js';
import {
  AppAnswerUnexpectedError,
  AppRefusedError,
  AppUnreachableError,
  isPassingStatus,
  RelayRefusedError,
} from './errors.js';
import { appCallsAtOnce, slowAppCalls } from './limits.js';
import { signatureHeaders } from './signing.js';
import { Turnstile } from './turnstile.js';

/** Tries of one call; what fails longer is the retry schedule's matter. */
const triesPerCall = 3;
const firstRetryPauseMilliseconds = 200;
/** System time: how long an answer may take beyond what was asked to be waited for. */
const answerTimeoutMilliseconds = 30_000;
/** An answer is small JSON; a longer one is not the app's. */
const answerBytesMax = 64 * 1024 * 1024;

const itemsPath = '/relay/v1/items/';

const anything = z.unknown();
type Caller = { relayId: string; privateKey: KeyObject };
type Epoch = { protectionId: string; epoch: number };

/**
 * The relay API (wire.ts), as a relay calls it. Every call may be repeated: the app answers a repeat as it did at first.
 * Answers are checked against the wire's schemas. Failures are UnderstudyErrors, never with a secret in them.
 */
export interface AppClient {
  assignments(version: string | undefined, waitSeconds: number, signal?: AbortSignal): Promise<AssignmentsResponse>;
  putInventory(inventory: SiteInventory): Promise<void>;
  heartbeat(report: { relayVersion: string; memoryRssBytes: number; items: ItemReport[] }): Promise<void>;
  postCommandResult(commandId: string, result: CommandResult): Promise<void>;
  requestUpload(
    itemId: string,
    request: Epoch & { target: UploadTarget; uploadId?: string },
    signal?: AbortSignal,
  ): Promise<z.infer<typeof uploadResponse>>;
  requestDigests(
    itemId: string,
    request: Epoch & { diskId: string; fromBytes: number },
    signal?: AbortSignal,
  ): Promise<z.infer<typeof digestResponse>>;
  requestDisk(
    itemId: string,
    request: Epoch & { diskId: string },
    signal?: AbortSignal,
  ): Promise<z.infer<typeof diskResponse>>;
  reportFailback(itemId: string, report: FailbackReport): Promise<void>;
  announceSegment(itemId: string, segment: SegmentAnnouncement): Promise<z.infer<typeof segmentResponse>>;
  announceCycle(itemId: string, manifest: CycleManifest): Promise<z.infer<typeof cycleResponse>>;
  reportResyncRequired(itemId: string, report: Epoch & { reason: string; message: string; at: string }): Promise<void>;
  reportBaseStarted(itemId: string, report: Epoch & { checkpointAt: string; scopes?: ResyncScope[] }): Promise<void>;
}

export function openAppClient(endpoint: string, caller: Caller): AppClient {
  const item = (itemId: string, noun: string) => `${itemsPath}${encodeURIComponent(itemId)}/${noun}`;
  const gate = new Turnstile(appCallsAtOnce, slowAppCalls);
  const post = <T>(what: string, path: string, body: unknown, schema: z.ZodType<T>, signal?: AbortSignal) => {
    const send = () => call({ endpoint, caller, what, method: 'POST', path, body, schema, ...(signal && { signal }) });
    // Of items there are hundreds; the relay's own calls are few, and wait for none of theirs.
    return path.startsWith(itemsPath) ? gate.pass(send, signal && { signal }) : send();
  };
  return {
    assignments: (version, waitSeconds, signal) => {
      const query = new URLSearchParams({ waitSeconds: String(waitSeconds) });
      if (version !== undefined) query.set('version', version);
      return call({
        endpoint,
        caller,
        what: 'asking for assignments',
        method: 'GET',
        path: `/relay/v1/assignments?${query.toString()}`,
        schema: assignmentsResponse,
        waitMilliseconds: waitSeconds * 1000,
        // The feed that calls this has its own pace, and must learn at once that contact is lost.
        tries: 1,
        ...(signal && { signal }),
      });
    },
    putInventory: async (inventory) => {
      const what = 'reporting the inventory';
      await call({
        endpoint,
        caller,
        what,
        method: 'PUT',
        path: '/relay/v1/inventory',
        body: inventory,
        schema: anything,
      });
    },
    heartbeat: async (report) => {
      await post('sending the heartbeat', '/relay/v1/heartbeat', report, anything);
    },
    postCommandResult: async (commandId, result) => {
      const path = `/relay/v1/commands/${encodeURIComponent(commandId)}/result`;
      await post(`reporting the result of command ${commandId}`, path, result, anything);
    },
    requestUpload: (itemId, request, signal) =>
      post('asking for a place to upload to', item(itemId, 'uploads'), request, uploadResponse, signal),
    requestDigests: (itemId, request, signal) =>
      post(
        `asking for the checksums of disk ${request.diskId} from byte ${request.fromBytes} on`,
        item(itemId, 'digests'),
        request,
        digestResponse,
        signal,
      ),
    requestDisk: (itemId, request, signal) =>
      post(`asking for disk ${request.diskId} in Azure`, item(itemId, 'disks'), request, diskResponse, signal),
    reportFailback: async (itemId, report) => {
      await post(`reporting that the failback is ${report.state}`, item(itemId, 'failback'), report, anything);
    },
    announceSegment: (itemId, segment) =>
      post(
        `announcing bytes ${segment.fromBytes} to ${segment.toBytes} of disk ${segment.diskId}`,
        item(itemId, 'segments'),
        segment,
        segmentResponse,
      ),
    announceCycle: (itemId, manifest) =>
      post(`announcing cycle ${manifest.cycle}`, item(itemId, 'cycles'), manifest, cycleResponse),
    reportResyncRequired: async (itemId, report) => {
      await post('reporting that a resync is required', item(itemId, 'resyncRequired'), report, anything);
    },
    reportBaseStarted: async (itemId, report) => {
      const path = item(itemId, 'baseStarted');
      await post('reporting that the base has started', path, report, anything);
    },
  };
}

/** Registers a public key by a registration key's secret. The one call that is not signed. */
export function postRegistration(
  endpoint: string,
  request: {
    protocolVersion: number;
    secret: string;
    publicKey: string;
    relayVersion: string;
    machineName: string;
    inventory: SiteInventory;
  },
): Promise<z.infer<typeof registerResponse>> {
  const what = 'registering the relay';
  return call({ endpoint, what, method: 'POST', path: '/relay/v1/register', body: request, schema: registerResponse });
}

interface Call<T> {
  endpoint: string;
  caller?: Caller;
  what: string;
  method: 'GET' | 'POST' | 'PUT';
  /** With query. */
  path: string;
  body?: unknown;
  schema: z.ZodType<T>;
  waitMilliseconds?: number;
  tries?: number;
  signal?: AbortSignal;
}

async function call<T>(request: Call<T>): Promise<T> {
  const tries = request.tries ?? triesPerCall;
  for (let attempt = 1; ; attempt++) {
    try {
      return await callOnce(request);
    } catch (error) {
      request.signal?.throwIfAborted();
      // A refusal is the same at once: it waits for the retry schedule.
      if (attempt >= tries || !(error instanceof UnderstudyError) || !isPassingStatus(error.httpStatus)) throw error;
      // Full jitter, so that many relays do not come back in step.
      const pause = firstRetryPauseMilliseconds * 2 ** (attempt - 1) * (0.5 + Math.random());
      await sleep(pause, undefined, request.signal ? { signal: request.signal } : {});
    }
  }
}

async function callOnce<T>(request: Call<T>): Promise<T> {
  const { endpoint, caller, what, method } = request;
  const url = new URL(endpoint + request.path);
  const body = request.body === undefined ? '' : JSON.stringify(request.body);
  const timeout = AbortSignal.timeout(answerTimeoutMilliseconds + (request.waitMilliseconds ?? 0));
  let status: number;
  let text: string;
  try {
    const response = await fetch(url, {
      method,
      headers: {
        ...(body !== '' && { 'content-type': 'application/json' }),
        ...(caller && signatureHeaders(caller, { method, target: url.pathname + url.search, body })),
      },
      ...(body !== '' && { body }),
      redirect: 'error',
      signal: request.signal ? AbortSignal.any([request.signal, timeout]) : timeout,
    });
    status = response.status;
    text = await readBounded(response);
  } catch (error) {
    request.signal?.throwIfAborted();
    throw new AppUnreachableError(what, endpoint, describeNetworkFailure(error), error);
  }
  if (status >= 200 && status < 300) return readAnswer(request, text);
  throw refusal(request, status, text);
}

function readAnswer<T>(request: Call<T>, text: string): T {
  let json: unknown;
  try {
    json = text === '' ? undefined : JSON.parse(text);
  } catch (error) {
    throw new AppAnswerUnexpectedError(request.what, request.endpoint, 'the answer is not JSON', error);
  }
  const parsed = request.schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'the whole'}: ${issue.message}`);
  throw new AppAnswerUnexpectedError(request.what, request.endpoint, fields.slice(0, 5).join('; '));
}

function refusal(request: Call<unknown>, status: number, text: string): UnderstudyError {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  const parsed = relayError.safeParse(json);
  const message = parsed.success ? parsed.data.error.message : `status ${status} without an explanation`;
  if (parsed.success && request.caller === undefined) return appRefusal(request.what, status, parsed.data);
  if (status === 401 || status === 403) return new RelayRefusedError(request.what, request.endpoint, status, message);
  if (parsed.success) return appRefusal(request.what, status, parsed.data);
  // A gateway's page: the app itself was not reached.
  if (status >= 500 || status === 429) return new AppUnreachableError(request.what, request.endpoint, message);
  return new AppRefusedError(request.what, status, { message });
}

function appRefusal(what: string, status: number, body: z.infer<typeof relayError>): AppRefusedError {
  const { code, message, recommendedAction, details } = body.error;
  return new AppRefusedError(what, status, {
    code,
    message,
    ...(recommendedAction !== undefined && { recommendedAction }),
    ...(details !== undefined && { details }),
  });
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const body: AsyncIterable<Uint8Array> | null = response.body;
  for await (const bytes of body ?? []) {
    length += bytes.byteLength;
    if (length > answerBytesMax) throw new Error(`the answer is longer than ${answerBytesMax} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** fetch hides the reason in causes: "fetch failed" alone helps nobody. */
function describeNetworkFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer in time';
  const cause = error.cause;
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error) return cause.errors[0].message;
  if (cause instanceof Error && cause.message !== '') return cause.message;
  return error.message;
}
