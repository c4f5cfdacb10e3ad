import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { UnderstudyError } from '../../core/domain/errors.js';
import { siteErrorBody, siteOperations, type SiteHandlers, type SiteOperation } from './api.js';
import { badRequest, operationFailed } from './errors.js';

/** A write piece of 1 MiB is 1.4 MB of base64. */
const bodyMaxBytes = 2 * 1024 * 1024;

export interface SiteServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Listens on loopback. Handlers get what the schema let through. */
export async function serveSite(options: { handlers: SiteHandlers; token: string; port: number }): Promise<SiteServer> {
  const server = createServer((request, response) => {
    void answer(request, options.handlers, options.token).then(
      (body) => send(response, 200, body),
      (error: unknown) => sendError(response, error),
    );
  });
  // Starting replication with the judges' journal copies whole disks before it answers.
  server.requestTimeout = 0;
  // Longer than clients keep an idle connection (connection.ts).
  server.keepAliveTimeout = 30_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, '127.0.0.1', () => resolve());
  });
  return { port: (server.address() as AddressInfo).port, close: () => closeServer(server) };
}

async function closeServer(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}

async function answer(request: IncomingMessage, handlers: SiteHandlers, token: string): Promise<unknown> {
  const host = (request.headers.host ?? '').replace(/:\d+$/, '');
  if ((host !== '127.0.0.1' && host !== 'localhost') || request.headers.origin !== undefined) {
    throw refused('the request does not come from a client on this machine');
  }
  if (!sameText(request.headers.authorization ?? '', `Bearer ${token}`)) throw refused('the token is wrong');
  const name = /^\/v1\/([A-Za-z]+)$/.exec(request.url ?? '')?.[1];
  if (request.method !== 'POST' || name === undefined || !isOperation(name)) {
    throw badRequest(`There is no operation ${request.method ?? ''} ${request.url ?? ''}`);
  }
  return run(handlers, name, await readBody(request));
}

const isOperation = (name: string): name is SiteOperation => Object.hasOwn(siteOperations, name);

async function run<Name extends SiteOperation>(handlers: SiteHandlers, name: Name, body: unknown): Promise<unknown> {
  const parsed = siteOperations[name].request.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw badRequest(`${name}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? 'wrong shape'}`);
  }
  // The schema of this name was applied just above; TypeScript cannot follow the pairing through the union.
  const handle = handlers[name] as (request: unknown) => Promise<unknown>;
  return handle(parsed.data);
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let lengthBytes = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    lengthBytes += piece.length;
    if (lengthBytes > bodyMaxBytes) throw badRequest(`The request is larger than ${bodyMaxBytes} bytes`);
    pieces.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString('utf8'));
  } catch (error) {
    throw badRequest(`The request is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

const refused = (why: string): UnderstudyError =>
  new UnderstudyError({
    code: 'US5020',
    message: `The site refuses the request: ${why}`,
    recommendedAction: 'Use the token in run.json of the site folder, as the user who started the site.',
    retry: 'later',
    httpStatus: 401,
  });

function sendError(response: ServerResponse, error: unknown): void {
  const known = error instanceof UnderstudyError ? error : operationFailed('the request', error);
  if (!(error instanceof UnderstudyError))
    process.stderr.write(`${String(error instanceof Error ? error.stack : error)}\n`);
  const { code, message, recommendedAction, possibleCauses, retry, details } = known;
  send(
    response,
    known.httpStatus,
    siteErrorBody.parse({ error: { code, message, recommendedAction, possibleCauses, retry, details } }),
  );
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
