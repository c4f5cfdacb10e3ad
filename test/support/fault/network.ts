import { Buffer } from 'node:buffer';
import type { KeyObject } from 'node:crypto';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { RowOperation } from '../../../core/ports/state-table.js';
import type { ApiRequest, ApiResponse } from '../../../functions/http/exchange.js';
import { assignmentDigest } from '../../../functions/relay-api/assignments.js';
import { privateKeyOf, type RegisteredIdentity } from '../../../relay/identity.js';
import { signatureHeaders } from '../../../relay/signing.js';
import type { InMemoryStateTable } from '../in-memory/state-table.js';
import type { AppProcess } from './app-process.js';
import type { Life } from './life.js';
import { noAnswer, type Line } from './line.js';
import type { VirtualTime } from './virtual-time.js';

const firstPort = 20_000;
/** A question for assignments hangs about as long as the relay waits for its answer, and sees a change as soon as the app would. */
const hangMs = 50_000;
const lookMs = 700;

/** The way from the relay to the app: what the relay's `fetch` gets, over the line, into the real doors. */
export class NetworkOfRelay {
  #changes = 0;
  readonly #digests = new Map<string, string>();
  readonly #hanging = new Set<() => void>();
  #signer: { relayId: string; privateKey: KeyObject } | undefined;

  constructor(
    private readonly world: {
      time: VirtualTime;
      line: Line;
      table: InMemoryStateTable;
      life: (id: number) => Life | undefined;
      app: () => AppProcess | undefined;
      identity: () => RegisteredIdentity | undefined;
    },
  ) {
    world.table.onChange = (operations) => {
      if (!operations.some((operation) => this.#isNews(operation))) return;
      this.#changes++;
      for (const wake of this.#hanging) wake();
      this.#hanging.clear();
    };
  }

  /** Whether a relay's assignments may read otherwise after this: an item's row changes with every heartbeat, too. */
  #isNews(operation: RowOperation): boolean {
    const [kind, name = ''] = operation.rowKey.split('!');
    if (kind === 'command' || kind === 'policy') return true;
    if (kind !== 'item') return false;
    const digest = operation.kind === 'delete' ? '' : assignmentDigest(operation.value as ProtectedItem);
    if (this.#digests.get(name) === digest) return false;
    this.#digests.set(name, digest);
    return true;
  }

  /** Tells one life's calls from another's. */
  endpointOf(life: Life): string {
    return `http://127.0.0.1:${firstPort + life.id}`;
  }

  /** A registration key that leads to the life's endpoint. */
  keyFor(life: Life, registrationKey: string): string {
    const key = JSON.parse(Buffer.from(registrationKey, 'base64url').toString('utf8')) as object;
    return Buffer.from(JSON.stringify({ ...key, endpoint: this.endpointOf(life) })).toString('base64url');
  }

  async fetch(url: URL, init: RequestInit): Promise<unknown> {
    const life = this.world.life(Number(url.port) - firstPort);
    if (life === undefined) throw noAnswer(`nobody listens at ${url.host}`);
    const { signal } = init;
    const { status, body } = await life.step(() => unlessAborted(this.#exchange(url, init), signal));
    return { status, body: body === undefined ? [] : [Buffer.from(JSON.stringify(body))] };
  }

  #exchange(url: URL, init: RequestInit): Promise<ApiResponse> {
    const { line } = this.world;
    if (url.pathname.endsWith('/assignments')) return line.exchange(() => this.#assignments(url));
    return line.exchange(
      () => this.#answer(requestOf(url, init)),
      () => this.#answer(this.#signedAnew(url, init)),
    );
  }

  /** Into the doors of the app that runs now; one that dies meanwhile leaves no answer. */
  async #answer(request: ApiRequest): Promise<ApiResponse> {
    const app = this.world.app();
    if (app === undefined || app.life.isDead) throw noAnswer('connection refused');
    return new Promise((resolve, reject) => {
      app.life.onDeath(() => reject(noAnswer('the connection was reset')));
      app.relay(request).then(resolve, reject);
    });
  }

  /** The hanging question: instead of the door's own polling the table itself tells that something changed. */
  async #assignments(url: URL): Promise<ApiResponse> {
    const { time } = this.world;
    const known = url.searchParams.get('version');
    const hangs = known !== null && url.searchParams.get('waitSeconds') !== '0';
    const endMs = time.now() + (hangs ? hangMs : 0);
    const at = new URL(url);
    at.searchParams.set('waitSeconds', '0');
    for (;;) {
      const seen = this.#changes;
      const answer = await this.#answer(this.#signedAnew(at, { method: 'GET' }));
      const { version, commands } = answer.body as { version?: string; commands?: unknown[] };
      if (answer.status !== 200 || version !== known || (commands?.length ?? 0) > 0) return answer;
      while (this.#changes === seen) {
        if (time.now() >= endMs) return answer;
        await Promise.race([
          new Promise<void>((resolve) => this.#hanging.add(resolve)),
          time.sleep(endMs - time.now()),
        ]);
      }
      await time.sleep(lookMs);
    }
  }

  /** The same request with the signature of a further attempt: the app takes none twice. */
  #signedAnew(url: URL, init: RequestInit): ApiRequest {
    const identity = this.world.identity();
    if (identity === undefined) return requestOf(url, init);
    const request = requestOf(url, init);
    this.#signer ??= {
      relayId: identity.registered.relayId,
      privateKey: privateKeyOf(identity, 'identity.json'),
    };
    const headers = signatureHeaders(this.#signer, {
      method: request.method,
      target: url.pathname + url.search,
      body: request.body.toString('utf8'),
    });
    return { ...request, headers: new Map([...request.headers, ...Object.entries(headers)]) };
  }
}

function requestOf(url: URL, init: RequestInit): ApiRequest {
  const headers = Object.entries((init.headers ?? {}) as Record<string, string>);
  return {
    method: init.method ?? 'GET',
    url,
    headers: new Map([
      ['host', url.host],
      ...headers.map(([name, value]): [string, string] => [name.toLowerCase(), value]),
    ]),
    body: Buffer.from(typeof init.body === 'string' ? init.body : ''),
  };
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | null | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason as Error);
    if (signal.aborted) return giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
}
