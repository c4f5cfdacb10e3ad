import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { DevhostError, toError } from '../errors.js';
import type { Log } from '../log.js';
import type { HttpAnswer } from './conversion.js';

/** Answers one request; `body` is read already. */
export type RequestHandler = (request: IncomingMessage, url: URL, body: Buffer) => Promise<HttpAnswer>;

/** The real host's default, FUNCTIONS_REQUEST_BODY_SIZE_LIMIT. */
export const defaultBodyLimitBytes = 104_857_600;
const drainWithinMs = 5_000;

export function jsonAnswer(status: number, body: unknown): HttpAnswer {
  const headers = { 'content-type': 'application/json; charset=utf-8' };
  return { status, headers, body: Buffer.from(JSON.stringify(body)) };
}

export function isLoopback(address: string): boolean {
  return address === 'localhost' || address === '::1' || address === '::ffff:127.0.0.1' || address.startsWith('127.');
}

/** PEM texts. */
export interface TlsIdentity {
  cert: string;
  key: string;
}

/** The sockets and their manners; what to answer is the handler's to say. */
export class HostServer {
  readonly #server: Server;
  /** The same answers over TLS, for clients that send their tokens over nothing else. */
  #secure: SecureServer | undefined;
  readonly #log: Log;
  readonly #bodyLimitBytes: number;
  #handler: RequestHandler | undefined;
  #underWay = 0;
  #origin = '';

  constructor(options: { log: Log; bodyLimitBytes: number }) {
    this.#log = options.log;
    this.#bodyLimitBytes = options.bodyLimitBytes;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    // Long polls and slow activities are the app's business: functionTimeout bounds them.
    this.#server.requestTimeout = 0;
  }

  /** `http://127.0.0.1:7071`: where the host itself and the programs beside it reach it. */
  get origin(): string {
    return this.#origin;
  }

  async listen(host: string, port: number): Promise<number> {
    const found = await listenOn(this.#server, host, port, '--port');
    this.#origin = `http://${reachable(host)}:${found}`;
    return found;
  }

  /** Resolves with `https://127.0.0.1:7443`. */
  async listenSecurely(host: string, port: number, identity: TlsIdentity): Promise<string> {
    try {
      this.#secure = createSecureServer(identity, (request, response) => void this.#serve(request, response));
    } catch (error) {
      const message = `the certificate or key of --tls-cert and --tls-key cannot be used: ${toError(error).message}`;
      throw new DevhostError('badArguments', message);
    }
    this.#secure.requestTimeout = 0;
    return `https://${reachable(host)}:${await listenOn(this.#secure, host, port, '--tls-port')}`;
  }

  handle(handler: RequestHandler): void {
    this.#handler = handler;
  }

  /** Stops accepting, waits for the requests under way (bounded), closes. */
  async close(): Promise<void> {
    const servers = this.#secure === undefined ? [this.#server] : [this.#server, this.#secure];
    const closed = Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
    for (const server of servers) server.closeIdleConnections();
    const deadline = Date.now() + drainWithinMs;
    while (this.#underWay > 0 && Date.now() < deadline) await sleep(20);
    if (this.#underWay > 0) this.#log.warn('requests were cut off at shutdown', { requests: this.#underWay });
    for (const server of servers) server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#underWay++;
    try {
      await send(response, request, await this.#answer(request));
    } catch (error) {
      this.#log.error('a request could not be answered', { url: request.url, error: toError(error).message });
      response.destroy();
    } finally {
      this.#underWay--;
    }
  }

  async #answer(request: IncomingMessage): Promise<HttpAnswer> {
    const url = requestUrl(request, this.#origin);
    if (url === undefined) return jsonAnswer(400, { error: 'the request has no valid URL or Host header' });
    const body = await readBody(request, this.#bodyLimitBytes);
    if (body === undefined) {
      const refusal = jsonAnswer(413, { error: `the request body is larger than ${this.#bodyLimitBytes} bytes` });
      return { ...refusal, headers: { ...refusal.headers, connection: 'close' } };
    }
    if (this.#handler === undefined) return jsonAnswer(503, { error: 'the host is starting' });
    try {
      return await this.#handler(request, url, body);
    } catch (error) {
      this.#log.error('a request failed in the host', { url: url.pathname, error: toError(error).stack });
      return { status: 500, headers: {}, body: Buffer.alloc(0) };
    }
  }
}

const reachable = (host: string): string => {
  const name = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return isIP(name) === 6 ? `[${name}]` : name;
};

async function listenOn(server: Server, host: string, port: number, option: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const message = `port ${port} of ${host} is in use; choose another one with ${option}`;
      reject(error.code === 'EADDRINUSE' ? new DevhostError('portInUse', message) : error);
    });
    server.listen(port, host, resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return address.port;
}

function requestUrl(request: IncomingMessage, origin: string): URL | undefined {
  const scheme = 'encrypted' in request.socket ? 'https' : 'http';
  const base = request.headers.host === undefined ? origin : `${scheme}://${request.headers.host}`;
  const target = request.url ?? '/';
  // `new URL('//x', base)` would take x for a host.
  const text = target.startsWith('/') ? `${base}${target}` : target;
  return URL.canParse(text) ? new URL(text) : undefined;
}

async function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let lengthBytes = 0;
    request.on('data', (chunk: Buffer) => {
      lengthBytes += chunk.length;
      if (lengthBytes <= limitBytes) {
        chunks.push(chunk);
      } else {
        // What is still to come is thrown away while the refusal is on its way.
        chunks.length = 0;
        resolve(undefined);
      }
    });
    request.once('end', () => resolve(Buffer.concat(chunks)));
    request.once('error', reject);
    request.once('close', () => reject(new Error('the client went away while it was sending')));
  });
}

async function send(response: ServerResponse, request: IncomingMessage, answer: HttpAnswer): Promise<void> {
  // A client that went away needs no answer.
  if (response.destroyed) return;
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(answer.headers)) {
    // The body is whole already: its framing is ours to say.
    if (!['transfer-encoding', 'content-length'].includes(name.toLowerCase())) headers[name] = value;
  }
  const hasNoBody = answer.status === 204 || answer.status === 304;
  if (!hasNoBody) headers['content-length'] = String(answer.body.length);
  response.writeHead(answer.status, headers);
  await new Promise<void>((resolve) => {
    response.once('close', resolve);
    response.end(request.method === 'HEAD' || hasNoBody ? undefined : answer.body, () => resolve());
  });
}
