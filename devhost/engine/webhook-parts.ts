import { z } from 'zod';
import type { WebhookRequest, WebhookResponse } from '../contract.js';
import { webhookPath } from './client-urls.js';
import type { EngineLog } from './services.js';
import { payloadMaxBytes, payloadWarnBytes } from './typed-data.js';

/** A refusal with its HTTP status; thrown by handlers, turned into an answer in one place. */
export class WebhookRefusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Decoded path segments behind the webhook path. */
export function webhookSegments(url: URL): string[] {
  if (!url.pathname.toLowerCase().startsWith(`${webhookPath}/`)) {
    throw new WebhookRefusal(404, `not a durable webhook: ${url.pathname}`);
  }
  try {
    return url.pathname
      .slice(webhookPath.length)
      .split('/')
      .filter((segment) => segment !== '')
      .map(decodeURIComponent);
  } catch {
    throw new WebhookRefusal(400, `the path ${url.pathname} is not well encoded`);
  }
}

export function json(status: number, body: unknown, headers: Record<string, string> = {}): WebhookResponse {
  return {
    status,
    headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
    body: JSON.stringify(body),
  };
}

/** The body as JSON text; an empty body and other content types are refused, as the real host refuses them. */
export function jsonBody(log: EngineLog, request: WebhookRequest, what: string): string {
  const contentType = request.headers['content-type'] ?? '';
  if (!/^application\/(json|[^;]+\+json)/i.test(contentType)) {
    throw new WebhookRefusal(400, `${what}: only application/json is taken, not '${contentType}'`);
  }
  return jsonText(log, request.body, what);
}

export function jsonText(log: EngineLog, body: Buffer, what: string): string {
  if (body.byteLength > payloadMaxBytes) {
    throw new WebhookRefusal(413, `${what}: ${body.byteLength} bytes; at most ${payloadMaxBytes} are taken`);
  }
  if (body.byteLength > payloadWarnBytes) {
    log.warn('a large message: pass a reference instead', { what, bytes: body.byteLength });
  }
  try {
    return JSON.stringify(JSON.parse(body.toString('utf8')));
  } catch {
    throw new WebhookRefusal(400, `${what}: the body is not JSON`);
  }
}

export const queryFlag = z
  .string()
  .optional()
  .transform((text) => (text === undefined ? undefined : text.toLowerCase() === 'true'));

export const queryTime = z
  .string()
  .refine((text) => text === '' || !Number.isNaN(Date.parse(text)), 'is not a time')
  .transform((text) => (text === '' ? undefined : Date.parse(text)))
  .optional();

export function parseQuery<T>(schema: z.ZodType<T>, url: URL): T {
  const parsed = schema.safeParse(Object.fromEntries(url.searchParams));
  if (!parsed.success) throw new WebhookRefusal(400, `the query is not understood: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}
