import type { TokenVerifier } from '../../core/ports/token-verifier.js';
import { ApiError } from './api-error.js';
import type { ApiRequest } from './exchange.js';

/** After Site Recovery Reader, Operator and Contributor; each may do what the ones before it may. */
export const roles = ['reader', 'operator', 'contributor'] as const;
export type Role = (typeof roles)[number];

export interface Caller {
  name: string;
  role: Role;
}

export interface Authenticator {
  /** Refuses, at every door, what must not even be looked at. */
  admit(request: ApiRequest): void;
  /** Tells which operator calls, or refuses with 401. */
  authenticate(request: ApiRequest): Promise<Caller>;
}

export function requireRole(caller: Caller, needed: Role): void {
  if (roles.indexOf(caller.role) >= roles.indexOf(needed)) return;
  throw new ApiError({
    code: 'US1010',
    armCode: 'AuthorizationFailed',
    httpStatus: 403,
    message: `${caller.name} has the role ${caller.role}; this operation needs ${needed}`,
    recommendedAction: `Ask for the role ${needed} on the vault.`,
    details: { role: caller.role, needed },
  });
}

const loopbackHosts = new Set(['127.0.0.1', 'localhost', '[::1]']);

const hostNameOf = (host: string): string => host.replace(/:\d+$/, '').toLowerCase();

function refuseHost(header: string, value: string): never {
  throw new ApiError({
    code: 'US1011',
    armCode: 'ForbiddenHost',
    httpStatus: 403,
    target: header,
    message: `the header ${header} is '${value}', which is not this machine's loopback address`,
    possibleCauses:
      'A web page of another site tries to reach Understudy through your browser, or a proxy stands in front.',
    recommendedAction:
      'Call http://127.0.0.1 or http://localhost; for other callers run Understudy with authentication.',
  });
}

/**
 * Loopback mode: no tokens, so the Host must be loopback (a rebound DNS name is not) and an Origin, where a browser sends one,
 * must be ours.
 */
export const loopbackAuthenticator: Authenticator = {
  admit: checkLoopback,
  async authenticate() {
    return { name: 'the local operator', role: 'contributor' };
  },
};

function checkLoopback(request: ApiRequest): void {
  const host = request.headers.get('host') ?? request.url.host;
  if (!loopbackHosts.has(hostNameOf(host))) refuseHost('Host', host);
  const origin = request.headers.get('origin');
  if (origin !== undefined && origin.toLowerCase() !== `${request.url.protocol}//${host.toLowerCase()}`) {
    refuseHost('Origin', origin);
  }
}

/** What the directory calls the roles: app roles of Understudy's registration (docs/identity.md). */
const appRoles: Readonly<Record<string, Role>> = {
  'Understudy.Reader': 'reader',
  'Understudy.Operator': 'operator',
  'Understudy.Contributor': 'contributor',
};

/** Bearer tokens of the directory; who has several roles has the highest, and who has none may do nothing. */
export const entraAuthenticator = (tokens: TokenVerifier): Authenticator => ({
  admit: () => undefined,
  authenticate: async (request) => {
    const [, token] = /^Bearer +([^ ]+) *$/i.exec(request.headers.get('authorization') ?? '') ?? [];
    if (token === undefined) throw noToken();
    const holder = await tokens.verify(token);
    const own = holder.roles.flatMap((role) => appRoles[role] ?? []);
    const role = [...roles].reverse().find((each) => own.includes(each));
    if (role === undefined) throw noRole(holder.name);
    return { name: holder.name, role };
  },
});

const noToken = (): ApiError =>
  new ApiError({
    code: 'US1009',
    armCode: 'AuthenticationFailed',
    httpStatus: 401,
    target: 'Authorization',
    message: 'the request has no bearer token',
    possibleCauses: 'The client did not sign in, or a proxy dropped the header Authorization.',
    recommendedAction: 'Sign in for the audience of this app, and send the token as Authorization: Bearer.',
  });

const noRole = (name: string): ApiError =>
  new ApiError({
    code: 'US1010',
    armCode: 'AuthorizationFailed',
    httpStatus: 403,
    message: `${name} has none of the roles ${Object.keys(appRoles).join(', ')}`,
    possibleCauses: 'The role was not assigned, or the token is older than the assignment.',
    recommendedAction: 'Have one of the roles assigned in the directory, then sign in again.',
  });

/** Where nothing says whose tokens to take, every call is refused: nothing is open by accident. */
export const closedAuthenticator: Authenticator = {
  admit: () => undefined,
  authenticate: async () => {
    throw new ApiError({
      code: 'US1009',
      armCode: 'AuthenticationFailed',
      httpStatus: 401,
      message: 'this app does not know whose bearer tokens to take, so it answers no ARM request',
      possibleCauses: 'The app settings UNDERSTUDY_ENTRA_TENANT and UNDERSTUDY_ENTRA_AUDIENCE are missing.',
      recommendedAction: 'Set both (docs/identity.md); or run Understudy on loopback with npm start.',
    });
  },
};
