import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

interface LockFile {
  packages: Record<
    string,
    { version?: string; hasInstallScript?: boolean; engines?: Record<string, string> | string[] }
  >;
}
interface PackageFile {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}

const lockFile = JSON.parse(readFileSync('package-lock.json', 'utf8')) as LockFile;
const packageFile = JSON.parse(readFileSync('package.json', 'utf8')) as PackageFile;

/** Packages that may run a script at install, each with the reason. There are none, and there should be none. */
const installScriptsAllowed: Record<string, string> = {};

test('no dependency runs a script at install', () => {
  const offenders = Object.entries(lockFile.packages)
    .filter(([path, entry]) => entry.hasInstallScript === true && !(path in installScriptsAllowed))
    .map(([path]) => path);
  assert.deepEqual(offenders, []);
  assert.ok(Object.keys(lockFile.packages).length > 100, 'the lock file was read');
});

test('there is one copy of @azure/functions, so that every function registers in the same library', () => {
  const copies = Object.keys(lockFile.packages).filter((path) => path.endsWith('node_modules/@azure/functions'));
  assert.deepEqual(copies, ['node_modules/@azure/functions']);
});

test('every direct dependency has a sentence in docs/dependencies.md', () => {
  const text = readFileSync('docs/dependencies.md', 'utf8');
  const missing = Object.keys({ ...packageFile.dependencies, ...packageFile.devDependencies }).filter(
    (name) => !text.includes(`\`${name}\``),
  );
  assert.deepEqual(missing, []);
});

test('every direct dependency is pinned to one version', () => {
  const loose = Object.entries({ ...packageFile.dependencies, ...packageFile.devDependencies }).filter(
    ([, version]) => !/^\d+\.\d+\.\d+/.test(version),
  );
  assert.deepEqual(loose, []);
});
