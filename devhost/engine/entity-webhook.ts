import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { WebhookRequest, WebhookResponse } from '../contract.js';
import type { Entities } from './entities.js';
import { entityInstanceId, parseEntityId } from './entity-batch.js';
import type { DurableStore } from './store.js';
import { json, jsonText, parseQuery, queryFlag, queryTime, WebhookRefusal } from './webhook-parts.js';
import type { EngineLog } from './services.js';

const defaultPageSize = 100;

const listQuery = z.object({
  fetchState: queryFlag,
  lastOperationTimeFrom: queryTime,
  lastOperationTimeTo: queryTime,
  top: z.coerce.number().int().min(1).max(1000).optional(),
});

/** The HTTP surface of entities: read, signal, delete, list. */
export async function handleEntities(
  context: { entities: Entities; store: DurableStore; log: EngineLog },
  request: WebhookRequest,
  segments: readonly string[],
): Promise<WebhookResponse> {
  const [, name, key] = segments;
  const { method, url } = request;
  if (method === 'GET' && key === undefined) return list(context.store, request, name);
  if (name === undefined || key === undefined || segments.length > 3) {
    throw new WebhookRefusal(404, `there is nothing at ${method} ${url.pathname}`);
  }
  if (method === 'GET') {
    const head = await context.entities.head(name, key);
    if (head?.exists !== true) throw new WebhookRefusal(404, `there is no entity '${name}' with the key '${key}'`);
    return { status: 200, headers: { 'content-type': 'application/json; charset=utf-8' }, body: head.state ?? 'null' };
  }
  if (method !== 'POST' && method !== 'DELETE') throw new WebhookRefusal(405, `${method} is not taken here`);
  const operation = method === 'DELETE' ? 'delete' : (url.searchParams.get('op') ?? '');
  const target = entityInstanceId({ name, key });
  const input = request.body.byteLength === 0 ? null : jsonText(context.log, request.body, `signal to ${target}`);
  await context.entities.signal({ requestId: randomUUID(), target, operation, input, isSignal: true, caller: null });
  return { status: 202, headers: {}, body: '' };
}

async function list(store: DurableStore, request: WebhookRequest, name: string | undefined): Promise<WebhookResponse> {
  const query = parseQuery(listQuery, request.url);
  const continuation = request.headers['x-ms-continuation-token'];
  const page = await store.list({
    kind: 'entity',
    pageSize: query.top ?? defaultPageSize,
    ...(name === undefined ? {} : { name: name.toLowerCase() }),
    ...(query.lastOperationTimeFrom === undefined ? {} : { updatedFromMs: query.lastOperationTimeFrom }),
    ...(query.lastOperationTimeTo === undefined ? {} : { updatedToMs: query.lastOperationTimeTo }),
    ...(continuation === undefined || continuation === '' ? {} : { continuation }),
  });
  const body = page.heads.flatMap(({ head }) => {
    if (head.kind !== 'entity' || !head.exists) return [];
    const state = query.fetchState === true && head.state !== null ? { state: JSON.parse(head.state) as unknown } : {};
    return [
      {
        entityId: parseEntityId(head.instanceId),
        lastOperationTime: new Date(head.updatedAtMs).toISOString(),
        ...state,
      },
    ];
  });
  return json(200, body, page.continuation === undefined ? {} : { 'x-ms-continuation-token': page.continuation });
}
