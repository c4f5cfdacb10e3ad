import assert from 'node:assert/strict';
import { test } from 'node:test';
import { operations } from '../../../functions/arm/operations.js';
import { fullPath } from '../../../functions/arm/router.js';
import { entraAuthenticator, roles, type Role } from '../../../functions/http/authentication.js';
import { RateLimiter } from '../../../functions/http/rate-limit.js';
import { Harness, vaultPath } from '../../support/api/harness.js';

const appRoles: Record<Role, string> = {
  reader: 'Understudy.Reader',
  operator: 'Understudy.Operator',
  contributor: 'Understudy.Contributor',
};

/** Tokens are what they say: `name role,role`. */
function guarded(): Harness {
  const harness = new Harness();
  const authenticator = entraAuthenticator({
    verify: async (token) => {
      const [name = '', list = ''] = token.split('!');
      return { name, objectId: name, roles: list.split(',') };
    },
  });
  Object.assign(harness.app, { authenticator });
  return harness;
}

const pathOf = (path: string): string => path.replaceAll(/\{\*?[^}]+\}/g, 'x').replace(/^(?=\/understudy)/, '');

test('every operation asks for a token, and for its role', async () => {
  const harness = guarded();
  let asked = 0;
  for (const operation of operations) {
    const path = pathOf(operation.path.startsWith('~') ? operation.path.replace('~', vaultPath) : fullPath(operation));
    const ask = async (headers: Record<string, string>) => {
      const answer = await harness.arm(operation.method, path, {}, headers);
      return [
        answer.status,
        (answer.body as { error?: { details?: { code: string }[] } } | undefined)?.error?.details?.[0]?.code,
      ];
    };
    assert.deepEqual(await ask({}), [401, 'US1009'], operation.name);
    assert.deepEqual(await ask({ authorization: 'Basic YTpi' }), [401, 'US1009'], operation.name);
    assert.deepEqual(await ask({ authorization: 'Bearer eve!Other.Role' }), [403, 'US1010'], operation.name);
    for (const role of roles) {
      const [status, code] = await ask({ authorization: `Bearer ann!${appRoles[role]}` });
      const isEnough = roles.indexOf(role) >= roles.indexOf(operation.role);
      if (isEnough) assert.notEqual(code, 'US1010', `${operation.name} as ${role}`);
      else assert.deepEqual([status, code], [403, 'US1010'], `${operation.name} as ${role}`);
      asked++;
    }
  }
  assert.ok(asked > 300);
});

test('who has several roles has the highest; a refusal says that a bearer token is asked for', async () => {
  const harness = guarded();
  const put = (roleNames: string) =>
    harness.arm('PUT', vaultPath, { location: 'x' }, { authorization: `Bearer ann!${roleNames}` });
  assert.equal((await put('Understudy.Reader')).status, 403);
  assert.equal((await put('Understudy.Reader,Understudy.Contributor')).status, 201);
  const unknown = await harness.arm('GET', vaultPath);
  assert.deepEqual([unknown.status, unknown.headers?.['WWW-Authenticate']], [401, 'Bearer']);
});

test('a caller that runs wild is told when to come again, and keeps nobody else out', async () => {
  const harness = guarded();
  const rate = { burst: 3, perSecond: 0.5 };
  Object.assign(harness.app, { rateLimiter: new RateLimiter({ reads: rate, writes: rate }) });
  const get = (name: string) =>
    harness.arm('GET', '/subscriptions', undefined, { authorization: `Bearer ${name}!Understudy.Reader` });
  for (let call = 0; call < 3; call++) assert.equal((await get('ann')).status, 200);
  const refused = await get('ann');
  assert.deepEqual([refused.status, refused.headers?.['Retry-After']], [429, '2']);
  assert.equal((await get('bob')).status, 200);
  harness.systemNow = harness.systemNow.add({ seconds: 2 });
  assert.equal((await get('ann')).status, 200);
  assert.equal((await get('ann')).status, 429);
});

test('a caller that asks faster than the rate, and never waits, is taken at the rate', async () => {
  const harness = guarded();
  const rate = { burst: 3, perSecond: 0.5 };
  Object.assign(harness.app, { rateLimiter: new RateLimiter({ reads: rate, writes: rate }) });
  let takenCount = 0;
  for (let call = 0; call < 100; call++) {
    harness.systemNow = harness.systemNow.add({ milliseconds: 250 });
    const headers = { authorization: 'Bearer ann!Understudy.Reader' };
    if ((await harness.arm('GET', '/subscriptions', undefined, headers)).status === 200) takenCount++;
  }
  assert.equal(takenCount, 3 + 12);
});
