/** A small app for the tests of devhost: what it registers is what the tests ask for. */
import { appendFileSync } from 'node:fs';
import { app, type HttpResponseInit } from '@azure/functions';
import * as df from 'durable-functions';

const seen = (line: string) => {
  const file = process.env.FIXTURE_LOG;
  if (file !== undefined) appendFileSync(file, `${line}\n`);
};

app.hook.appStart(() => seen('appStart'));
app.hook.appTerminate(() => seen('appTerminate'));
app.hook.preInvocation((context) => {
  context.hookData.startedAt = 'before';
});
app.hook.postInvocation((context) => {
  if (context.invocationContext.functionName === 'hooked')
    context.result = { body: String(context.hookData.startedAt) };
});

app.http('hooked', { route: 'hooked', handler: () => ({ body: 'not me' }) });
app.http('echo', {
  methods: ['GET', 'POST', 'PUT'],
  route: 'echo/{name}/{id:int?}',
  handler: async (request) => ({
    status: 201,
    headers: { 'x-method': request.method },
    cookies: [{ name: 'seen', value: 'yes', httpOnly: true }],
    jsonBody: {
      url: request.url,
      params: request.params,
      query: Object.fromEntries(request.query),
      header: request.headers.get('x-given'),
      body: Buffer.from(await request.arrayBuffer()).toString('base64'),
    },
  }),
});
app.http('echoLiteral', { methods: ['GET'], route: 'echo/literal/1', handler: () => ({ body: 'literal' }) });
app.http('rest', { methods: ['GET'], route: 'files/{*path}', handler: (request) => ({ jsonBody: request.params }) });
app.http('throws', {
  route: 'throws',
  handler: () => {
    throw new Error('the function says no');
  },
});
app.http('nothing', {
  route: 'nothing',
  // JavaScript handlers may return nothing; the types do not say so.
  handler: () => undefined as unknown as HttpResponseInit,
});
app.http('bytes', { route: 'bytes', handler: () => ({ body: new Uint8Array([0, 255, 10, 13]) }) });
app.http('slow', {
  route: 'slow/{ms}',
  handler: async (request) => {
    seen('slow began');
    await new Promise((resolve) => setTimeout(resolve, Number(request.params.ms)));
    seen('slow ended');
    return { body: 'slept' };
  },
});
app.http('environment', {
  route: 'environment',
  handler: () => ({
    jsonBody: {
      hostname: process.env.WEBSITE_HOSTNAME,
      clockUrl: process.env.UNDERSTUDY_CLOCK_URL,
      boundTo: process.env.UNDERSTUDY_BOUND_TO,
    },
  }),
});
app.http('lateRegistration', {
  route: 'late',
  handler: () => {
    try {
      app.http('tooLate', { handler: () => ({}) });
      return { body: 'registered' };
    } catch (error) {
      return { body: String(error) };
    }
  },
});

app.timer('everyFiveMinutes', {
  schedule: '0 */5 * * * *',
  handler: (timer) => {
    const { isPastDue, scheduleStatus } = timer;
    seen(JSON.stringify({ timer: 'everyFiveMinutes', isPastDue, scheduleStatus }));
  },
});

app.http('start', {
  methods: ['POST'],
  route: 'start/{orchestrator}/{id?}',
  extraInputs: [df.input.durableClient()],
  handler: async (request, context) => {
    const client = df.getClient(context);
    const { orchestrator = '', id } = request.params;
    const input: unknown = await request.json();
    const instanceId = await client.startNew(orchestrator, { input, ...(id === undefined ? {} : { instanceId: id }) });
    return client.createCheckStatusResponse(request, instanceId);
  },
});

df.app.activity('hello', {
  handler: (name: unknown) => {
    seen(`hello ${String(name)}`);
    return `Hello ${String(name)}!`;
  },
});
df.app.activity('fails', {
  handler: () => {
    throw new Error('the activity says no');
  },
});
df.app.orchestration('chain', function* (context) {
  const names: unknown = context.df.getInput();
  const answers: unknown[] = [];
  if (Array.isArray(names)) for (const name of names) answers.push(yield context.df.callActivity('hello', name));
  return answers;
});
df.app.orchestration('failing', function* (context) {
  yield context.df.callActivity('fails', {});
});
df.app.orchestration('waits', function* (context) {
  const timer = context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 30 * 60_000));
  yield timer;
  return 'half an hour later';
});
df.app.orchestration('undeterministic', function* (context) {
  // What the determinism checker must catch; never run by a host.
  if (Math.random() < 0.5) yield context.df.callActivity('hello', 'heads');
  else yield context.df.callActivity('hello', String(Date.now()));
});
