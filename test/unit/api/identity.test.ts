import assert from 'node:assert/strict';
import { test } from 'node:test';
import { operations } from '../../../functions/arm/operations.js';
import { fullPath } from '../../../functions/arm/router.js';
import { entraAuthenticator, roles, type Role } from '../../../functions/http/authentication.js';
import { RateLimiter, type Rate, type RateLimits } from '../../../functions/http/rate-limit.js';
import { Harness, TestRelay, vaultPath } from '../../support/api/harness.js';

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

const sameRate = (rate: Rate): RateLimits => {
  const limiter = () => new RateLimiter({ reads: rate, writes: rate });
  return { operators: limiter(), relays: limiter(), registrations: limiter() };
};

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
  Object.assign(harness.app, { rateLimits: sameRate(rate) });
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
  Object.assign(harness.app, { rateLimits: sameRate(rate) });
  let takenCount = 0;
  for (let call = 0; call < 100; call++) {
    harness.systemNow = harness.systemNow.add({ milliseconds: 250 });
    const headers = { authorization: 'Bearer ann!Understudy.Reader' };
    if ((await harness.arm('GET', '/subscriptions', undefined, headers)).status === 200) takenCount++;
  }
  assert.equal(takenCount, 3 + 12);
});

test('whoever tries to register in a loop is told when to come again, by the address that the front end saw', async () => {
  const harness = new Harness();
  await harness.putVault();
  Object.assign(harness.app, { rateLimits: sameRate({ burst: 3, perSecond: 0.5 }) });
  const tryToRegister = (forwardedFor: string, secret = 'a guess') =>
    new TestRelay(harness).register(secret, { 'x-forwarded-for': forwardedFor });
  for (let call = 0; call < 3; call++)
    assert.equal((await tryToRegister(`10.0.0.${call}, 203.0.113.7:4711`)).status, 403);
  const readsBefore = harness.sharedTable.faults.calls.length;
  const refused = await tryToRegister('10.0.0.9, 203.0.113.7:4712');
  assert.deepEqual([refused.status, refused.headers?.['Retry-After']], [429, '2']);
  assert.equal((refused.body as { error: { code: string } }).error.code, 'US1034');
  assert.equal(harness.sharedTable.faults.calls.length, readsBefore, 'a refusal costs no storage call');
  const { secret } = await harness.drawKey();
  assert.equal((await tryToRegister('203.0.113.8:99', secret)).status, 200);
});

test('a relay that runs wild is told when to come again, and others and strangers spend nothing of it', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  const other = new TestRelay(harness, { ...relay.inventory, vmmServerId: '7e000000-0000-4000-8000-000000000002' });
  await other.register((await harness.drawKey()).secret);
  Object.assign(harness.app, { rateLimits: sameRate({ burst: 3, perSecond: 0.5 }) });
  const ask = (of: TestRelay) => of.call('GET', '/relay/v1/assignments');
  const stranger = new TestRelay(harness);
  stranger.relayId = relay.relayId;
  for (let call = 0; call < 5; call++) assert.equal((await ask(stranger)).status, 401);
  for (let call = 0; call < 3; call++) assert.equal((await ask(relay)).status, 200);
  const refused = await ask(relay);
  assert.deepEqual([refused.status, refused.headers?.['Retry-After']], [429, '2']);
  assert.equal((await ask(other)).status, 200);
  harness.systemNow = harness.systemNow.add({ seconds: 2 });
  assert.equal((await ask(relay)).status, 200);
});
