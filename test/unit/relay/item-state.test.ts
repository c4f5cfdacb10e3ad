import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { ItemStateStore, stateForAssignment, type ItemState } from '../../../relay/item-state.js';

const state: ItemState = {
  version: 1,
  itemId: 'i',
  protectionId: 'p',
  epoch: 1,
  missedCycleCount: 2,
  checkpointAt: '2024-03-01T00:00:00Z',
  lastSwitchAt: '2024-03-01T00:05:00Z',
  interval: { seconds: 300 },
  closingCycle: 7,
};
async function store(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-relay-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return { folder, states: new ItemStateStore(folder) };
}

test('what is saved is loaded, and leaves no temporary file', async (t) => {
  const { folder, states } = await store(t);
  assert.equal(await states.load('i'), undefined);
  await states.save(state);
  await states.save({ ...state, epoch: 2 });
  assert.deepEqual(await states.load('i'), { ...state, epoch: 2 });
  assert.deepEqual(await readdir(join(folder, 'items')), ['i.json']);
  await states.remove('i');
  assert.equal(await states.load('i'), undefined);
});

test('a damaged state is as none: what it held is found out again', async (t) => {
  const { folder, states } = await store(t);
  await states.save(state);
  await writeFile(join(folder, 'items', 'i.json'), '{"version":1,"itemId"');
  assert.equal(await states.load('i'), undefined);
});

test('a new epoch keeps the rhythm of the cycles and no promise; another protection keeps nothing', () => {
  assert.deepEqual(stateForAssignment(state, state), state);
  assert.deepEqual(stateForAssignment(state, { ...state, epoch: 2 }), {
    version: 1,
    itemId: 'i',
    protectionId: 'p',
    epoch: 2,
    missedCycleCount: 2,
    lastSwitchAt: '2024-03-01T00:05:00Z',
    interval: { seconds: 300 },
  });
  assert.deepEqual(stateForAssignment(state, { ...state, protectionId: 'q' }), {
    version: 1,
    itemId: 'i',
    protectionId: 'q',
    epoch: 1,
    missedCycleCount: 0,
  });
});

test('after a failback the rhythm begins anew: what passed in the cloud is no missed cycle', () => {
  assert.deepEqual(stateForAssignment({ ...state, failedBack: true }, { ...state, epoch: 2 }), {
    version: 1,
    itemId: 'i',
    protectionId: 'p',
    epoch: 2,
    missedCycleCount: 2,
  });
});
