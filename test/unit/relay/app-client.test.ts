import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, verify } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { textToSign } from '../../../core/domain/relay-protocol/wire.js';
import { openAppClient } from '../../../relay/app-client.js';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
type Answer = { status: number; body: unknown };

/** A server that answers by script, the last answer for ever, and keeps what it was asked. */
async function scriptedApp(t: TestContext, answers: Answer[]) {
  const requests: { request: IncomingMessage; body: string }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      requests.push({ request, body: Buffer.concat(chunks).toString() });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      response.writeHead(answer?.status ?? 500, { 'content-type': 'application/json', connection: 'close' });
      response.end(typeof answer?.body === 'string' ? answer.body : JSON.stringify(answer?.body ?? {}));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { client: openAppClient(endpoint, { relayId: 'relay-1', privateKey }), requests };
}
const report = { protectionId: 'p', epoch: 1, reason: 'hostCrash', message: 'm', at: '2024-03-01T00:00:00Z' };
const refusal = (code: string) => ({
  error: { code, message: 'because', recommendedAction: 'do this', details: { x: 1 } },
});
const failure = async (work: Promise<unknown>): Promise<UnderstudyError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof UnderstudyError);
  return error;
};

test('every request is signed over method, path with query, body, date and nonce', async (t) => {
  const { client, requests } = await scriptedApp(t, [
    { status: 200, body: { version: 'v', assignments: [], commands: [] } },
  ]);
  await client.assignments('a b', 0);
  await client.reportResyncRequired('item/1', report).catch(() => undefined);
  assert.equal(requests[0]?.request.url, '/relay/v1/assignments?waitSeconds=0&version=a+b');
  assert.equal(requests[1]?.request.url, '/relay/v1/items/item%2F1/resyncRequired');
  const nonces = new Set<string>();
  for (const { request, body } of requests) {
    const header = (name: string) => String(request.headers[`x-understudy-${name}`]);
    assert.equal(header('relay'), 'relay-1');
    nonces.add(header('nonce'));
    const text = textToSign({
      method: request.method ?? '',
      target: request.url ?? '',
      date: header('date'),
      nonce: header('nonce'),
      bodySha256Hex: createHash('sha256').update(body).digest('hex'),
    });
    assert.ok(verify(null, Buffer.from(text), publicKey, Buffer.from(header('signature'), 'base64')));
  }
  assert.equal(nonces.size, 2);
});

test("the app's refusal keeps its code, evidence and advice, and is not repeated", async (t) => {
  const { client, requests } = await scriptedApp(t, [{ status: 409, body: refusal('US3001') }]);
  const error = await failure(client.reportResyncRequired('i', report));
  assert.deepEqual([error.code, error.httpStatus, error.retry, error.details.x], ['US3001', 409, 'later', 1]);
  assert.equal(error.recommendedAction, 'do this');
  assert.equal(requests.length, 1);
});

test('a signature that is not trusted is unrecoverable', async (t) => {
  const { client } = await scriptedApp(t, [{ status: 401, body: refusal('US1100') }]);
  const error = await failure(client.reportResyncRequired('i', report));
  assert.deepEqual([error.code, error.retry], ['US5111', 'never']);
});

test('a passing failure is repeated inside one attempt, each time signed anew', async (t) => {
  const { client, requests } = await scriptedApp(t, [
    { status: 503, body: 'gateway' },
    { status: 500, body: refusal('US1999') },
    { status: 200, body: {} },
  ]);
  await client.reportResyncRequired('i', report);
  assert.equal(new Set(requests.map(({ request }) => request.headers['x-understudy-nonce'])).size, 3);
});

test('an app that does not answer is a recoverable failure that says why', async () => {
  const client = openAppClient('http://127.0.0.1:9', { relayId: 'r', privateKey });
  const error = await failure(client.assignments(undefined, 0));
  assert.deepEqual([error.code, error.retry], ['US5110', 'later']);
  assert.match(error.message, /127\.0\.0\.1:9 .*(bad port|ECONNREFUSED)/);
});

test('an answer of another shape is named as such', async (t) => {
  const { client } = await scriptedApp(t, [{ status: 200, body: { version: 3, assignments: [], commands: [] } }]);
  const error = await failure(client.assignments(undefined, 0));
  assert.equal(error.code, 'US5112');
  assert.match(error.message, /version/);
});
