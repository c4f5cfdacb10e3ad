import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import type { InvocationOutcome, Worker } from '../../devhost/contract.js';

/** One turn as the engine asked for it: the orchestrator and the text of its trigger binding, history and all. */
export interface RecordedTurn {
  functionName: string;
  binding: string;
}

/** A worker that notes every orchestrator turn that passes through it. */
export function recordTurns(worker: Worker): { worker: Worker; turns: RecordedTurn[] } {
  const turns: RecordedTurn[] = [];
  return {
    turns,
    worker: {
      get functions() {
        return worker.functions;
      },
      invoke: (request, signal) => {
        const binding = request.inputData[0]?.data.string;
        const isTurn = worker.functions.get(request.functionName)?.trigger === 'orchestration';
        if (isTurn && binding !== undefined) turns.push({ functionName: request.functionName, binding });
        return worker.invoke(request, signal);
      },
    },
  };
}

/**
 * Runs one turn twice, under another clock and with other random numbers, and compares what the orchestrator wants
 * done. Nothing else may run in the process meanwhile: the globals are changed for it.
 */
export async function assertDeterministic(worker: Worker, turn: RecordedTurn): Promise<void> {
  const first = await underChangedWorld({ shiftMs: 0, seed: 1 }, () => run(worker, turn));
  const second = await underChangedWorld({ shiftMs: 37 * 86_400_000 + 12_345, seed: 99 }, () => run(worker, turn));
  assert.equal(second, first, `orchestrator '${turn.functionName}' does other things in another replay`);
}

async function run(worker: Worker, { functionName, binding }: RecordedTurn): Promise<string> {
  const trigger = worker.functions.get(functionName)?.triggerBinding.name;
  assert.ok(trigger !== undefined, `there is no orchestrator '${functionName}'`);
  const outcome: InvocationOutcome = await worker.invoke({
    functionName,
    inputData: [{ name: trigger, data: { string: binding } }],
    triggerMetadata: {},
  });
  return outcome.kind === 'threw' ? `threw ${outcome.error.message}` : JSON.stringify(outcome.returnValue ?? null);
}

async function underChangedWorld<T>(world: { shiftMs: number; seed: number }, body: () => Promise<T>): Promise<T> {
  const RealDate = globalThis.Date;
  const realRandom = Math.random;
  const realUuid = crypto.randomUUID;
  const shiftedNow = () => RealDate.now() + world.shiftMs;
  class ShiftedDate extends RealDate {
    constructor(...given: [] | [number | string | Date]) {
      super(given[0] ?? shiftedNow());
    }
    static override now(): number {
      return shiftedNow();
    }
  }
  let state = world.seed;
  const random = () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  Object.assign(globalThis, { Date: ShiftedDate });
  Math.random = random;
  crypto.randomUUID = () => `00000000-0000-4000-8000-${String(state++).padStart(12, '0')}`;
  try {
    return await body();
  } finally {
    Object.assign(globalThis, { Date: RealDate });
    Math.random = realRandom;
    crypto.randomUUID = realUuid;
  }
}
