import { ApiError } from '../http/api-error.js';
import type { ApiResponse } from '../http/exchange.js';
import { collection, type VaultCall } from './operation.js';

const pageItemsMax = 1000;

/** A list that is answered page by page. */
export interface PagedList<T> {
  /** All that fit the filter, in the order of their keys. */
  sorted: readonly T[];
  /** A page token names the last key of its page, so that what comes and goes meanwhile moves no page. */
  keyOf: (entry: T) => string;
  descending?: boolean;
  /** How many where the caller says nothing. */
  pageItems?: number;
  toWire: (entry: T) => unknown;
}

/** The page that the caller asks for by `$take` and `$skipToken`, which some clients spell without `$`. */
export function answerPage<T>(
  call: VaultCall,
  { sorted, keyOf, descending = false, pageItems = pageItemsMax, toWire }: PagedList<T>,
): ApiResponse {
  const take = takeOf(call) ?? pageItems;
  const token = call.query.get('$skipToken') ?? call.query.get('skipToken') ?? '';
  const after = Buffer.from(token, 'base64url').toString('utf8');
  const isAfter = (entry: T): boolean => (descending ? keyOf(entry) < after : keyOf(entry) > after);
  const left = after === '' ? sorted : sorted.filter(isAfter);
  const page = left.slice(0, take);
  const last = page.at(-1);
  const isWhole = last === undefined || left.length <= take;
  return collection(page.map(toWire), isWhole ? undefined : nextLink(call, keyOf(last)));
}

function takeOf(call: VaultCall): number | undefined {
  const text = call.query.get('$take');
  if (text === null) return undefined;
  const take = Number(text);
  if (Number.isInteger(take) && take >= 1) return Math.min(take, pageItemsMax);
  throw new ApiError({
    code: 'US1014',
    armCode: 'InvalidParameter',
    httpStatus: 400,
    target: '$take',
    message: `$take is '${text}', not a whole number from 1`,
    recommendedAction: `Ask for 1 to ${pageItemsMax} items.`,
  });
}

function nextLink(call: VaultCall, lastKey: string): string {
  const url = new URL(call.request.url.pathname + call.request.url.search, call.origin);
  url.searchParams.delete('skipToken');
  url.searchParams.set('$skipToken', Buffer.from(lastKey).toString('base64url'));
  return url.href;
}
