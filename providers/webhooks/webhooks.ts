import { UnderstudyError } from '../../core/domain/errors.js';
import type { Webhooks } from '../../core/ports/webhooks.js';

/** By fetch. Redirects are not followed: they could lead where an operator never pointed. */
export function openWebhooks({ allowLoopback }: { allowLoopback: boolean }): Webhooks {
  const refusalOf = (url: string): string | undefined => refusal(url, allowLoopback);
  return {
    refusalOf,
    post: async (url, body, { timeoutSeconds, idempotencyKey }) => {
      const hindrance = refusalOf(url);
      if (hindrance !== undefined) throw refused(originOf(url), hindrance, 'never');
      const address = new URL(url);
      try {
        const response = await fetch(address, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
          body: JSON.stringify(body),
          redirect: 'manual',
          signal: AbortSignal.timeout(timeoutSeconds * 1000),
        });
        await response.body?.cancel();
        return { status: response.status };
      } catch (error) {
        const isLate = isTimeout(error);
        throw refused(
          address.origin,
          isLate ? `it did not answer within ${timeoutSeconds} seconds` : causeOf(error),
          isLate ? 'never' : 'later',
        );
      }
    },
  };
}

function refusal(url: string, allowLoopback: boolean): string | undefined {
  if (!URL.canParse(url)) return 'its address is no URL';
  const { hostname, protocol, username, password } = new URL(url);
  if (username !== '' || password !== '') return 'its address holds a user name or a password';
  const isLoopback = ['127.0.0.1', 'localhost', '[::1]'].includes(hostname);
  if (protocol === 'https:' || (allowLoopback && isLoopback && protocol === 'http:')) return undefined;
  return 'only https addresses are called';
}

const originOf = (url: string): string => (URL.canParse(url) ? new URL(url).origin : 'the webhook');

/** Ours, or one of fetch's own: either way the receiver has the call, and must not get it again. */
function isTimeout(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const cause = error.cause instanceof Error && 'code' in error.cause ? error.cause.code : undefined;
  return error.name === 'TimeoutError' || cause === 'UND_ERR_HEADERS_TIMEOUT' || cause === 'UND_ERR_BODY_TIMEOUT';
}

/** fetch hides what happened in the cause; its own message may hold the address. */
function causeOf(error: unknown): string {
  return error instanceof Error && error.cause instanceof Error ? error.cause.message : 'the call failed';
}

function refused(origin: string, found: string, retry: 'later' | 'never'): UnderstudyError {
  return new UnderstudyError({
    code: 'US6070',
    message: `US6070 ${origin} could not be called: ${found}`,
    possibleCauses: 'The address is misspelt, its server is down, or takes longer than the action’s timeout.',
    recommendedAction: 'Correct the action’s address or timeout, see that its server answers, then run the plan again.',
    retry,
    httpStatus: 502,
  });
}
