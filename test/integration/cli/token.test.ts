import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

// The command line as its own process, against a listener that keeps what it was sent.

const seen: { url: string; authorization: string | undefined }[] = [];
const item = {
  id: '/replicationFabrics/f/replicationProtectionContainers/c/replicationProtectedItems/i',
  name: 'i',
  properties: { friendlyName: 'sql-01', providerSpecificDetails: { instanceType: 'HyperVReplicaAzure' } },
};
const answer = (request: IncomingMessage, response: ServerResponse): void => {
  seen.push({ url: request.url ?? '', authorization: request.headers.authorization });
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ value: [item], paused: true }));
};
const overTls = createHttpsServer(
  { cert: readFileSync('test/support/tls/cert.pem'), key: readFileSync('test/support/tls/key.pem') },
  answer,
);
const plain = createHttpServer(answer);
const portOf = (server: Server): number => (server.address() as AddressInfo).port;

before(async () => {
  for (const server of [overTls, plain])
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
});
after(() => {
  overTls.close();
  plain.close();
});

async function run(endpoint: string, ...command: string[]) {
  seen.length = 0;
  await promisify(execFile)(process.execPath, ['dist/cli/main.js', '--endpoint', endpoint, ...command], {
    env: { ...process.env, UNDERSTUDY_TOKEN: 'the-token', NODE_EXTRA_CA_CERTS: 'test/support/tls/ca.pem' },
  });
  return [...seen];
}

test('the token of the environment goes with every call over https, the SDK’s and the others', async () => {
  const endpoint = `https://127.0.0.1:${portOf(overTls)}`;
  const calls = await run(endpoint, 'pause', '--item', 'sql-01');
  assert.deepEqual(
    calls.map((call) => [new URL(call.url, endpoint).pathname.split('/')[1], call.authorization]),
    [
      ['subscriptions', 'Bearer the-token'],
      ['understudy', 'Bearer the-token'],
    ],
  );
});

test('over http no token leaves', async () => {
  const calls = await run(`http://127.0.0.1:${portOf(plain)}`, 'items');
  assert.ok(calls.length > 0);
  for (const call of calls) assert.equal(call.authorization, undefined, call.url);
});
