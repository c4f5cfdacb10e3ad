import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { checkApp, type CheckedApp } from '../../../devhost/conformance/static-checks.js';
import type { RegisteredFunction, TriggerKind } from '../../../devhost/contract.js';
import { buildRouteTable } from '../../../devhost/http/route-table.js';
import { readHostJson } from '../../../devhost/settings/host-json.js';

let appFolder = '';
before(() => {
  appFolder = mkdtempSync(join(tmpdir(), 'understudy-checks-'));
});
after(() => rmSync(appFolder, { recursive: true }));

const goodHostJson = {
  version: '2.0',
  extensionBundle: { id: 'Microsoft.Azure.Functions.ExtensionBundle', version: '[4.*, 5.0.0)' },
  extensions: { http: { routePrefix: '' }, durableTask: { hubName: 'Understudy' } },
};

function registered(name: string, trigger: TriggerKind = 'http', settings: object = {}): RegisteredFunction {
  const triggerBinding = { type: `${trigger}Trigger`, name: 't', direction: 'in' as const, ...settings };
  return { name, trigger, triggerBinding, durableClientBindings: [] };
}

function findings(functions: RegisteredFunction[], hostJson: object = goodHostJson, packageJson: object = {}) {
  writeFileSync(join(appFolder, 'host.json'), JSON.stringify(hostJson));
  writeFileSync(join(appFolder, 'package.json'), JSON.stringify({ name: 'checked', ...packageJson }));
  const settings = readHostJson(appFolder);
  const app: CheckedApp = { appFolder, settings, functions, routes: buildRouteTable(functions, settings.routePrefix) };
  return checkApp(app).map(({ point, severity }) => `${point} ${severity}`);
}

test('a sound app has no findings', () => {
  assert.deepEqual(
    findings([
      registered('chain', 'orchestration'),
      registered('start', 'http', { route: 'start', authLevel: 'anonymous' }),
    ]),
    [],
  );
});

test('illegal and reserved function names are errors', () => {
  for (const name of ['1st', 'host', 'HOST', 'with space', '@entity', 'a'.repeat(129), '']) {
    assert.deepEqual(findings([registered(name, 'activity')]), ['C1 error'], name);
  }
});

test('a wrong version or bundle in host.json is an error', () => {
  const chain = [registered('chain', 'orchestration')];
  assert.deepEqual(findings(chain, { ...goodHostJson, version: '1.0' }), ['C2 error']);
  assert.deepEqual(findings(chain, { ...goodHostJson, extensionBundle: undefined }), ['C2 error']);
  const old = { id: 'Microsoft.Azure.Functions.ExtensionBundle', version: '[3.*, 4.0.0)' };
  assert.deepEqual(findings(chain, { ...goodHostJson, extensionBundle: old }), ['C2 error']);
  assert.deepEqual(findings([registered('plain')], { ...goodHostJson, extensionBundle: undefined }), []);
});

test('a missing dependency and a second copy of @azure/functions are errors', () => {
  const put = (path: string) => {
    mkdirSync(join(appFolder, path), { recursive: true });
    writeFileSync(join(appFolder, path, 'package.json'), '{}');
  };
  const dependencies = { '@azure/functions': '4', 'durable-functions': '3' };
  assert.deepEqual(findings([], goodHostJson, { dependencies }), ['C4 error', 'C4 error']);
  put('node_modules/@azure/functions');
  put('node_modules/durable-functions');
  assert.deepEqual(findings([], goodHostJson, { dependencies }), []);
  put('node_modules/durable-functions/node_modules/@azure/functions');
  assert.deepEqual(findings([], goodHostJson, { dependencies }), ['C4 error']);
  rmSync(join(appFolder, 'node_modules'), { recursive: true });
});

test('colliding and reserved routes are errors, and keys are warned of', () => {
  const route = (name: string, text: string, more: object = {}) => registered(name, 'http', { route: text, ...more });
  assert.deepEqual(findings([route('a', 'x/{id}'), route('b', 'x/{name}')]), ['C5 error']);
  assert.deepEqual(findings([route('a', 'x', { methods: ['GET'] }), route('b', 'x', { methods: ['PUT'] })]), []);
  assert.deepEqual(findings([route('a', 'Admin/{id}'), route('b', 'runtime')]), ['C5 error', 'C5 error']);
  assert.deepEqual(findings([route('a', 'x', { authLevel: 'function' })]), ['C5 warning']);
});

test('an illegal hub name is an error', () => {
  for (const hubName of ['a1', '1hub', 'my-hub', 'x'.repeat(46)]) {
    const extensions = { durableTask: { hubName } };
    assert.deepEqual(findings([], { ...goodHostJson, extensions }), ['C6 error'], hubName);
  }
});

test('runOnStartup is warned of', () => {
  assert.deepEqual(findings([registered('sweep', 'timer', { runOnStartup: true })]), ['C26 warning']);
});
