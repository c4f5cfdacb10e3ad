/**
 * A request and its answer as the doors see them, free of any Functions package: the same handlers run under the real host,
 * under devhost and under plain calls of tests.
 */
export interface ApiRequest {
  method: string;
  /** Absolute, as the client sent it. */
  url: URL;
  /** Names in lower case. */
  headers: ReadonlyMap<string, string>;
  body: Buffer;
}

export interface ApiResponse {
  status: number;
  headers?: Readonly<Record<string, string>>;
  /** JSON value; absent is an empty body. */
  body?: unknown;
}

/**
 * Where the request came from, as the platform's front end saw it: it appends address and port to X-Forwarded-For, after whatever
 * the client claimed itself.
 */
export function sourceAddress(request: ApiRequest): string {
  const seen = request.headers.get('x-forwarded-for')?.split(',').at(-1)?.trim() ?? '';
  return seen.replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1').replace(/^\[(.+)\](:\d+)?$/, '$1');
}

/** Scheme and host as the caller knows them: a proxy in front tells them in X-Forwarded-Proto and X-Forwarded-Host. */
export function publicOrigin(request: ApiRequest): string {
  const first = (name: string): string | undefined => request.headers.get(name)?.split(',')[0]?.trim();
  const scheme = first('x-forwarded-proto') ?? request.url.protocol.replace(':', '');
  const host = first('x-forwarded-host') ?? first('host') ?? request.url.host;
  return `${scheme}://${host}`;
}
