import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Worker } from '../contract.js';
import type { EntityHead, EntityRequest } from './store.js';
import { findFunction, WorkerFailure } from './turn.js';
import { stateDocument } from './typed-data.js';

export interface EntityId {
  name: string;
  key: string;
}

/** An entity's instance id is `@name@key`, its name in lower case. */
export function entityInstanceId(id: EntityId): string {
  return `@${id.name.toLowerCase()}@${id.key}`;
}

export function parseEntityId(instanceId: string): EntityId {
  const at = instanceId.indexOf('@', 1);
  return { name: instanceId.slice(1, at), key: instanceId.slice(at + 1) };
}

export interface BatchOutcome {
  exists: boolean;
  state: string | null;
  /** JSON text of the reply to each request, in order. */
  replies: string[];
  signals: EntityRequest[];
}

const entityState = z.object({
  entityExists: z.boolean(),
  entityState: z.string().nullish(),
  results: z.array(z.object({ isError: z.boolean(), result: z.string().optional() }).nullable()),
  signals: z.array(
    z.object({
      target: z.object({ name: z.string(), key: z.string() }),
      name: z.string(),
      input: z.string().optional(),
    }),
  ),
});

/** Runs the entity function once for a batch of operations, one after another, on the committed state. */
export async function runBatch(
  worker: Worker,
  head: EntityHead,
  requests: readonly EntityRequest[],
): Promise<BatchOutcome> {
  const self = parseEntityId(head.instanceId);
  const registered = findFunction(worker, self.name);
  if (registered?.trigger !== 'entity')
    return failedBatch(head, requests, `there is no entity function '${self.name}'`);
  const binding = JSON.stringify({
    self,
    exists: head.exists,
    state: head.state,
    batch: requests.map(({ requestId, operation, input, isSignal }) => ({
      id: requestId,
      name: operation,
      input,
      isSignal,
    })),
  });
  let outcome;
  try {
    outcome = await worker.invoke({
      functionName: registered.name,
      inputData: [{ name: registered.triggerBinding.name, data: { string: binding } }],
      triggerMetadata: {},
    });
  } catch (error) {
    throw new WorkerFailure(`entity function '${self.name}' could not be run`, { cause: error });
  }
  const document = stateDocument(outcome);
  if ('failure' in document) return failedBatch(head, requests, document.failure);
  const state = entityState.safeParse(JSON.parse(document.json));
  if (!state.success) return failedBatch(head, requests, z.prettifyError(state.error));
  const { entityExists, results, signals } = state.data;
  return {
    exists: entityExists,
    state: entityExists ? (state.data.entityState ?? null) : null,
    replies: requests.map((_, index) => replyText(results[index] ?? { isError: false })),
    signals: signals.map((signal) => ({
      requestId: randomUUID(),
      target: entityInstanceId(signal.target),
      operation: signal.name,
      input: signal.input === undefined || signal.input === '' ? null : signal.input,
      isSignal: true,
      caller: null,
    })),
  };
}

function failedBatch(head: EntityHead, requests: readonly EntityRequest[], message: string): BatchOutcome {
  const reply = replyText({ isError: true, result: JSON.stringify(message) });
  return { exists: head.exists, state: head.state, replies: requests.map(() => reply), signals: [] };
}

function replyText(result: { isError: boolean; result?: string | undefined }): string {
  return JSON.stringify({
    ...(result.result === undefined ? {} : { result: result.result }),
    ...(result.isError ? { exceptionType: 'Microsoft.Azure.WebJobs.Host.FunctionInvocationException' } : {}),
  });
}
