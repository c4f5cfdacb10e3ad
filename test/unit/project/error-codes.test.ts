import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const sourceFolders = ['core', 'orchestrators', 'activities', 'functions', 'providers', 'relay', 'scripts', 'cli'];
const code = /\bUS\d{4}\b/g;

function codesInSources(): Map<string, string> {
  const found = new Map<string, string>();
  for (const folder of sourceFolders) {
    for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue;
      const path = join(folder, name);
      for (const match of readFileSync(path, 'utf8').matchAll(code)) found.set(match[0], path);
    }
  }
  return found;
}

const documented = new Set(
  [...readFileSync('docs/errors.md', 'utf8').matchAll(/^(?:- )?\*\*(US\d{4})\*\*/gm)].map((match) => match[1]),
);

test('every error code in the sources has a paragraph in docs/errors.md', () => {
  const codes = codesInSources();
  assert.ok(codes.size > 10, `found only ${codes.size} codes: the search is broken`);
  const missing = [...codes].filter(([found]) => !documented.has(found)).map(([found, path]) => `${found} (${path})`);
  assert.deepEqual(missing, []);
});

test('docs/errors.md describes no code that the sources do not have', () => {
  const codes = codesInSources();
  assert.deepEqual(
    [...documented].filter((entry) => entry !== undefined && !codes.has(entry)),
    [],
  );
});

test('docs/errors.md has one paragraph a code', () => {
  const all = [...readFileSync('docs/errors.md', 'utf8').matchAll(/^(?:- )?\*\*(US\d{4})\*\*/gm)].map(
    (match) => match[1],
  );
  assert.deepEqual(
    all.filter((entry, index) => all.indexOf(entry) !== index),
    [],
  );
});
