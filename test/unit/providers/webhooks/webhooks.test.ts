import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { openWebhooks } from '../../../../providers/webhooks/webhooks.js';

async function withServer(
  answer: (request: IncomingMessage, body: string, response: ServerResponse) => void,
  scene: (url: string) => Promise<void>,
): Promise<void> {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => (body += piece.toString()));
    request.on('end', () => {
      answer(request, body, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await scene(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?token=secret`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const webhooks = openWebhooks({ allowLoopback: true });
const once = { timeoutSeconds: 5, idempotencyKey: 'job/action' };
const refused = (found: RegExp) => (error: unknown) =>
  error instanceof Error &&
  'code' in error &&
  error.code === 'US6070' &&
  found.test(error.message) &&
  !error.message.includes('secret');

test('a webhook gets JSON with its key, and its status comes back; redirects are not followed', async () => {
  const seen: string[] = [];
  await withServer(
    (request, body, response) => {
      seen.push(`${request.method} ${request.headers['idempotency-key'] as string} ${body}`);
      response.writeHead(seen.length === 1 ? 202 : 302, { location: 'http://127.0.0.1:1/' }).end();
    },
    async (url) => {
      assert.deepEqual(await webhooks.post(url, { a: 1 }, once), { status: 202 });
      assert.deepEqual(await webhooks.post(url, { a: 2 }, once), { status: 302 });
      assert.deepEqual(seen, ['POST job/action {"a":1}', 'POST job/action {"a":2}']);
    },
  );
});

test('no answer in time, and addresses that are not to be called, are refused without the address’s secret', async () => {
  await withServer(
    () => undefined,
    async (url) => {
      await assert.rejects(
        webhooks.post(url, {}, { ...once, timeoutSeconds: 1 }),
        refused(/did not answer within 1 seconds/),
      );
      await assert.rejects(openWebhooks({ allowLoopback: false }).post(url, {}, once), refused(/only https/));
    },
  );
  await assert.rejects(webhooks.post('http://10.0.0.1/hook?token=secret', {}, once), refused(/only https/));
  await assert.rejects(webhooks.post('file:///etc/passwd', {}, once), refused(/only https/));
  await assert.rejects(webhooks.post('no address', {}, once), refused(/no URL/));
  const withPassword = 'https://operator:secret@127.0.0.1:1/hook';
  assert.match(webhooks.refusalOf(withPassword) ?? '', /user name or a password/);
  await assert.rejects(webhooks.post(withPassword, {}, once), refused(/user name or a password/));
  await assert.rejects(webhooks.post('http://127.0.0.1:1/hook?token=secret', {}, once), refused(/could not be called/));
});

test('a receiver that fetch itself gives up on is late, and is not called again', async (t) => {
  for (const code of ['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']) {
    const cause = Object.assign(new Error('Headers Timeout Error'), { code });
    t.mock.method(globalThis, 'fetch', () => Promise.reject(new TypeError('fetch failed', { cause })));
    await assert.rejects(webhooks.post('https://example.net/hook?token=secret', {}, once), {
      code: 'US6070',
      retry: 'never',
    });
  }
  t.mock.method(globalThis, 'fetch', () =>
    Promise.reject(new TypeError('bad address https://example.net?token=secret')),
  );
  await assert.rejects(webhooks.post('https://example.net/hook?token=secret', {}, once), refused(/the call failed/));
});
