import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { apiReference } from '../../../functions/arm/api-reference.js';

test('docs/api.md is what the operations table says', () => {
  assert.equal(readFileSync('docs/api.md', 'utf8'), apiReference(), 'run npm run docs');
});
