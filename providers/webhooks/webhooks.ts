import { UnderstudyError } from '../../core/domain/errors.js';
import type { Webhooks } from '../../core/ports/webhooks.js';

/** By fetch. Redirects are not followed: they could lead where an operator never pointed. */
export function openWebhooks({ allowLoopback }: { allowLoopback: boolean }): Webhooks {
  const faultOf = (url: string): string | undefined => addressFault(url, allowLoopback);
  return {
    faultOf,
    post: async (url, body, { timeoutSeconds, idempotencyKey }) => {
      const fault = faultOf(url);
      if (fault !== undefined) throw refused(nameOf(url), fault, 'never');
      try {
        const response = await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
          body: JSON.stringify(body),
          redirect: 'manual',
          signal: AbortSignal.timeout(timeoutSeconds * 1000),
        });
        await response.body?.cancel();
        return { status: response.status };
      } catch (error) {
        if (isLate(error)) throw refused(nameOf(url), `it did not answer within ${timeoutSeconds} seconds`, 'never');
        throw refused(nameOf(url), causeOf(error), 'later');
      }
    },
  };
}

function addressFault(url: string, allowLoopback: boolean): string | undefined {
  if (!URL.canParse(url)) return 'its address is no URL';
  const { protocol, hostname, username, password } = new URL(url);
  const isLoopback = ['127.0.0.1', 'localhost', '[::1]'].includes(hostname);
  const isCalled = protocol === 'https:' || (allowLoopback && isLoopback && protocol === 'http:');
  if (!isCalled) return 'only https addresses are called';
  return username === '' && password === '' ? undefined : 'its address holds credentials (user:password@)';
}

/** What an address may be called in an error: nothing that lets a caller in. */
const nameOf = (url: string): string => (URL.canParse(url) ? new URL(url).origin : 'the webhook');

/** Ours, and the limits that fetch has by itself: in each case the receiver has the call. */
function isLate(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = error.cause instanceof Error && 'code' in error.cause ? error.cause.code : undefined;
  return error.name === 'TimeoutError' || code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT';
}

/** fetch hides what happened in the cause; its own message may hold the whole address. */
const causeOf = (error: unknown): string =>
  error instanceof Error && error.cause instanceof Error ? error.cause.message : 'the call could not be made';

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
