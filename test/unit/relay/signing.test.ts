import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { signatureHeaders } from '../../../relay/signing.js';

test('a clock that is set back a little does not sign as if before; one that was far ahead is believed when it is right', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-01-05T10:04:00Z') });
  const signer = { relayId: 'r', privateKey: generateKeyPairSync('ed25519').privateKey };
  const signedAt = (now: string): string | undefined => {
    t.mock.timers.setTime(Date.parse(now));
    return signatureHeaders(signer, { method: 'GET', target: '/', body: '' })['x-understudy-date'];
  };
  assert.equal(signedAt('2026-01-05T10:04:00Z'), '2026-01-05T10:04:00.000Z');
  assert.equal(signedAt('2026-01-05T10:00:00Z'), '2026-01-05T10:04:00.000Z');
  assert.equal(signedAt('2026-01-05T10:04:01Z'), '2026-01-05T10:04:01.000Z');
  assert.equal(signedAt('2026-01-05T12:00:00Z'), '2026-01-05T12:00:00.000Z');
  assert.equal(signedAt('2026-01-05T10:05:00Z'), '2026-01-05T10:05:00.000Z');
});
