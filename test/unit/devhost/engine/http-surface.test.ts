import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { OrchestrationContext } from 'durable-functions';
import { EngineHarness } from '../../../support/durable/engine-harness.js';
import { azureFunctions, df } from '../../../support/durable/function-app.js';
import { serveWebhooks } from '../../../support/durable/webhook-server.js';

df.app.activity('shout', { handler: (text: string) => text.toUpperCase() });
df.app.orchestration('asks', function* (context: OrchestrationContext) {
  context.df.setCustomStatus('asking');
  const answer: unknown = yield context.df.waitForExternalEvent('answer');
  const shouted: unknown = yield context.df.callActivity('shout', String(answer));
  return { input: context.df.getInput(), shouted };
});
df.app.orchestration('fails', function* () {
  yield* [];
  throw new Error('always');
});

let harness: EngineHarness;
let server: Awaited<ReturnType<typeof serveWebhooks>>;
before(async () => {
  harness = await EngineHarness.started();
  server = await serveWebhooks(() => harness.engine);
  process.env.WEBSITE_HOSTNAME = new URL(server.origin).host;
});
after(async () => {
  await server.close();
  await harness.engine.stop();
});

/** The library's own client, with the binding that the engine gives it. */
function client() {
  const input = df.input.durableClient();
  const context = new azureFunctions.InvocationContext({
    functionName: 'f',
    invocationId: 'i',
    logHandler: () => undefined,
    options: { extraInputs: [input] },
  });
  context.extraInputs.set(input, JSON.parse(harness.engine.clientBinding(server.origin)));
  return df.getClient(context);
}

