import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { OrchestrationContext } from 'durable-functions';
import { StoreConflictError } from '../../../devhost/engine/store.js';
import type { OrchestrationHead } from '../../../devhost/engine/store.js';
import { openTableStore } from '../../../devhost/engine/table-store.js';
import { startAzurite } from '../../support/azurite.js';
import type { Azurite } from '../../support/azurite.js';
import { EngineHarness } from '../../support/durable/engine-harness.js';
import { df } from '../../support/durable/function-app.js';

let azurite: Azurite;
before(async () => {
  azurite = await startAzurite();
});
after(() => azurite.stop());

let hubCount = 0;
const open = (hubName: string, writerEpoch: number) =>
  openTableStore({ connectionString: azurite.connectionString, hubName, writerEpoch });
const newHub = () => `hub${hubCount++}`;

df.app.activity('double', { handler: (text: string) => `${text}${text}` });
df.app.orchestration('grow', function* (context: OrchestrationContext) {
  let text = context.df.getInput<string>() ?? '';
  for (let round = 0; round < 3; round++) text = (yield context.df.callActivity('double', text)) as string;
  return text;
});
df.app.orchestration('wide', function* (context: OrchestrationContext) {
  const tasks = Array.from({ length: 150 }, (_, index) => context.df.callActivity('double', `${index}`));
  const results = (yield context.df.Task.all(tasks)) as string[];
  const answer: unknown = yield context.df.waitForExternalEvent('end');
  return [results.length, answer];
});

function head(instanceId: string, input: string | null = null): OrchestrationHead {
  return {
    kind: 'orchestration',
    instanceId,
    name: 'n',
    version: '',
    status: 'Running',
    executionId: 'e1',
    parent: null,
    createdAtMs: Date.UTC(2026, 0, 1),
    updatedAtMs: Date.UTC(2026, 0, 1),
    epoch: 0,
    input,
    output: null,
    customStatus: null,
    generation: 0,
    turnCount: 0,
    cancelledTimerIds: [],
    recentMessageIds: [],
    rewound: false,
    outbox: [],
  };
}

test('an orchestration keeps its state in the table across engines, with payloads larger than a property', async () => {
  const hubName = newHub();
  const text = 'äöü😀"\\'.repeat(3000);
  const first = await EngineHarness.started({ store: await open(hubName, 1) });
  const id = await first.start('grow', text);
  assert.equal(await first.output(id, 20_000), text.repeat(8));
  await first.engine.stop();
  const second = await EngineHarness.started({ store: await open(hubName, 2) });
  assert.equal((await second.status(id)).output, text.repeat(8));
  assert.equal((await second.status(id)).input, text);
});

test('more events than a transaction has rows are kept, and events go on after a restart', async () => {
  const hubName = newHub();
  const first = await EngineHarness.started({ store: await open(hubName, 1) });
  const id = await first.start('wide');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await first.engine.stop();
  const second = await EngineHarness.started({ store: await open(hubName, 2) });
  assert.equal(await second.raise(id, 'end', 'over'), 202);
  assert.deepEqual(await second.output(id, 20_000), [150, 'over']);
});

test('a commit lands only on the head it was based on, and a stale writer gets nothing in', async () => {
  const hubName = newHub();
  const old = await open(hubName, 1);
  const young = await open(hubName, 2);
  const base = await old.create(head('a'));
  const taken = await young.load('a');
  assert.ok(taken);
  await young.commit(taken.stored, { head: taken.stored.head });
  await assert.rejects(
    old.commit(base, { head: { ...head('a'), turnCount: 1 }, turns: { from: 0, texts: ['{}'] } }),
    StoreConflictError,
  );
  // Also a commit too large for one transaction leaves no trace.
  const texts = Array.from({ length: 130 }, (_, index) => `{"stale":${index}}`);
  await assert.rejects(
    old.commit(base, { head: { ...head('a'), turnCount: 130 }, turns: { from: 0, texts } }),
    StoreConflictError,
  );
  const reread = await old.load('a');
  assert.ok(reread);
  await assert.rejects(old.commit(reread.stored, { head: head('a') }), StoreConflictError, 'its epoch is older');
  const loaded = await young.load('a');
  assert.deepEqual([loaded?.turns, loaded?.stored.head.epoch], [[], 2]);
});

test('a commit of many and large rows is read back whole, and removal leaves nothing', async () => {
  const store = await open(newHub(), 1);
  const id = "it's 50% of «half»/no";
  const stored = await store.create(head(id, JSON.stringify('i'.repeat(500_000))));
  const texts = Array.from({ length: 130 }, (_, index) =>
    JSON.stringify({ index, text: 'x'.repeat(index === 7 ? 900_000 : 30_000) }),
  );
  const inbox = { key: 'k1', text: JSON.stringify('m'.repeat(900_000)) };
  const next = await store.commit(stored, {
    head: {
      ...head(id, JSON.stringify('i'.repeat(500_000))),
      turnCount: 130,
      output: JSON.stringify('o'.repeat(40_000)),
    },
    turns: { from: 0, texts },
    addInbox: [inbox],
  });
  const loaded = await store.load(id);
  assert.deepEqual(loaded?.turns, texts);
  assert.deepEqual(loaded.inbox, [inbox]);
  const again = await store.readHead(id);
  assert.equal(again?.head.kind === 'orchestration' && again.head.output?.length, 40_002);
  await store.commit(next, { head: { ...head(id), turnCount: 130 }, removeInbox: ['k1'] });
  const cut = await store.load(id);
  assert.deepEqual([cut?.inbox, cut?.stored.head.kind === 'orchestration' && cut.stored.head.input], [[], null]);
  assert.ok(cut);
  await store.remove(cut.stored);
  assert.equal(await store.load(id), undefined);
  await store.create(head(id));
  assert.deepEqual((await store.load(id))?.turns, []);
});

test('instances are listed by prefix, status and time, page by page', async () => {
  const store = await open(newHub(), 1);
  for (let index = 0; index < 25; index++) {
    await store.create({
      ...head(`${index % 2 === 0 ? 'even' : 'odd'}/${index}`),
      status: index < 20 ? 'Completed' : 'Running',
      createdAtMs: Date.UTC(2026, 0, 1 + index),
    });
  }
  const found: string[] = [];
  let continuation: string | undefined;
  let pageCount = 0;
  do {
    const page = await store.list({
      kind: 'orchestration',
      instanceIdPrefix: 'even/',
      statuses: ['Completed'],
      createdFromMs: Date.UTC(2026, 0, 5),
      pageSize: 3,
      ...(continuation === undefined ? {} : { continuation }),
    });
    found.push(...page.heads.map((each) => each.head.instanceId));
    ({ continuation } = page);
    pageCount++;
  } while (continuation !== undefined);
  assert.deepEqual(found.sort(), ['even/10', 'even/12', 'even/14', 'even/16', 'even/18', 'even/4', 'even/6', 'even/8']);
  assert.ok(pageCount >= 3, `${pageCount} pages`);
  assert.deepEqual((await store.listUnfinished()).length, 5);
});
