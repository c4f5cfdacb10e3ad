import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toHttpAnswer, toRpcHttpRequest } from '../../../devhost/http/conversion.js';
import { globExpression } from '../../../devhost/worker/glob.js';
import { parseInvocationResponse } from '../../../devhost/worker/typed-data.js';
import { parseModes } from '../../../devhost/settings/modes.js';
import { parseTimeSpanMs } from '../../../devhost/settings/time-span.js';

test('a request becomes the trigger input that the library reads', () => {
  const url = new URL('http://localhost:7071/items/7?tag=a&tag=b&empty=');
  const headers = { 'content-type': 'text/plain', 'set-cookie': ['a=1', 'b=2'] };
  assert.deepEqual(toRpcHttpRequest({ method: 'PUT', headers }, url, { id: '7' }, Buffer.from('x')), {
    http: {
      method: 'PUT',
      url: 'http://localhost:7071/items/7?tag=a&tag=b&empty=',
      nullableHeaders: { 'content-type': { value: 'text/plain' }, 'set-cookie': { value: 'a=1,b=2' } },
      nullableQuery: { tag: { value: 'a,b' }, empty: { value: '' } },
      nullableParams: { id: { value: '7' } },
      body: { bytes: Buffer.from('x') },
    },
  });
});

test('responses carry status, headers, cookies and bytes', () => {
  const http = {
    statusCode: '201',
    headers: { location: '/x' },
    cookies: [
      { name: 'a', value: '1', path: { value: '/p' }, secure: { value: true }, sameSite: 'lax', maxAge: { value: 5 } },
      { name: 'b', value: '2 3', expires: { value: { seconds: 0 } }, httpOnly: { value: true } },
    ],
    body: { bytes: new Uint8Array([0, 255]) },
  };
  assert.deepEqual(toHttpAnswer({ kind: 'returned', returnValue: { http }, outputData: [] }), {
    status: 201,
    headers: {
      location: '/x',
      'set-cookie': [
        'a=1; max-age=5; path=/p; secure; samesite=lax',
        'b=2%203; expires=Thu, 01 Jan 1970 00:00:00 GMT; path=/; httponly',
      ],
    },
    body: Buffer.from([0, 255]),
  });
});

test('nothing is 204, an error or an impossible status is 500 without a body', () => {
  const nothing = Buffer.alloc(0);
  assert.deepEqual(toHttpAnswer({ kind: 'returned', returnValue: undefined, outputData: [] }), {
    status: 204,
    headers: {},
    body: nothing,
  });
  assert.equal(toHttpAnswer({ kind: 'threw', error: new Error('no') }).status, 500);
  const impossible = { http: { statusCode: '42', headers: {}, body: null } };
  assert.equal(toHttpAnswer({ kind: 'returned', returnValue: impossible, outputData: [] }).status, 500);
});

test('C15: numbers that are none become null', () => {
  for (const returnValue of [{ double: Number.NaN }, { double: Infinity }, { int: Number.NaN }]) {
    assert.deepEqual(parseInvocationResponse({ returnValue }).returnValue, {});
  }
  assert.deepEqual(parseInvocationResponse({ returnValue: { int: 3 } }).returnValue, { int: 3 });
  assert.deepEqual(parseInvocationResponse({ returnValue: { json: undefined } }).returnValue, {});
  assert.deepEqual(parseInvocationResponse({ returnValue: null, outputData: null }), {
    returnValue: undefined,
    outputData: [],
  });
  assert.throws(() => parseInvocationResponse({ returnValue: { string: 5 } }));
});

test('globs of package.json find what globby finds', () => {
  const files = ['main.js', 'dist/main.js', 'dist/functions/a.js', 'dist/functions/deep/b.js', 'dist/functions/c.mjs'];
  const cases: [string, string[]][] = [
    ['dist/main.js', ['dist/main.js']],
    ['*.js', ['main.js']],
    ['dist/functions/*.js', ['dist/functions/a.js']],
    ['dist/functions/**/*.js', ['dist/functions/a.js', 'dist/functions/deep/b.js']],
    ['dist/{main,functions/*}.{js,mjs}', ['dist/main.js', 'dist/functions/a.js', 'dist/functions/c.mjs']],
    ['dist/functions/?.js', ['dist/functions/a.js']],
    ['dist.main.js', []],
  ];
  for (const [pattern, expected] of cases) {
    assert.deepEqual(
      files.filter((file) => globExpression(pattern).test(file)),
      expected,
      pattern,
    );
  }
});

test('modes and time spans are read, and what is neither is refused', () => {
  assert.deepEqual(parseModes('strictTypes, killAfterTurns=7'), {
    strictTypes: true,
    activitiesTwice: false,
    replayEachTurn: false,
    killAfterTurns: 7,
  });
  assert.throws(() => parseModes('strict'), /unknown mode 'strict'/);
  assert.equal(parseTimeSpanMs('00:10:00'), 600_000);
  assert.equal(parseTimeSpanMs('1.02:03:04.5'), 93_784_500);
  assert.equal(parseTimeSpanMs('00:60:00'), undefined);
  assert.equal(parseTimeSpanMs('ten minutes'), undefined);
});
