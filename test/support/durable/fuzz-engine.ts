import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryStore } from '../../../devhost/engine/memory-store.js';
import { EngineHarness } from './engine-harness.js';
import type { StatusBody } from './engine-harness.js';
import { FaultyStore } from './faulty-store.js';
import type { Fault } from './faulty-store.js';
import { attemptsByKey, expectedOutput, randomProgram, registerInterpreter, signalledKeys } from './random-program.js';
import { seeded } from './seeded.js';

const programCount = 60;

let isRegistered = false;

/** Runs random programs at once, and compares each outcome with what it must be. */
export async function fuzzEngine(seed: number, options: { faults: boolean; replayEachTurn: boolean }): Promise<void> {
  if (!isRegistered) registerInterpreter();
  isRegistered = true;
  const random = seeded(seed);
  attemptsByKey.clear();
  const nextFault = (): Fault => {
    const dice = options.faults ? random(60) : 9;
    return dice === 0 ? 'fails' : dice === 1 ? 'answerLost' : 'none';
  };
  const harness = await EngineHarness.started({
    store: new FaultyStore(new MemoryStore(), nextFault),
    modes: { replayEachTurn: options.replayEachTurn },
  });
  const programs = Array.from({ length: programCount }, (_, n) => randomProgram(random, `p${seed}-${n}`));
  const ids = await Promise.all(
    programs.map((program, n) => harness.start('interpret', { program, at: 0, results: [] }, `p${seed}-${n}`)),
  );
  const open = new Set(ids);
  const raised = new Set<string>();
  const deadline = Date.now() + 40_000;
  while (open.size > 0) {
    assert.ok(Date.now() < deadline, `seed ${seed}: ${[...open].join(', ')} did not finish`);
    let isMoving = false;
    for (const id of open) {
      const status: StatusBody = await harness.status(id);
      if (status.runtimeStatus === 'Completed' || status.runtimeStatus === 'Failed') {
        const program = programs[ids.indexOf(id)] ?? [];
        assert.equal(status.runtimeStatus, 'Completed', `seed ${seed}, ${id}: ${String(status.output)}`);
        assert.deepEqual(status.output, expectedOutput(program), `seed ${seed}, ${id}`);
        open.delete(id);
        isMoving = true;
      }
      const { waitingFor } = (status.customStatus ?? {}) as { waitingFor?: string };
      if (waitingFor === undefined || raised.has(waitingFor)) continue;
      raised.add(waitingFor);
      isMoving = true;
      if (open.has(id)) assert.equal(await harness.raise(id, waitingFor, `data of ${waitingFor}`), 202);
    }
    await sleep(isMoving ? 1 : 5);
    const { nextMs } = harness.clock;
    if (!isMoving && nextMs !== undefined) harness.clock.advance(Math.max(0, nextMs - harness.clock.now()));
  }
  // An orchestration may be over before its signals have arrived.
  const sum = async (key: string) => {
    const path = `entities/fuzzsum/${encodeURIComponent(`signalled ${key}`)}`;
    return (await harness.request('GET', path)).body;
  };
  for (const key of programs.flatMap(signalledKeys)) {
    while ((await sum(key)) !== '1' && Date.now() < deadline) await sleep(5);
    assert.equal(await sum(key), '1', `seed ${seed}: entity ${key}`);
  }
  await harness.engine.stop();
}