test('the real durable client starts, signals, suspends, follows, purges and queries', async () => {
  const real = client();
  const id = await real.startNew('asks', { instanceId: 'real one', input: { n: 1 } });
  assert.equal(id, 'real one');
  await assert.rejects(real.startNew('asks', { instanceId: 'real one' }), /409/);
  await real.suspend('real one', 'hold on');
  assert.equal((await real.getStatus('real one')).runtimeStatus, 'Suspended');
  await real.resume('real one', 'go on');
  await real.raiseEvent('real one', 'answer', 'hello');
  await harness.finished('real one');
  const status = await real.getStatus('real one', { showInput: true });
  assert.deepEqual([status.runtimeStatus, status.output], ['Completed', { input: { n: 1 }, shouted: 'HELLO' }]);
  assert.deepEqual(status.input, { n: 1 });
  await assert.rejects(real.getStatus('nobody'), /404/);
  await assert.rejects(real.raiseEvent('nobody', 'answer', 1), /No instance/);
  await assert.rejects(real.startNew('nothing'), /doesn't exist/);
  for (let n = 0; n < 7; n++) await real.startNew('asks', { instanceId: `many-${n}` });
  await real.terminate('many-3', 'enough');
  await harness.finished('many-3');
  const running = await real.getStatusBy({ runtimeStatus: [df.OrchestrationRuntimeStatus.Running] });
  assert.deepEqual(
    running.map(({ instanceId }) => instanceId).sort(),
    [0, 1, 2, 4, 5, 6].map((n) => `many-${n}`),
  );
  assert.equal((await real.purgeInstanceHistory('many-3')).instancesDeleted, 1);
  assert.equal((await real.purgeInstanceHistory('many-3')).instancesDeleted, 0);
  const failed = await real.startNew('fails');
  await harness.finished(failed);
  await real.rewind(failed, 'again');
  await assert.rejects(real.rewind('many-1', 'not failed'), /only supported on failed/);
});

test('a start without input gives an empty text, as the real client and host do', async () => {
  const id = await client().startNew('asks', { instanceId: 'no input' });
  await harness.raise(id, 'answer', 'x');
  assert.deepEqual(((await harness.output(id)) as { input: unknown }).input, '');
});

test('statuses are paged, and the client follows the pages', async () => {
  const first = await harness.request('GET', 'instances/?instanceIdPrefix=many-&top=2&showInput=false');
  const token = first.headers['x-ms-continuation-token'] ?? '';
  assert.equal((JSON.parse(first.body) as unknown[]).length, 2);
  const second = await harness.request('GET', 'instances/?instanceIdPrefix=many-&top=2', undefined, {
    'x-ms-continuation-token': token,
  });
  const ids = [first, second].flatMap(({ body }) =>
    (JSON.parse(body) as { instanceId: string }[]).map((each) => each.instanceId),
  );
  assert.equal(new Set(ids).size, 4);
});

test('create-and-wait answers with the output, the failure, or the way to follow', async () => {
  const slow = await harness.request('POST', 'orchestrators/asks/waiting?timeout=0.05&pollingInterval=1', 'null');
  assert.equal(slow.status, 202);
  assert.match(slow.headers.location ?? '', /instances\/waiting/);
  const failed = await harness.request('POST', 'orchestrators/fails?timeout=5', 'null');
  assert.equal(failed.status, 500);
});

test('the status has the shape and codes of the real host', async () => {
  const id = await harness.start('asks', { n: 2 }, 'shape');
  const running = await harness.request('GET', `instances/${id}`);
  assert.equal(running.status, 202);
  assert.equal(running.headers['retry-after'], '5');
  await harness.raise(id, 'answer', 'a');
  await harness.finished(id);
  const done = await harness.request('GET', `instances/${id}?showHistory=true&showHistoryOutput=true&showInput=false`);
  assert.equal(done.status, 200);
  const status = JSON.parse(done.body) as Record<string, unknown>;
  assert.deepEqual(Object.keys(status), [
    'name',
    'instanceId',
    'runtimeStatus',
    'input',
    'customStatus',
    'output',
    'createdTime',
    'lastUpdatedTime',
    'historyEvents',
  ]);
  assert.match(String(status.createdTime), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  assert.deepEqual([status.input, status.customStatus], [null, 'asking']);
  const history = status.historyEvents as Record<string, unknown>[];
  assert.deepEqual(
    history.map(({ EventType }) => EventType),
    ['ExecutionStarted', 'EventRaised', 'TaskCompleted', 'ExecutionCompleted'],
  );
  assert.deepEqual(Object.keys(history[2] ?? {}).sort(), [
    'EventType',
    'FunctionName',
    'Result',
    'ScheduledTime',
    'Timestamp',
  ]);
  assert.deepEqual([history[2]?.FunctionName, history[2]?.Result], ['shout', 'A']);
  assert.equal(history[3]?.OrchestrationStatus, 'Completed');
  const failed = await harness.start('fails');
  await harness.finished(failed);
  assert.equal((await harness.request('GET', `instances/${failed}`)).status, 200);
  const asError = await harness.request('GET', `instances/${failed}?returnInternalServerErrorOnFailure=true`);
  assert.equal(asError.status, 500);
});

test('bad requests are refused, each with a reason', async () => {
  const refused: [string, string, string | undefined, Record<string, string> | undefined, number][] = [
    ['POST', 'orchestrators/asks/%40x', 'null', undefined, 400],
    ['POST', 'orchestrators/asks/a%2Fb', 'null', undefined, 400],
    ['POST', 'orchestrators/asks/a%23b', 'null', undefined, 400],
    ['POST', 'orchestrators/asks/a%07b', 'null', undefined, 400],
    ['POST', `orchestrators/asks/${'x'.repeat(257)}`, 'null', undefined, 400],
    ['POST', 'orchestrators/asks/%E0%A4%A', 'null', undefined, 400],
    ['POST', 'orchestrators/asks', '{not json', undefined, 400],
    ['POST', 'orchestrators/asks?timeout=soon', 'null', undefined, 400],
    ['POST', 'orchestrators/shout', 'null', undefined, 400],
    ['POST', 'instances/waiting/raiseEvent/answer', '', undefined, 400],
    ['POST', 'instances/waiting/raiseEvent/answer', '1', { 'content-type': 'text/plain' }, 400],
    ['POST', 'instances/waiting/explode', undefined, undefined, 404],
    ['GET', 'instances/?runtimeStatus=Asleep', undefined, undefined, 400],
    ['GET', 'instances/?createdTimeFrom=yesterday', undefined, undefined, 400],
    ['GET', 'nowhere', undefined, undefined, 404],
    ['PUT', 'entities/a/b', undefined, undefined, 405],
  ];
  for (const [method, path, body, headers, status] of refused) {
    const answer = await harness.request(method, path, body, headers);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.status} ${answer.body}`);
    assert.ok((JSON.parse(answer.body) as { Message: string }).Message.length > 5);
  }
});
