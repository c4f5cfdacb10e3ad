import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { WebhookRequest, WebhookResponse } from '../contract.js';
import { instanceUrls } from './client-urls.js';
import { parseTurn } from './history.js';
import type { Message } from './messages.js';
import { orchestration } from './orchestrations.js';
import type { Orchestrations } from './orchestrations.js';
import type { DurableStore, HeadQuery, OrchestrationHead, RuntimeStatus } from './store.js';
import { isFinal, runtimeStatuses } from './store.js';
import { parseOrNull, statusDocument } from './status.js';
import { json, jsonBody, jsonText, parseQuery, queryFlag, queryTime, WebhookRefusal } from './webhook-parts.js';
import type { EngineLog } from './services.js';

const maxInstanceIdChars = 256;
const defaultPageSize = 100;
const retryAfterSeconds = 5;

export interface WebhookContext {
  orchestrations: Orchestrations;
  store: DurableStore;
  log: EngineLog;
  hubName: string;
}

/** The HTTP surface of /runtime/webhooks/durabletask, which the durable client of the app talks to. */
export async function handleInstances(
  context: WebhookContext,
  request: WebhookRequest,
  segments: readonly string[],
): Promise<WebhookResponse> {
  const [area, first, verb, last] = segments;
  const { method, url } = request;
  if (area === 'orchestrators' && method === 'POST' && first !== undefined && segments.length <= 3) {
    return start(context, request, first, verb);
  }
  if (area === 'instances' && first === undefined) {
    if (method === 'GET') return listInstances(context, request);
    if (method === 'DELETE') return purgeMany(context, url);
  }
  if (area === 'instances' && first !== undefined && verb === undefined) {
    if (method === 'GET') return status(context, request, first);
    if (method === 'DELETE') {
      if (await context.orchestrations.purge(first)) return json(200, { instancesDeleted: 1 });
      throw new WebhookRefusal(404, `there is no finished instance '${first}'`);
    }
  }
  if (area === 'instances' && first !== undefined && verb !== undefined && method === 'POST') {
    const reason = url.searchParams.get('reason') ?? '';
    const id = randomUUID();
    if (verb === 'raiseEvent' && last !== undefined && segments.length === 4) {
      const input = jsonBody(context.log, request, `event '${last}' to ${first}`);
      return post(context, first, { kind: 'eventRaised', id, name: last, input });
    }
    if (segments.length === 3) {
      if (verb === 'terminate') return post(context, first, { kind: 'terminate', id, reason });
      if (verb === 'suspend') return post(context, first, { kind: 'suspend', id, reason });
      if (verb === 'resume') return post(context, first, { kind: 'resume', id, reason });
      if (verb === 'restart') return restart(context, request, first);
      if (verb === 'rewind') return rewind(context, first);
    }
  }
  throw new WebhookRefusal(404, `there is nothing at ${method} ${url.pathname}`);
}

