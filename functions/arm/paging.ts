import { ApiError } from '../http/api-error.js';
import type { VaultCall } from './operation.js';

const pageItemsDefault = 100;
const pageItemsMax = 1000;

/** How many, and after which name: a page token names the last one, so that what comes and goes moves no page. */
export function pageOf(call: VaultCall): { take: number; after: string } {
  const takeText = call.query.get('$take');
  const take = takeText === null ? pageItemsDefault : Number(takeText);
  if (!Number.isInteger(take) || take < 1) {
    throw new ApiError({
      code: 'US1014',
      armCode: 'InvalidParameter',
      httpStatus: 400,
      target: '$take',
      message: `$take is '${takeText ?? ''}', not a whole number from 1`,
      recommendedAction: `Ask for 1 to ${pageItemsMax} items.`,
    });
  }
  const skipToken = call.query.get('$skipToken') ?? '';
  return { take: Math.min(take, pageItemsMax), after: Buffer.from(skipToken, 'base64url').toString('utf8') };
}

export function nextLink(call: VaultCall, lastName: string): string {
  const url = new URL(call.request.url.pathname + call.request.url.search, call.origin);
  url.searchParams.set('$skipToken', Buffer.from(lastName).toString('base64url'));
  return url.href;
}
