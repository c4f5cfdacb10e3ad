import { createHash, randomBytes, sign, type KeyObject } from 'node:crypto';
import { textToSign } from '../core/domain/relay-protocol/wire.js';

/** A clock that was set back by no more than the app's allowance for skew. */
const setBackMaxMilliseconds = 5 * 60_000;

/** When each key last signed: Unix milliseconds. */
const lastSigned = new WeakMap<KeyObject, number>();

/**
 * System time, never business time: the app compares it with its own clock. It does not go back by the little that a clock is
 * corrected by, since the app takes nothing that was signed before what it took last.
 */
function signingTime(privateKey: KeyObject): Date {
  const now = Date.now();
  const last = lastSigned.get(privateKey) ?? now;
  const time = last > now && last - now <= setBackMaxMilliseconds ? last : now;
  lastSigned.set(privateKey, time);
  return new Date(time);
}

/** Headers that prove who sent this request, when, and that it was not sent before. */
export function signatureHeaders(
  signer: { relayId: string; privateKey: KeyObject },
  request: { method: string; target: string; body: string },
): Record<string, string> {
  const date = signingTime(signer.privateKey).toISOString();
  const nonce = randomBytes(16).toString('hex');
  const bodySha256Hex = createHash('sha256').update(request.body).digest('hex');
  const text = textToSign({ method: request.method, target: request.target, date, nonce, bodySha256Hex });
  return {
    'x-understudy-relay': signer.relayId,
    'x-understudy-date': date,
    'x-understudy-nonce': nonce,
    'x-understudy-signature': sign(null, Buffer.from(text), signer.privateKey).toString('base64'),
  };
}
