import assert from 'node:assert/strict';
import type { z } from 'zod';
import { read, replace, type Stored } from '../../core/records/access.js';
import type { RowOperation, StateTable } from '../../core/ports/state-table.js';
import { rows, type Vault } from '../../core/records/rows.js';
import type { VaultId } from '../../core/domain/ids.js';
import { asVaultId } from '../../core/domain/ids.js';
import type { AppInvocation } from '../app.js';
import { ApiError } from '../http/api-error.js';
import type { Caller, Role } from '../http/authentication.js';
import type { ApiRequest, ApiResponse } from '../http/exchange.js';
import { checkShape, parseJson } from '../http/json-body.js';
import { vaultArmId } from './arm-id.js';

export type HttpMethod = 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';

/** One call of one operation, routed and authenticated. */
export interface Call {
  app: AppInvocation;
  request: ApiRequest;
  caller: Caller;
  /** Values of the path template's parameters, decoded. */
  params: ReadonlyMap<string, string>;
  query: URLSearchParams;
  /** As the caller spelt it; links carry it on. */
  apiVersion: string;
  /** Scheme and host as the caller sees them. */
  origin: string;
  /** Answers a GET of another resource on behalf of the same caller: the end of a long-running operation. */
  get: (path: string) => Promise<ApiResponse>;
}

/** A call inside a vault that exists. */
export interface VaultCall extends Call {
  vault: Vault;
  vaultId: VaultId;
  /** ARM id of something in the vault, in the vault's own spelling. */
  armId: (suffix: string) => string;
}

/** A row of the operations table: routes, docs/api.md and the conformance tests derive from it. */
export interface Operation {
  /** The SDK's name for it, or ours where ARM has none. */
  name: string;
  method: HttpMethod;
  /** `~` is the vault; `{name}` a segment; `{*name}` any number of segments. */
  path: string;
  longRunning: boolean;
  role: Role;
  /** Request and answer models, as the SDK names them. */
  request?: string;
  response?: string;
  /** Query parameters beside api-version. */
  query?: readonly string[];
  summary: string;
  handle: (call: Call) => Promise<ApiResponse>;
}

type Description = Omit<Operation, 'handle' | 'longRunning' | 'role' | 'path' | 'method' | 'name'> & {
  longRunning?: boolean;
  role?: Role;
};

const defaultRole = (method: HttpMethod): Role => (method === 'GET' ? 'reader' : 'contributor');

const base = (name: string, method: HttpMethod, path: string, description: Description) => ({
  name,
  method,
  path,
  ...description,
  longRunning: description.longRunning ?? false,
  role: description.role ?? defaultRole(method),
});

/** An operation outside of any vault. */
export function operation(
  name: string,
  method: HttpMethod,
  path: string,
  description: Description,
  handle: (call: Call) => Promise<ApiResponse>,
): Operation {
  return { ...base(name, method, path, description), handle };
}

/** An operation that takes a body. */
export function operationWithBody<Body>(
  name: string,
  method: HttpMethod,
  path: string,
  description: Description & { body: z.ZodType<Body> },
  handle: (call: Call, body: Body) => Promise<ApiResponse>,
): Operation {
  const { body: schema, ...rest } = description;
  return {
    ...base(name, method, path, rest),
    handle: (call) => handle(call, checkShape(schema, parseJson(call.request.body))),
  };
}

/** An operation inside a vault. */
export function vaultOperation(
  name: string,
  method: HttpMethod,
  path: string,
  description: Description,
  handle: (call: VaultCall) => Promise<ApiResponse>,
): Operation {
  return operation(name, method, path, description, async (call) => handle(await intoVault(call)));
}

/** An operation inside a vault that takes a body; the body is checked before anything is read. */
export function vaultOperationWithBody<Body>(
  name: string,
  method: HttpMethod,
  path: string,
  description: Description & { body: z.ZodType<Body> },
  handle: (call: VaultCall, body: Body) => Promise<ApiResponse>,
): Operation {
  return operationWithBody(name, method, path, description, async (call, body) => handle(await intoVault(call), body));
}

/** The value of a parameter that the operation's template has. */
export function param(call: Call, name: string): string {
  const value = call.params.get(name);
  assert(value !== undefined, `the path template has no {${name}}`);
  return value;
}

async function intoVault(call: Call): Promise<VaultCall> {
  const armId = vaultArmId(
    param(call, 'subscriptionId'),
    param(call, 'resourceGroupName'),
    param(call, 'resourceName'),
  );
  const vaultId = asVaultId(armId);
  const vault = await vaultOf(call, vaultId);
  return { ...call, vault, vaultId, armId: (suffix) => `${vault.armId}${suffix}` };
}

/** The vault, of which one that is being deleted can still be read. */
export async function vaultOf(call: Call, vaultId: VaultId): Promise<Vault> {
  const vault = await storedVault(call.app.table, vaultId);
  if (vault.value.deleting && call.request.method.toUpperCase() !== 'GET') throw beingDeleted(vault.value);
  return vault.value;
}

/**
 * An operation with which a transaction holds only if the vault is there and no deletion has begun: that writes the vault's row
 * first. Where items or fabrics stand, which no deletion passes, it is not needed.
 */
export async function whileVaultStands(table: StateTable, vaultId: VaultId): Promise<RowOperation> {
  const vault = await storedVault(table, vaultId);
  if (vault.value.deleting) throw beingDeleted(vault.value);
  return replace(vault, vault.value);
}

async function storedVault(table: StateTable, vaultId: VaultId): Promise<Stored<Vault>> {
  const vault = await read(table, rows.vault(vaultId));
  if (vault === undefined) throw notFound('vault', vaultId, 'Create the vault with PUT, or correct its name.');
  return vault;
}

export const beingDeleted = ({ armId, name }: Vault): ApiError =>
  new ApiError({
    code: 'US1060',
    armCode: 'Conflict',
    httpStatus: 409,
    retry: 'later',
    target: armId,
    message: `vault ${name} is being deleted`,
    possibleCauses:
      'Another request deletes it, or a deletion broke off: that one is carried to its end within the hour.',
    recommendedAction:
      'Try again in a while; DELETE on the vault carries a deletion that broke off to its end at once.',
  });

export function notFound(kind: string, id: string, recommendedAction?: string): ApiError {
  return new ApiError({
    code: 'US1006',
    armCode: 'ResourceNotFound',
    httpStatus: 404,
    target: id,
    message: `there is no ${kind} '${id}'`,
    possibleCauses: 'A misspelt name, another vault, or something that was removed meanwhile.',
    recommendedAction: recommendedAction ?? `List what is there, and correct the name of the ${kind}.`,
  });
}

export const ok = (body: unknown): ApiResponse => ({ status: 200, body });

/** A whole collection in one page. */
export const collection = <Model>(value: readonly Model[], nextLink?: string): ApiResponse =>
  ok(nextLink === undefined ? { value } : { value, nextLink });
