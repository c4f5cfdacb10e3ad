import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { UnderstudyError } from '../../../core/domain/errors.js';
import {
  identityForKey,
  privateKeyOf,
  publicKeyOf,
  readRegisteredIdentity,
  saveIdentity,
} from '../../../relay/identity.js';
import { parseRegistrationKey } from '../../../relay/registration-key.js';

const now = new Date('2024-03-01T00:00:00Z');
const keyObject = {
  endpoint: 'http://127.0.0.1:7071/',
  vaultId: '/subscriptions/s/vaults/v',
  secret: 'very-secret',
  expiresAt: '2024-03-05T00:00:00Z',
};
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof UnderstudyError);
  assert.equal(error.code, expected);
  assert.ok(!error.message.includes('very-secret'));
  return true;
};
async function identityFile(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-relay-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return join(folder, 'relay', 'identity.json');
}

test('a registration key is read, blanks around it and the slash behind the endpoint aside', () => {
  const key = parseRegistrationKey('key.txt', `  ${encode(keyObject)}\n`, now);
  assert.deepEqual(key, { ...keyObject, endpoint: 'http://127.0.0.1:7071' });
});

test('a garbled, cut or empty key is refused by a code, without quoting it', () => {
  const { secret: _, ...noSecret } = keyObject;
  const bad = [
    '',
    'ümlaut',
    encode(keyObject).slice(0, 50),
    encode('text'),
    encode(noSecret),
    encode({ ...keyObject, endpoint: 'ftp://x' }),
  ];
  for (const text of bad) assert.throws(() => parseRegistrationKey('key.txt', text, now), code('US5100'), text);
});

test('an expired key is refused, to the second', () => {
  assert.throws(() => parseRegistrationKey('k', encode(keyObject), new Date('2024-03-05T00:00:00Z')), code('US5101'));
  parseRegistrationKey('k', encode(keyObject), new Date('2024-03-04T23:59:59Z'));
});

test('the key pair is on disk, for its owner only, before anything is registered', async (t) => {
  const file = await identityFile(t);
  const identity = await identityForKey(file, keyObject, { replace: false });
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.ok(!(await readFile(file, 'utf8')).includes(keyObject.secret));
  const publicKey = publicKeyOf(privateKeyOf(identity, file));
  const parsed = createPublicKey({ key: Buffer.from(publicKey, 'base64'), type: 'spki', format: 'der' });
  assert.equal(parsed.asymmetricKeyType, 'ed25519');
  await assert.rejects(readRegisteredIdentity(file), code('US5102'));
});

test('the same key gives the same key pair again, another key only after it is asked to replace', async (t) => {
  const file = await identityFile(t);
  const first = await identityForKey(file, keyObject, { replace: false });
  await saveIdentity(file, { ...first, registered: { relayId: 'r', fabricName: 'f', registeredAt: 'then' } });
  const again = await identityForKey(file, keyObject, { replace: false });
  assert.equal(again.privateKey, first.privateKey);
  assert.equal((await readRegisteredIdentity(file)).registered.relayId, 'r');
  const other = { ...keyObject, secret: 'another' };
  await assert.rejects(identityForKey(file, other, { replace: false }), code('US5106'));
  const replaced = await identityForKey(file, other, { replace: true });
  assert.notEqual(replaced.privateKey, first.privateKey);
});

test('a damaged identity file is named, and never written over', async (t) => {
  const file = await identityFile(t);
  await identityForKey(file, keyObject, { replace: false });
  await writeFile(file, '{"version":1');
  await assert.rejects(identityForKey(file, keyObject, { replace: false }), code('US5103'));
  assert.equal(await readFile(file, 'utf8'), '{"version":1');
});
