import { randomUUID } from 'node:crypto';
import { closest } from './closest.js';
import type { AppInvocation } from '../app.js';
import { ApiError, armErrorResponse, asUnderstudyError } from '../http/api-error.js';
import { type Caller, requireRole } from '../http/authentication.js';
import { type ApiRequest, type ApiResponse, publicOrigin } from '../http/exchange.js';
import { refuseFilter } from './filter.js';
import type { Operation } from './operation.js';

const vaultTemplate =
  '/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.RecoveryServices/vaults/{resourceName}';

/** The template in full: `~` written out. */
export const fullPath = (operation: Operation): string => operation.path.replace(/^~/, vaultTemplate);

type Segment = { kind: 'literal'; text: string } | { kind: 'parameter'; name: string } | { kind: 'rest'; name: string };

const toSegment = (text: string): Segment => {
  const match = /^\{(\*?)(.+)\}$/.exec(text);
  if (match?.[2] === undefined) return { kind: 'literal', text: text.toLowerCase() };
  return { kind: match[1] === '*' ? 'rest' : 'parameter', name: match[2] };
};

const split = (path: string): string[] => path.split('/').filter((segment) => segment !== '');

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (error) {
    throw new ApiError({
      code: 'US1001',
      armCode: 'InvalidPath',
      httpStatus: 400,
      target: segment,
      message: `the path segment '${segment}' is not valid percent-encoding`,
      recommendedAction: 'Encode the name as RFC 3986 says.',
      cause: error,
    });
  }
}

/** Values of the template's parameters, or undefined where the path is another one. Literals match in any case. */
function match(template: readonly Segment[], path: readonly string[]): ReadonlyMap<string, string> | undefined {
  const restIndex = template.findIndex((segment) => segment.kind === 'rest');
  const restCount = path.length - (template.length - 1);
  if (restIndex === -1 ? template.length !== path.length : restCount < 1) return undefined;
  const values = new Map<string, string>();
  let at = 0;
  for (const segment of template) {
    const taken = segment.kind === 'rest' ? path.slice(at, at + restCount) : [path[at] ?? ''];
    at += taken.length;
    if (segment.kind === 'literal') {
      if (taken[0]?.toLowerCase() !== segment.text) return undefined;
    } else {
      values.set(segment.name, taken.join('/'));
    }
  }
  return values;
}

export class Router {
  private readonly routes: readonly { operation: Operation; template: readonly Segment[] }[];

  constructor(private readonly operations: readonly Operation[]) {
    this.routes = operations.map((operation) => ({ operation, template: split(fullPath(operation)).map(toSegment) }));
  }

  /** Answers the request; every refusal is ARM's error body. Never rejects. */
  async answer(app: AppInvocation, request: ApiRequest): Promise<ApiResponse> {
    const activityId = randomUUID();
    try {
      app.authenticator.admit(request);
      const caller = await app.authenticator.authenticate(request);
      app.rateLimits?.operators.admit(caller.name, request.method, app.systemNow().epochMilliseconds);
      return await this.dispatch(app, request, caller);
    } catch (error) {
      return this.refuse(app, error, activityId);
    }
  }

  refuse(app: AppInvocation, error: unknown, activityId: string = randomUUID()): ApiResponse {
    const known = asUnderstudyError(error, activityId, (message, cause) => app.log(message, cause));
    return armErrorResponse(known, activityId);
  }

  private async dispatch(app: AppInvocation, request: ApiRequest, caller: Caller): Promise<ApiResponse> {
    const { operation, params } = this.find(request.method, request.url.pathname);
    requireRole(caller, operation.role);
    const query = request.url.searchParams;
    const apiVersion = apiVersionOf(operation, query);
    if (operation.query?.includes('$filter') !== true) refuseFilter(query.get('$filter'));
    return operation.handle({
      app,
      request,
      caller,
      params,
      query,
      apiVersion,
      origin: publicOrigin(request),
      get: (path) => {
        const url = new URL(path, request.url);
        url.search = `?api-version=${encodeURIComponent(apiVersion)}`;
        return this.dispatch(app, { ...request, method: 'GET', url, body: Buffer.alloc(0) }, caller);
      },
    });
  }

  private find(method: string, path: string): { operation: Operation; params: ReadonlyMap<string, string> } {
    const segments = split(path).map(decode);
    const matches = this.routes.flatMap(({ operation, template }) => {
      const params = match(template, segments);
      return params === undefined ? [] : [{ operation, params }];
    });
    const found = matches.find(({ operation }) => operation.method === method.toUpperCase());
    if (found !== undefined) return found;
    if (matches.length > 0)
      throw wrongMethod(
        method,
        path,
        matches.map(({ operation }) => operation.method),
      );
    throw unknownPath(path, segments, this.operations);
  }
}

function wrongMethod(method: string, path: string, allowed: readonly string[]): ApiError {
  return new ApiError({
    code: 'US1002',
    armCode: 'MethodNotAllowed',
    httpStatus: 405,
    target: path,
    message: `${method} is no operation on '${path}'; there are ${allowed.join(', ')}`,
    recommendedAction: 'Use one of the named methods; docs/api.md lists every operation.',
    details: { allowed },
  });
}

function unknownPath(path: string, segments: readonly string[], operations: readonly Operation[]): ApiError {
  const nearest = closest(
    segments,
    operations.map((operation) => ({ operation, segments: split(fullPath(operation)) })),
  );
  return new ApiError({
    code: 'US1001',
    armCode: 'OperationNotFound',
    httpStatus: 404,
    target: path,
    message: `no operation has the path '${path}'`,
    possibleCauses: 'A misspelt resource type, or an operation of another scenario than Hyper-V to Azure.',
    recommendedAction:
      nearest === undefined
        ? 'docs/api.md lists every operation.'
        : `The nearest operation is ${nearest.method} ${nearest.path} (${nearest.name}); docs/api.md lists every operation.`,
    details: nearest === undefined ? {} : { nearest: `${nearest.method} ${fullPath(nearest)}` },
  });
}

/** ARM asks for it on every call of its own surface; any value is taken. */
function apiVersionOf(operation: Operation, query: URLSearchParams): string {
  const given = [...query].find(([name]) => name.toLowerCase() === 'api-version')?.[1] ?? '';
  if (given !== '' || operation.path.startsWith('/understudy/')) return given;
  throw new ApiError({
    code: 'US1003',
    armCode: 'MissingApiVersionParameter',
    httpStatus: 400,
    target: 'api-version',
    message: 'the query parameter api-version is missing',
    recommendedAction: 'Add ?api-version=2023-08-01 (any version from 2018-01-10 on is taken).',
  });
}
