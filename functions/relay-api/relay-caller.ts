import { createHash, createPublicKey, verify } from 'node:crypto';
import { Temporal } from 'temporal-polyfill';
import { z } from 'zod';
import { asRelayId } from '../../core/domain/ids.js';
import { textToSign } from '../../core/domain/relay-protocol/wire.js';
import { read } from '../../core/records/access.js';
import { rows, type RegisteredRelay, type Signed } from '../../core/records/rows.js';
import type { App } from '../app.js';
import { ApiError } from '../http/api-error.js';
import type { ApiRequest } from '../http/exchange.js';

/** How far a relay's clock may be off, and so how long a signed request could be repeated by someone who saw it. */
export const clockSkewMaxSeconds = 5 * 60;

const signatureHeaders = z.object({
  relayId: z.string().min(1).max(64),
  date: z.iso.datetime({ offset: true }),
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  signature: z.base64().min(1),
});

const refused = (code: string, message: string, possibleCauses: string, recommendedAction: string): ApiError =>
  new ApiError({ code, httpStatus: 401, message, possibleCauses, recommendedAction });

/**
 * Nonces seen within the time in which a signature is good. It lives in one process: an app on several workers could take a
 * repeated request once on each, and once more after a restart. That changes no row (docs/identity.md; a test repeats every call).
 */
export class NonceCache {
  private readonly seen = new Map<string, number>();

  /** False when the nonce was seen before. */
  admit(nonce: string, nowMilliseconds: number): boolean {
    const forgetBefore = nowMilliseconds - 2 * clockSkewMaxSeconds * 1000;
    // Insertion order is time order: the oldest come first.
    for (const [old, at] of this.seen) {
      if (at >= forgetBefore) break;
      this.seen.delete(old);
    }
    if (this.seen.has(nonce)) return false;
    this.seen.set(nonce, nowMilliseconds);
    return true;
  }
}

/** Who signed the request and when, or a refusal with 401. */
export async function relayCaller(
  app: App,
  nonces: NonceCache,
  request: ApiRequest,
): Promise<{ relay: RegisteredRelay; signed: Signed }> {
  const headers = signatureHeaders.safeParse({
    relayId: request.headers.get('x-understudy-relay'),
    date: request.headers.get('x-understudy-date'),
    nonce: request.headers.get('x-understudy-nonce'),
    signature: request.headers.get('x-understudy-signature'),
  });
  if (!headers.success) {
    throw refused(
      'US1100',
      'the request is not signed as the relay protocol asks',
      'The caller is not a relay, or a proxy drops the x-understudy- headers.',
      'Call with the four x-understudy- headers of docs/api.md.',
    );
  }
  const { relayId, date, nonce, signature } = headers.data;
  const now = app.systemNow();
  const skewSeconds = now.since(Temporal.Instant.from(date)).total('seconds');
  if (Math.abs(skewSeconds) > clockSkewMaxSeconds) {
    throw refused(
      'US1101',
      `the request was signed at ${date}, ${Math.round(Math.abs(skewSeconds))} s ${skewSeconds > 0 ? 'before' : 'after'} this app's time ${now.toString()}; at most ${clockSkewMaxSeconds} s are taken`,
      "The clock of the relay's machine is wrong.",
      'Synchronize the clock of the machine that the relay runs on.',
    );
  }
  const relay = await read(app.table, rows.relay(asRelayId(relayId)));
  if (relay === undefined) {
    throw refused(
      'US1103',
      `no relay ${relayId} is registered`,
      'The relay was registered with another app, or another relay was registered for the same VMM server since.',
      'Register the relay anew with a fresh registration key.',
    );
  }
  const text = textToSign({
    method: request.method,
    target: request.url.pathname + request.url.search,
    date,
    nonce,
    bodySha256Hex: createHash('sha256').update(request.body).digest('hex'),
  });
  const key = createPublicKey({ key: Buffer.from(relay.value.publicKey, 'base64'), format: 'der', type: 'spki' });
  if (!verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64'))) {
    throw refused(
      'US1100',
      `the signature of relay ${relayId} does not fit the request`,
      "The relay's identity file is another one, or a proxy changed the path or the body on the way.",
      'Register the relay anew; make sure that proxies leave its requests as they are.',
    );
  }
  // Only after the signature: a stranger must not be able to use up the relay's nonces.
  if (!nonces.admit(`${relayId} ${nonce}`, now.epochMilliseconds)) {
    throw refused(
      'US1102',
      'this signed request was received before',
      'A proxy sent it twice, or someone repeats what they saw.',
      'Sign each attempt anew.',
    );
  }
  return { relay: relay.value, signed: { at: date, nonce } };
}
