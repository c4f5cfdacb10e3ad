import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RegisteredFunction } from '../../../devhost/contract.js';
import { buildRouteTable, findCollisions, findRoute } from '../../../devhost/http/route-table.js';
import { matchRoute, parseRouteTemplate } from '../../../devhost/http/route-template.js';

const http = (name: string, route: string | undefined, methods: string[] = ['GET']): RegisteredFunction => ({
  name,
  trigger: 'http',
  triggerBinding: { type: 'httpTrigger', name: 'req', direction: 'in', route, methods },
  durableClientBindings: [],
});

const matches: [template: string, path: string, params: Record<string, string> | undefined][] = [
  ['', '/', {}],
  ['', '/x', undefined],
  ['vaults/{name}', '/vaults/local', { name: 'local' }],
  ['vaults/{name}', '/VAULTS/Local/', { name: 'Local' }],
  ['vaults/{name}', '/vaults', undefined],
  ['vaults/{name}', '/vaults//', undefined],
  ['vaults/{name}', '/vaults/a/b', undefined],
  ['vaults/{name}/{id?}', '/vaults/a', { name: 'a' }],
  ['vaults/{name}/{id?}', '/vaults/a/7', { name: 'a', id: '7' }],
  ['vaults/{name=local}', '/vaults', { name: 'local' }],
  ['items/{id:int}', '/items/42', { id: '42' }],
  ['items/{id:int}', '/items/x', undefined],
  ['items/{id:int?}', '/items', {}],
  ['items/{id:guid}', '/items/6F9619FF-8B86-D011-B42D-00C04FC964FF', { id: '6F9619FF-8B86-D011-B42D-00C04FC964FF' }],
  ['items/{id:min(3):max(5)}', '/items/6', undefined],
  ['items/{id:length(2,3)}', '/items/abc', { id: 'abc' }],
  ['items/{id:regex(^\\d{{3}}$)}', '/items/123', { id: '123' }],
  ['items/{id:regex(^\\d{{3}}$)}', '/items/1234', undefined],
  ['files/{*path}', '/files/a/b/c', { path: 'a/b/c' }],
  ['files/{*path}', '/files', {}],
  ['files/{**path}', '/files/a%20b/c', { path: 'a b/c' }],
  ['files/{name}.{extension?}', '/files/report.txt', { name: 'report', extension: 'txt' }],
  ['files/{name}.{extension?}', '/files/report', { name: 'report' }],
  ['a-{x}-b', '/a-1-b', { x: '1' }],
  ['names/{name}', '/names/a%2Fb', { name: 'a%2Fb' }],
  ['names/{name}', '/names/%C3%A4', { name: 'ä' }],
  ['names/{name}', '/names/%zz', undefined],
];

for (const [template, path, params] of matches) {
  test(`route '${template}' and path '${path}'`, () => {
    assert.deepEqual(matchRoute(parseRouteTemplate(template), path), params);
  });
}

test('routes that ASP.NET refuses are refused', () => {
  for (const bad of ['a/{x', 'a/{x}{y}', 'a/{*rest}/b', 'a/{x}/{X}', 'a//b', 'a/{x:nosuch}', 'a/b?c', 'a/{x?}.y']) {
    assert.throws(() => parseRouteTemplate(bad), /route/, bad);
  }
});

test('literal segments win over constrained parameters, these over parameters, these over catch-alls', () => {
  const routes = buildRouteTable(
    [
      http('rest', 'x/{*rest}'),
      http('parameter', 'x/{name}'),
      http('integer', 'x/{id:int}'),
      http('literal', 'x/fixed'),
      http('longer', 'x/{name}/tail'),
    ],
    '',
  );
  const answering = (path: string) => findRoute(routes, 'GET', path)?.route.function.name;
  assert.equal(answering('/x/fixed'), 'literal');
  assert.equal(answering('/x/42'), 'integer');
  assert.equal(answering('/x/y'), 'parameter');
  assert.equal(answering('/x/y/tail'), 'longer');
  assert.equal(answering('/x/y/z'), 'rest');
  assert.equal(answering('/y'), undefined);
});

test('methods choose between functions of one route, and an unknown method is not found', () => {
  const routes = buildRouteTable([http('get', 'x', ['GET']), http('put', 'x', ['put'])], 'api');
  assert.equal(findRoute(routes, 'PUT', '/api/x')?.route.function.name, 'put');
  assert.equal(findRoute(routes, 'DELETE', '/api/x'), undefined);
  assert.equal(findRoute(routes, 'GET', '/x'), undefined);
});

test('a function without a route answers under its name', () => {
  const routes = buildRouteTable([http('Health', undefined)], '');
  assert.equal(findRoute(routes, 'GET', '/health')?.route.function.name, 'Health');
});

test('routes of one shape and a common method collide', () => {
  const collisions = findCollisions(
    buildRouteTable(
      [http('a', 'x/{id}'), http('b', 'X/{name}'), http('c', 'x/{id}', ['POST']), http('d', 'x/{n:int}')],
      '',
    ),
  );
  assert.deepEqual(
    collisions.map((pair) => pair.map((route) => route.function.name).sort()),
    [['a', 'b']],
  );
});
