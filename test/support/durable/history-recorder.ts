import assert from 'node:assert/strict';
import type { InvocationOutcome, InvocationRequest, Worker } from '../../../devhost/contract.js';
import { functionAppWorker } from './function-app.js';

/** One turn of an orchestration: the history that it was given, and what it asked for. */
export interface RecordedTurn {
  workflow: string;
  binding: unknown;
  answer: unknown;
}

/** Runs functions as usual and keeps, of each workflow, the turn with the longest history. */
export class HistoryRecorder implements Worker {
  readonly functions = functionAppWorker.functions;
  readonly longest = new Map<string, RecordedTurn>();
  private readonly lengths = new Map<string, number>();

  async invoke(request: InvocationRequest): Promise<InvocationOutcome> {
    const outcome = await functionAppWorker.invoke(request);
    if (functionAppWorker.functions.get(request.functionName)?.trigger !== 'orchestration') return outcome;
    const text = textOf(request.inputData[0]?.data);
    if (text.length > (this.lengths.get(request.functionName) ?? 0)) {
      this.lengths.set(request.functionName, text.length);
      this.longest.set(request.functionName, {
        workflow: request.functionName,
        binding: JSON.parse(text),
        answer: answerOf(outcome),
      });
    }
    return outcome;
  }
}

/** Gives a recorded history to the workflow as it is now. */
export async function replay(turn: RecordedTurn): Promise<unknown> {
  const registered = functionAppWorker.functions.get(turn.workflow);
  assert(registered, `there is no workflow ${turn.workflow} any more`);
  const outcome = await functionAppWorker.invoke({
    functionName: turn.workflow,
    inputData: [{ name: registered.triggerBinding.name, data: { string: JSON.stringify(turn.binding) } }],
    triggerMetadata: {},
  });
  return answerOf(outcome);
}

function textOf(data: unknown): string {
  assert(typeof data === 'object' && data !== null && 'string' in data && typeof data.string === 'string');
  return data.string;
}

function answerOf(outcome: InvocationOutcome): unknown {
  if (outcome.kind === 'threw') return { threw: outcome.error.message };
  return JSON.parse(JSON.stringify(outcome.returnValue ?? null)) as unknown;
}
