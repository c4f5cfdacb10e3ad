import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { UnderstudyError } from '../../../../core/domain/errors.js';
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
const refused =
  (found: RegExp, retry: 'later' | 'never' | undefined = undefined) =>
  (error: unknown) =>
    error instanceof UnderstudyError &&
    error.code === 'US6070' &&
    found.test(error.message) &&
    (retry === undefined || error.retry === retry) &&
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
  await assert.rejects(webhooks.post('http://127.0.0.1:1/hook?token=secret', {}, once), refused(/could not be called/));
});

const failing = (cause?: Error) => async () => {
  throw new TypeError('fetch failed for https://192.0.2.1/hook?token=secret', cause && { cause });
};
const coded = (code: string, message: string): Error => Object.assign(new Error(message), { code });

test('an answer that fetch itself stops waiting for is late and not asked for again', async (t) => {
  for (const code of ['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']) {
    t.mock.method(globalThis, 'fetch', failing(coded(code, 'Timeout Error')));
    const late = refused(/did not answer within 5 seconds/, 'never');
    await assert.rejects(webhooks.post('https://192.0.2.1/hook?token=secret', {}, once), late);
    t.mock.reset();
  }
});

test('a call that could not be made is tried again, and told by its cause alone', async (t) => {
  const url = 'https://192.0.2.1/hook?token=secret';
  t.mock.method(globalThis, 'fetch', failing(coded('UND_ERR_CONNECT_TIMEOUT', 'Connect Timeout Error')));
  await assert.rejects(webhooks.post(url, {}, once), refused(/called: Connect Timeout Error$/, 'later'));
  t.mock.reset();
  t.mock.method(globalThis, 'fetch', failing());
  await assert.rejects(webhooks.post(url, {}, once), refused(/called: the call could not be made$/, 'later'));
});

test('an address with credentials is not called, and its fault does not tell them', async () => {
  for (const url of ['https://user:secret@192.0.2.1/', 'https://secret@192.0.2.1/', 'https://:secret@192.0.2.1/']) {
    await assert.rejects(webhooks.post(url, {}, once), refused(/192\.0\.2\.1 .*holds credentials/, 'never'));
    assert.match(webhooks.faultOf(url) ?? '', /^its address holds credentials/);
  }
  assert.equal(webhooks.faultOf('https://192.0.2.1/hook?token=secret'), undefined);
});
