import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { operations } from '../../../functions/arm/operations.js';
import { fullPath } from '../../../functions/arm/router.js';
import { relayOperations } from '../../../functions/relay-api/relay-router.js';
import { Harness, vaultPath } from '../../support/api/harness.js';

const names = fc.oneof(
  fc.constantFrom('local', 'default', 'sql-01', '50000000-0000-4000-8000-000000000001', 'x'.repeat(300), '..', '%'),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
);
const bodies = fc.oneof(
  fc.json(),
  fc.string(),
  fc.constant(''),
  fc
    .anything({ withNullPrototype: false })
    .map((value) => JSON.stringify({ properties: value, vaultId: vaultPath, recoveryPointId: value }) ?? ''),
);

test('whatever is thrown at any ARM operation gets an answer below 500, and a refusal changes no row', async () => {
  const harness = new Harness();
  await harness.registeredRelay();
  assert.match(harness.content(), /registration/, 'the rows are seen');
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...operations),
      fc.array(names, { minLength: 12, maxLength: 12 }),
      fc.boolean(),
      bodies,
      fc.string(),
      async (operation, values, inVault, body, filter) => {
        let index = 0;
        const template =
          inVault && operation.path.startsWith('~') ? operation.path.replace('~', vaultPath) : fullPath(operation);
        const path = template.replaceAll(/\{[^}]+\}/g, () =>
          encodeURIComponent(values[index++] ?? 'x').replaceAll('.', '%2E'),
        );
        const before = harness.content();
        const answer = await harness.arm(
          operation.method,
          `${path}?api-version=1&$filter=${encodeURIComponent(filter)}&$take=${encodeURIComponent(filter)}`,
          body,
        );
        assert(answer.status < 500, `${operation.name}: ${JSON.stringify(answer.body)}`);
        if (answer.status >= 400) assert.equal(harness.content(), before, operation.name);
      },
    ),
    { numRuns: 400 },
  );
});

test('whatever a registered relay sends gets an answer below 500, and a refusal changes no row', async () => {
  const harness = new Harness();
  const relay = await harness.registeredRelay();
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...relayOperations), names, bodies, async (operation, id, body) => {
      const path = `/relay/v1${operation.path.replace('{id}', encodeURIComponent(id).replaceAll('.', '%2E'))}`;
      const before = harness.content();
      const answer = await harness.relay(relay.signed(operation.method, path, body));
      assert(answer.status < 500, `${operation.path}: ${JSON.stringify(answer.body)}`);
      if (answer.status >= 400) assert.equal(harness.content(), before, operation.path);
    }),
    { numRuns: 200 },
  );
});
