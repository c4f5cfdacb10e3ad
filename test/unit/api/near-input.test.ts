import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { protectionStates } from '../../../core/domain/protected-item/state-table.js';
import { operations } from '../../../functions/arm/operations.js';
import { ask, pathOf, populatedVault } from '../../support/api/request-examples.js';

/** Runs for each operation; more by the environment, for a long look. */
const runs = Number(process.env.UNDERSTUDY_PROPERTY_RUNS ?? 8);

const odd = [
  'null',
  '""',
  '"\\u0000"',
  '"\\ud800"',
  '"../../x"',
  `"${'x'.repeat(70_000)}"`,
  '-1',
  '1e308',
  '0.5',
  'true',
  '[]',
  '{}',
  '[null]',
  '{"__proto__":{"polluted":true},"constructor":{"prototype":{}}}',
  `${'['.repeat(3000)}${']'.repeat(3000)}`,
  '"/subscriptions/x"',
  '"2026-02-30T25:00:00Z"',
];
const oddNames = [
  '%2F',
  '%00',
  '%ED%A0%80',
  '%zz',
  '%',
  '..',
  '%2e%2e',
  'x'.repeat(2000),
  '%F0%9F%92%BE',
  '__proto__',
  "'",
  '%23%3F',
];

type Place = (string | number)[];
/** Places of all values within, the whole first. */
const placesIn = (value: unknown, place: Place = []): Place[] => [
  place,
  ...(typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, entry]) => placesIn(entry, [...place, key]))
    : []),
];

/** JSON of the value with another text in one place; `undefined` leaves the place out. */
function changed(value: unknown, place: Place, text: string | undefined): string | undefined {
  const [first, ...rest] = place;
  if (first === undefined) return text;
  const write = (key: string, entry: unknown): string | undefined =>
    key === String(first) ? changed(entry, rest, text) : JSON.stringify(entry);
  if (Array.isArray(value)) {
    return `[${value.flatMap((entry, index) => write(String(index), entry) ?? []).join(',')}]`;
  }
  const entries = Object.entries(value as object).flatMap(([key, entry]) => {
    const written = write(key, entry);
    return written === undefined ? [] : `${JSON.stringify(key)}:${written}`;
  });
  return `{${entries.join(',')}}`;
}

test('every example is a request that its operation takes, or refuses for the state of things alone', async () => {
  for (const operation of operations) {
    const vault = await populatedVault();
    const { status, body } = await ask(vault, operation);
    const what = `${operation.name}: ${status} ${JSON.stringify(body)}`;
    assert.ok(status < 500, what);
    if (operation.request !== undefined) assert.ok([200, 201, 202, 204, 404, 409].includes(status), what);
  }
});

/** What is made by its name, listed by a part of a name, or gone already, is no unknown. */
const takesUnknown = new Set([
  'operations.list subscriptionId',
  'operations.list resourceGroupName',
  'vaults.listBySubscription subscriptionId',
  'vaults.listByResourceGroup subscriptionId',
  'vaults.listByResourceGroup resourceGroupName',
  'vaults.createOrUpdate vault',
  'vaults.delete vault',
  'replicationFabrics.beginCreate fabricName',
  'replicationPolicies.beginCreate policyName',
  'replicationProtectionContainerMappings.beginCreate mappingName',
  'replicationNetworkMappings.beginCreate networkMappingName',
  'replicationProtectedItems.beginCreate replicatedProtectedItemName',
  'replicationRecoveryPlans.beginCreate recoveryPlanName',
  'understudy.exports.delete exportId',
]);

test('an unknown name in a path is answered with 404, at each place of each operation', async () => {
  let asked = 0;
  for (const operation of operations) {
    const parameters = [...operation.path.matchAll(/\{\*?([^}]+)\}/g)].map(([, found = '']) => found);
    for (const parameter of [...parameters, ...(operation.path.startsWith('~') ? ['vault'] : [])]) {
      if (takesUnknown.has(`${operation.name} ${parameter}`)) continue;
      const vault = await populatedVault();
      const known = pathOf(vault, operation, { [parameter]: 'unknown' });
      const path = parameter === 'vault' ? known.replace('/vaults/local', '/vaults/unknown') : known;
      const { status, body } = await vault.harness.arm(operation.method, path, vault.bodies[operation.name]);
      const { error } = body as { error?: { code: string; message: string } };
      assert.deepEqual([status, error?.message !== ''], [404, true], `${path}: ${JSON.stringify(body)}`);
      asked++;
    }
  }
  assert.ok(asked > 200, `${asked} asked`);
});

test('a body of a wrong shape is answered with 400 and the place in it, by each operation that takes one', async () => {
  const vault = await populatedVault();
  for (const operation of operations.filter(({ request }) => request !== undefined)) {
    for (const [body, place] of [
      ['[]', '$'],
      ['{', '$'],
      [
        JSON.stringify(Object.fromEntries(Object.keys(vault.bodies[operation.name] as object).map((key) => [key, 5]))),
        '$.',
      ],
    ] as const) {
      const { status, body: answer } = await vault.harness.arm(operation.method, pathOf(vault, operation), body);
      const { target = '' } = (answer as { error?: { target?: string } }).error ?? {};
      assert.deepEqual(
        [status, target.startsWith(place)],
        [400, true],
        `${operation.name} ${body}: ${JSON.stringify(answer)}`,
      );
    }
  }
});

for (const operation of operations) {
  test(`${operation.name}: a request that is nearly right never ends in a 500, and changes nothing where it is refused`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...protectionStates),
        fc.nat(),
        fc.option(fc.constantFrom(...odd), { nil: undefined }),
        fc.option(fc.constantFrom(...oddNames), { nil: undefined, freq: 2 }),
        async (state, at, text, name) => {
          const vault = await populatedVault({ state });
          const example = vault.bodies[operation.name];
          const places = placesIn(example);
          const body = example === undefined ? undefined : changed(example, places[at % places.length] ?? [], text);
          const parameters = [...operation.path.matchAll(/\{\*?([^}]+)\}/g)].map(([, found = '']) => found);
          const parameter = parameters[at % Math.max(1, parameters.length)];
          const path = pathOf(
            vault,
            operation,
            name !== undefined && parameter !== undefined ? { [parameter]: name } : {},
          );
          const before = vault.harness.content();
          const answer = await vault.harness.arm(operation.method, path, body);
          const what = `${path} ${body?.slice(0, 500)}: ${JSON.stringify(answer.body)}`;
          assert.ok(answer.status < 500, what);
          if (answer.status >= 400) assert.equal(vault.harness.content(), before, what);
          assert.equal(({} as { polluted?: unknown }).polluted, undefined);
        },
      ),
      { numRuns: runs },
    );
  });
}
