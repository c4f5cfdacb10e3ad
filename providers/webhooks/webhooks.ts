import { UnderstudyError } from '../../core/domain/errors.js';
import type { Webhooks } from '../../core/ports/webhooks.js';

/** By fetch. Redirects are not followed: they could lead where an operator never pointed. */
export function openWebhooks({ allowLoopback }: { allowLoopback: boolean }): Webhooks {
  return {
    post: async (url, body, { timeoutSeconds, idempotencyKey }) => {
      const address = allowedAddress(url, allowLoopback);
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
        const isLate = error instanceof Error && error.name === 'TimeoutError';
        throw refused(
          address.origin,
          isLate ? `it did not answer within ${timeoutSeconds} seconds` : causeOf(error),
          isLate ? 'never' : 'later',
        );
      }
    },
  };
}

function allowedAddress(url: string, allowLoopback: boolean): URL {
  const address = URL.canParse(url) ? new URL(url) : undefined;
  if (address === undefined) throw refused('the webhook', 'its address is no URL', 'never');
  const isLoopback = ['127.0.0.1', 'localhost', '[::1]'].includes(address.hostname);
  if (address.protocol === 'https:' || (allowLoopback && isLoopback && address.protocol === 'http:')) return address;
  throw refused(address.origin, 'only https addresses are called', 'never');
}

/** fetch hides what happened in the cause. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
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
