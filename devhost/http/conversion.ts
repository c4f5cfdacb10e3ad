import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import type { InvocationOutcome, TypedData } from '../contract.js';

/** The HTTP trigger's input, as the host sends it with the capabilities that the library asks for. */
export function toRpcHttpRequest(
  request: Pick<IncomingMessage, 'method' | 'headers'>,
  url: URL,
  params: Record<string, string>,
  body: Buffer,
): TypedData {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(',') : value;
  }
  const query: Record<string, string> = {};
  // The host joins repeated names by commas; the library offers one value a name.
  for (const [name, value] of url.searchParams) query[name] = name in query ? `${query[name] ?? ''},${value}` : value;
  return {
    http: {
      method: request.method ?? 'GET',
      url: url.href,
      nullableHeaders: toNullable(headers),
      nullableQuery: toNullable(query),
      nullableParams: toNullable(params),
      ...(body.length > 0 ? { body: { bytes: body } } : {}),
    },
  };
}

function toNullable(values: Record<string, string>): Record<string, { value: string }> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value }]));
}

export interface HttpAnswer {
  status: number;
  headers: Record<string, string | string[]>;
  body: Buffer;
}

const nullable = <T extends z.ZodType>(schema: T) => z.object({ value: schema.nullish() }).nullish();
const cookieSchema = z.object({
  name: z.string(),
  value: z.string(),
  domain: nullable(z.string()),
  path: nullable(z.string()),
  expires: z.object({ value: z.object({ seconds: z.number() }).nullish() }).nullish(),
  secure: nullable(z.boolean()),
  httpOnly: nullable(z.boolean()),
  sameSite: z.union([z.string(), z.number()]).nullish(),
  maxAge: nullable(z.number()),
});
const httpResponse = z.object({
  statusCode: z.string(),
  headers: z.record(z.string(), z.string()).default({}),
  cookies: z.array(cookieSchema).nullish(),
  body: z.object({ bytes: z.instanceof(Uint8Array).optional(), string: z.string().optional() }).nullish(),
});

/** What the listener sends for an invocation. A function that threw is a 500 without a body, as on the real host. */
export function toHttpAnswer(outcome: InvocationOutcome): HttpAnswer {
  if (outcome.kind === 'threw') return { status: 500, headers: {}, body: Buffer.alloc(0) };
  const http = outcome.returnValue?.http;
  // An HTTP function that returns nothing: the documented answer of Functions 2.x and later.
  if (http === undefined) return { status: 204, headers: {}, body: Buffer.alloc(0) };
  const response = httpResponse.parse(http);
  const status = Number(response.statusCode);
  if (!Number.isInteger(status) || status < 200 || status > 999) {
    return { status: 500, headers: {}, body: Buffer.alloc(0) };
  }
  const cookies = (response.cookies ?? []).map(cookieText);
  const { bytes, string } = response.body ?? {};
  const body = bytes === undefined ? Buffer.from(string ?? '') : Buffer.from(bytes);
  return {
    status,
    headers: { ...response.headers, ...(cookies.length > 0 ? { 'set-cookie': cookies } : {}) },
    body: status === 204 || status === 304 ? Buffer.alloc(0) : body,
  };
}

function cookieText(cookie: z.infer<typeof cookieSchema>): string {
  const parts = [`${encodeURIComponent(cookie.name)}=${encodeURIComponent(cookie.value)}`];
  const expires = cookie.expires?.value?.seconds;
  if (expires !== undefined) parts.push(`expires=${new Date(expires * 1000).toUTCString()}`);
  if (cookie.maxAge?.value !== undefined && cookie.maxAge.value !== null) parts.push(`max-age=${cookie.maxAge.value}`);
  if (cookie.domain?.value) parts.push(`domain=${cookie.domain.value}`);
  parts.push(`path=${cookie.path?.value ?? '/'}`);
  if (cookie.secure?.value === true) parts.push('secure');
  if (cookie.httpOnly?.value === true) parts.push('httponly');
  if (cookie.sameSite === 'lax') parts.push('samesite=lax');
  if (cookie.sameSite === 'strict') parts.push('samesite=strict');
  if (cookie.sameSite === 'explicitNone') parts.push('samesite=none');
  return parts.join('; ');
}
