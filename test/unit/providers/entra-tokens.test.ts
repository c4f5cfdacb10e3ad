import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey } from 'jose';
import type { TokenVerifier } from '../../../core/ports/token-verifier.js';
import { openEntraTokens } from '../../../providers/entra/token-verifier.js';

const tenantId = '11111111-2222-4333-8444-555555555555';
const audience = 'api://understudy';

interface Directory {
  authority: string;
  tokens: TokenVerifier;
  lookups: () => number;
  /** The directory has this key, and no other. */
  rotate: (kid: string) => Promise<CryptoKey>;
}

/** A directory of one tenant on loopback: its key set, by the address that Entra has it at. */
async function withDirectory(scene: (directory: Directory) => Promise<void>): Promise<void> {
  let keys: object[] = [];
  let lookups = 0;
  const server = createServer((request, response) => {
    if (request.url !== `/${tenantId}/discovery/v2.0/keys`) return void response.writeHead(404).end();
    lookups++;
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const authority = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await scene({
      authority,
      tokens: openEntraTokens({ tenantId, audiences: [audience, 'client-id'], authority }),
      lookups: () => lookups,
      rotate: async (kid) => {
        const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
        keys = [{ ...(await exportJWK(publicKey)), kid, use: 'sig', alg: 'RS256' }];
        return privateKey;
      },
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

interface Claims {
  issuer: string;
  audience?: string;
  tid?: string;
  roles?: string[];
  expiresInSeconds?: number;
  notBeforeSeconds?: number;
}

async function tokenOf(key: CryptoKey, kid: string, claims: Claims): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const { tid = tenantId, roles = ['Understudy.Reader'], expiresInSeconds = 3600, notBeforeSeconds = 0 } = claims;
  return new SignJWT({ tid, roles, oid: 'object-1', preferred_username: 'ann@example.net' })
    .setProtectedHeader({ alg: 'RS256', kid })
    .setIssuer(claims.issuer)
    .setAudience(claims.audience ?? audience)
    .setIssuedAt(now)
    .setNotBefore(now + notBeforeSeconds)
    .setExpirationTime(now + expiresInSeconds)
    .sign(key);
}

const refused = (found: RegExp) => (error: unknown) => {
  assert(error instanceof Error && 'code' in error && 'httpStatus' in error);
  assert.deepEqual([error.code, error.httpStatus], ['US1009', 401], error.message);
  assert.match(error.message, found);
  return true;
};

test('tokens of both versions are taken, with the roles and the name that they carry', async () => {
  await withDirectory(async ({ authority, tokens, rotate, lookups }) => {
    const key = await rotate('one');
    for (const [issuer, forAudience] of [
      [`${authority}/${tenantId}/v2.0`, 'client-id'],
      [`https://sts.windows.net/${tenantId}/`, audience],
    ] as const) {
      const token = await tokenOf(key, 'one', { issuer, audience: forAudience, roles: ['Understudy.Operator'] });
      assert.deepEqual(await tokens.verify(token), {
        name: 'ann@example.net',
        objectId: 'object-1',
        roles: ['Understudy.Operator'],
      });
    }
    assert.equal(lookups(), 1, 'the keys are kept');
  });
});

test('whatever is wrong with a token refuses it, and no error holds it', async () => {
  await withDirectory(async ({ authority, tokens, rotate }) => {
    const key = await rotate('one');
    const issuer = `${authority}/${tenantId}/v2.0`;
    const { privateKey: stranger } = await generateKeyPair('RS256');
    const cases: [string, RegExp][] = [
      [await tokenOf(key, 'one', { issuer: `${authority}/common/v2.0` }), /claim iss/],
      [await tokenOf(key, 'one', { issuer, audience: 'api://another' }), /claim aud/],
      [await tokenOf(key, 'one', { issuer, tid: '99999999-2222-4333-8444-555555555555' }), /another tenant/],
      [await tokenOf(key, 'one', { issuer, expiresInSeconds: -600 }), /expired/],
      [await tokenOf(key, 'one', { issuer, notBeforeSeconds: 900 }), /claim nbf/],
      [await tokenOf(stranger, 'one', { issuer }), /signature is wrong/],
      [await tokenOf(key, 'two', { issuer }), /no key of the id/],
      [
        new UnsecuredJWT({ tid: tenantId }).setIssuer(issuer).setAudience(audience).encode(),
        /no token that this app takes/,
      ],
      ['not.a.token', /no token that this app takes/],
      ['x', /no token that this app takes/],
    ];
    for (const [token, found] of cases) {
      await assert.rejects(tokens.verify(token), (error) => {
        assert.ok(!String(error).includes(token) || token === 'x');
        return refused(found)(error);
      });
    }
  });
});

test('keys rotate: one that is not known is looked for, at most each half minute', async (t) => {
  await withDirectory(async ({ authority, tokens, rotate, lookups }) => {
    const issuer = `${authority}/${tenantId}/v2.0`;
    const first = await rotate('one');
    await tokens.verify(await tokenOf(first, 'one', { issuer }));
    const second = await rotate('two');
    await assert.rejects(tokens.verify(await tokenOf(second, 'two', { issuer })), refused(/no key of the id/));
    assert.equal(lookups(), 1);
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 31_000 });
    await tokens.verify(await tokenOf(second, 'two', { issuer }));
    assert.equal(lookups(), 2);
    await assert.rejects(tokens.verify(await tokenOf(first, 'one', { issuer })), refused(/no key of the id/));
  });
});

test('a directory that does not answer is no reason to let anybody in, and none to send him away for good', async () => {
  const tokens = openEntraTokens({ tenantId, audiences: [audience], authority: 'http://127.0.0.1:1' });
  const { privateKey } = await generateKeyPair('RS256');
  const token = await tokenOf(privateKey, 'one', { issuer: `http://127.0.0.1:1/${tenantId}/v2.0` });
  await assert.rejects(tokens.verify(token), { code: 'US1033', httpStatus: 503, retry: 'later' });
});
