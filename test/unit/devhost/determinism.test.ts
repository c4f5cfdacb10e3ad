import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OrchestrationContext } from 'durable-functions';
import { assertDeterministic, recordTurns } from '../../support/determinism.js';
import { EngineHarness } from '../../support/durable/engine-harness.js';
import { df, functionAppWorker } from '../../support/durable/function-app.js';

df.app.activity('note', { handler: (value: unknown) => value });
df.app.orchestration('faithful', function* (context: OrchestrationContext) {
  const first: unknown = yield context.df.callActivity('note', context.df.currentUtcDateTime.toISOString());
  const second: unknown = yield context.df.callActivity('note', context.df.newGuid('x'));
  return [first, second];
});
df.app.orchestration('asksClock', function* (context: OrchestrationContext) {
  yield context.df.callActivity('note', 'before');
  yield context.df.callActivity('note', new Date().toISOString());
});
df.app.orchestration('throwsDice', function* (context: OrchestrationContext) {
  yield context.df.callActivity('note', Math.random());
});

async function turnsOf(orchestrator: string) {
  const { worker, turns } = recordTurns(functionAppWorker);
  const harness = await EngineHarness.started({ worker });
  await harness.finished(await harness.start(orchestrator));
  await harness.engine.stop();
  return turns;
}

test('an orchestrator that does the same in every replay passes, turn by turn', async () => {
  const turns = await turnsOf('faithful');
  assert.equal(turns.length, 3);
  for (const turn of turns) await assertDeterministic(functionAppWorker, turn);
});

test('an orchestrator that asks the clock or the dice is caught', async () => {
  for (const orchestrator of ['asksClock', 'throwsDice']) {
    const turns = await turnsOf(orchestrator);
    const verdicts = [];
    for (const turn of turns) {
      verdicts.push(
        await assertDeterministic(functionAppWorker, turn).then(
          () => 'same',
          () => 'differs',
        ),
      );
    }
    assert.ok(verdicts.includes('differs'), `${orchestrator}: ${verdicts.join()}`);
  }
});
