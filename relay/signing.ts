import { createHash, randomBytes, sign, type KeyObject } from 'node:crypto';
import { textToSign } from '../core/domain/relay-protocol/wire.js';

/** Headers that prove who sent this request, when, and that it was not sent before. */
export function signatureHeaders(
  signer: { relayId: string; privateKey: KeyObject },
  request: { method: string; target: string; body: string },
): Record<string, string> {
  // System time, never business time: the app compares it with its own clock.
  const date = new Date().toISOString();
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
