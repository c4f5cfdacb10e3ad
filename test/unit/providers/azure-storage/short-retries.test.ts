import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { openBlobTransfer } from '../../../../providers/azure-storage/blob-transfer.js';
import { pauseMilliseconds, shortRetries } from '../../../../providers/azure-storage/short-retries.js';

type Request = Parameters<ReturnType<ReturnType<typeof shortRetries>['create']>['sendRequest']>[0];

/** Calls a service that answers with these errors, and then well; gives its tries and the pauses between them. */
async function callThrough(errors: readonly object[], request: Partial<Request> = {}) {
  const pauses: number[] = [];
  let tries = 0;
  const factory = shortRetries(async (milliseconds) => void pauses.push(milliseconds));
  const sendRequest = async (): Promise<never> => {
    const error = errors[tries++];
    if (error !== undefined) throw Object.assign(new Error('failed'), error);
    return {} as never;
  };
  const policy = factory.create({ sendRequest }, undefined as never);
  const failure: unknown = await policy.sendRequest(request as Request).then(
    () => undefined,
    (error: unknown) => error,
  );
  return { tries, pauses, failure };
}

test('pauses between tries are longer each time, and spread so that callers do not come back in step', async () => {
  const busy = { statusCode: 503 };
  const seen = await Promise.all(Array.from({ length: 50 }, () => callThrough([busy, busy, busy])));
  for (const [index, most] of [100, 200, 400].entries()) {
    const pauses = seen.map((each) => each.pauses[index] ?? Number.NaN);
    assert.ok(pauses.every((pause) => pause >= 0 && pause < most));
    assert.ok(new Set(pauses).size > 40, 'no two alike');
    assert.deepEqual(
      [0, 0.5].map((random) => pauseMilliseconds(index + 1, random)),
      [0, most / 2],
    );
  }
  assert.ok(seen.every(({ tries, failure }) => tries === 4 && failure === undefined));
});

test('what may pass is tried four times, what was refused once, and the last error leaves as it came', async () => {
  const reset = { code: 'ECONNRESET' };
  const passing = await callThrough([reset, { statusCode: 500 }, reset, { statusCode: 503, code: 'ServerBusy' }]);
  assert.equal(passing.tries, 4);
  assert.equal(Reflect.get(passing.failure as Error, 'code'), 'ServerBusy');
  for (const refused of [{ statusCode: 403 }, { statusCode: 404 }, { statusCode: 412 }, {}]) {
    const { tries, failure } = await callThrough([refused]);
    assert.deepEqual([tries, failure instanceof Error], [1, true]);
  }
});

test('a call that is no longer wanted is not tried again', async () => {
  const { tries } = await callThrough([{ name: 'AbortError' }], { abortSignal: AbortSignal.abort() });
  assert.equal(tries, 1);
});

async function startService(t: TestContext, answers: readonly number[]) {
  let tries = 0;
  const server = createServer((_, response) => {
    response.writeHead(answers[tries++] ?? 206, { etag: '"0x1"', 'content-length': '0' }).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/account/container/blob`, tries: () => tries };
}

test('transfers try by these rules alone: four times in all, and a busy service is US6020 as ever', async (t) => {
  const busy = await startService(t, [503, 500, 503, 503, 503]);
  await assert.rejects(openBlobTransfer().readRange(busy.url, 0, 10), { code: 'US6020', retry: 'later' });
  assert.equal(busy.tries(), 4);
  const refused = await startService(t, [403]);
  await assert.rejects(openBlobTransfer().readRange(refused.url, 0, 10), { code: 'US6021' });
  assert.equal(refused.tries(), 1);
});