export function checkInstanceId(instanceId: string): void {
  const problem =
    instanceId.length === 0
      ? 'is empty'
      : instanceId.length > maxInstanceIdChars
        ? `is longer than ${maxInstanceIdChars} characters`
        : instanceId.startsWith('@')
          ? 'begins with @'
          : /[/\\#?\u0000-\u001f\u007f-\u009f]/.test(instanceId)
            ? 'holds one of / \\ # ? or a control character'
            : undefined;
  if (problem !== undefined) throw new WebhookRefusal(400, `the instance id ${problem}`);
}

const waitQuery = z.object({
  timeout: z.coerce.number().min(0).max(3600).optional(),
  pollingInterval: z.coerce.number().optional(),
});

async function start(
  context: WebhookContext,
  request: WebhookRequest,
  name: string,
  givenId: string | undefined,
): Promise<WebhookResponse> {
  const instanceId = givenId ?? randomUUID().replaceAll('-', '');
  checkInstanceId(instanceId);
  const input = request.body.byteLength === 0 ? null : jsonText(context.log, request.body, `input of '${name}'`);
  const wait = parseQuery(waitQuery, request.url);
  const version = request.url.searchParams.get('version') ?? '';
  const outcome = await context.orchestrations.start({ name, instanceId, input, version });
  if (outcome.kind === 'unknownFunction') {
    throw new WebhookRefusal(
      400,
      `The function '${name}' doesn't exist, is disabled, or is not an orchestrator function.`,
    );
  }
  if (outcome.kind === 'exists') {
    throw new WebhookRefusal(409, `An Orchestration instance with the id '${instanceId}' is running already.`);
  }
  if (wait.timeout !== undefined) {
    const head = await context.orchestrations.waitFor(instanceId, wait.timeout * 1000);
    if (head?.status === 'Completed') return json(200, parseOrNull(head.output));
    if (head !== undefined && isFinal(head.status)) {
      return json(head.status === 'Failed' ? 500 : 200, statusDocument(head, { showInput: true }));
    }
  }
  return accepted(context, request, instanceId, 10);
}

function accepted(
  context: WebhookContext,
  request: WebhookRequest,
  instanceId: string,
  retryAfter: number,
): WebhookResponse {
  const urls = instanceUrls(request.url.origin, context.hubName, instanceId);
  return json(202, urls, { location: urls.statusQueryGetUri ?? '', 'retry-after': String(retryAfter) });
}

async function post(context: WebhookContext, instanceId: string, message: Message): Promise<WebhookResponse> {
  switch (await context.orchestrations.post(instanceId, message)) {
    case 'accepted':
      return { status: 202, headers: {}, body: '' };
    case 'gone':
      return { status: 410, headers: {}, body: '' };
    case 'missing':
      throw new WebhookRefusal(404, `there is no instance '${instanceId}'`);
  }
}

const statusQuery = z.object({
  showHistory: queryFlag,
  showHistoryOutput: queryFlag,
  showInput: queryFlag,
  returnInternalServerErrorOnFailure: queryFlag,
});

async function status(context: WebhookContext, request: WebhookRequest, instanceId: string): Promise<WebhookResponse> {
  const query = parseQuery(statusQuery, request.url);
  const showInput = query.showInput ?? true;
  const head = await context.orchestrations.head(instanceId);
  if (head === undefined) throw new WebhookRefusal(404, `there is no instance '${instanceId}'`);
  const document =
    query.showHistory === true
      ? statusDocument(...(await withHistory(context, instanceId, head, showInput, query.showHistoryOutput ?? false)))
      : statusDocument(head, { showInput });
  if (!isFinal(head.status)) {
    const { statusQueryGetUri } = instanceUrls(request.url.origin, context.hubName, instanceId);
    return json(202, document, { location: statusQueryGetUri ?? '', 'retry-after': String(retryAfterSeconds) });
  }
  const isError = head.status === 'Failed' && query.returnInternalServerErrorOnFailure === true;
  return json(isError ? 500 : 200, document);
}

async function withHistory(
  context: WebhookContext,
  instanceId: string,
  head: OrchestrationHead,
  showInput: boolean,
  showOutput: boolean,
): Promise<Parameters<typeof statusDocument>> {
  const loaded = await context.store.load(instanceId);
  const events = (loaded?.turns ?? []).flatMap(parseTurn);
  const shown = loaded?.stored.head.kind === 'orchestration' ? loaded.stored.head : head;
  return [shown, { showInput, history: { events, showOutput } }];
}

const statusByName = new Map<string, RuntimeStatus>(runtimeStatuses.map((each) => [each.toLowerCase(), each]));
const statusList = z.string().transform((text, checked): RuntimeStatus[] | undefined => {
  const names = text.split(',').filter((name) => name.trim() !== '');
  const statuses = names.flatMap((name) => statusByName.get(name.trim().toLowerCase()) ?? []);
  // Statuses that this host never gives, such as ContinuedAsNew, match nothing.
  if (names.length > 0 && statuses.length === 0)
    checked.addIssue({ code: 'custom', message: `unknown status '${text}'` });
  return names.length === 0 ? undefined : statuses;
});

const listQuery = z.object({
  createdTimeFrom: queryTime,
  createdTimeTo: queryTime,
  runtimeStatus: statusList.optional(),
  instanceIdPrefix: z.string().optional(),
  top: z.coerce.number().int().min(1).max(1000).optional(),
  showInput: queryFlag,
});

async function listInstances(context: WebhookContext, request: WebhookRequest): Promise<WebhookResponse> {
  const query = parseQuery(listQuery, request.url);
  const continuation = request.headers['x-ms-continuation-token'];
  const page = await context.store.list({
    ...filterOf(query),
    pageSize: query.top ?? defaultPageSize,
    ...(continuation === undefined || continuation === '' ? {} : { continuation }),
  });
  const body = page.heads.map((each) => statusDocument(orchestration(each), { showInput: query.showInput ?? true }));
  return json(200, body, page.continuation === undefined ? {} : { 'x-ms-continuation-token': page.continuation });
}

function filterOf(query: z.infer<typeof listQuery>): Omit<HeadQuery, 'pageSize'> {
  return {
    kind: 'orchestration',
    ...(query.createdTimeFrom === undefined ? {} : { createdFromMs: query.createdTimeFrom }),
    ...(query.createdTimeTo === undefined ? {} : { createdToMs: query.createdTimeTo }),
    ...(query.runtimeStatus === undefined ? {} : { statuses: query.runtimeStatus }),
    ...(query.instanceIdPrefix === undefined ? {} : { instanceIdPrefix: query.instanceIdPrefix }),
  };
}

async function purgeMany(context: WebhookContext, url: URL): Promise<WebhookResponse> {
  const query = parseQuery(listQuery, url);
  if (query.createdTimeFrom === undefined)
    throw new WebhookRefusal(400, 'createdTimeFrom is required to purge by filter');
  const statuses = (query.runtimeStatus ?? runtimeStatuses).filter(isFinal);
  const instanceIds: string[] = [];
  let continuation: string | undefined;
  do {
    const page = await context.store.list({
      ...filterOf(query),
      statuses,
      pageSize: 1000,
      ...(continuation === undefined ? {} : { continuation }),
    });
    instanceIds.push(...page.heads.map(({ head }) => head.instanceId));
    ({ continuation } = page);
  } while (continuation !== undefined);
  let instancesDeleted = 0;
  for (const instanceId of instanceIds) if (await context.orchestrations.purge(instanceId)) instancesDeleted++;
  if (instancesDeleted === 0) throw new WebhookRefusal(404, 'no finished instance matches');
  return json(200, { instancesDeleted });
}

async function restart(context: WebhookContext, request: WebhookRequest, instanceId: string): Promise<WebhookResponse> {
  const head = await context.orchestrations.head(instanceId);
  if (head === undefined) throw new WebhookRefusal(404, `there is no instance '${instanceId}'`);
  const { restartWithNewInstanceId } = parseQuery(z.object({ restartWithNewInstanceId: queryFlag }), request.url);
  const nextId = restartWithNewInstanceId === false ? instanceId : randomUUID().replaceAll('-', '');
  const { name, input, version } = head;
  const outcome = await context.orchestrations.start({ name, instanceId: nextId, input, version });
  if (outcome.kind === 'started') return accepted(context, request, nextId, 10);
  throw new WebhookRefusal(409, `instance '${nextId}' is running already, or its function is gone`);
}

/** Refusals have no body: the library would take an object for its message. */
async function rewind(context: WebhookContext, instanceId: string): Promise<WebhookResponse> {
  const statusOf = { rewound: 202, missing: 404, notFailed: 410, running: 412 };
  return { status: statusOf[await context.orchestrations.rewind(instanceId)], headers: {}, body: '' };
}
