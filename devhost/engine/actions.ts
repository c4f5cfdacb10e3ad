import { z } from 'zod';

/** What an orchestrator asks for, as the durable-functions library writes it (replay schema V3). */
const retryOptions = z.object({
  firstRetryIntervalInMilliseconds: z.number(),
  maxNumberOfAttempts: z.number().int(),
  backoffCoefficient: z.number().optional(),
  maxRetryIntervalInMilliseconds: z.number().optional(),
  retryTimeoutInMilliseconds: z.number().optional(),
});
export type RetryOptions = z.infer<typeof retryOptions>;

const input = z.unknown().optional();
const functionName = z.string();
const instanceId = z.string().nullish();
const version = z.string().nullish();

const callActivity = z.object({ actionType: z.literal(0), functionName, input });
const callActivityWithRetry = z.object({ actionType: z.literal(1), functionName, input, retryOptions });
const callSubOrchestrator = z.object({ actionType: z.literal(2), functionName, input, instanceId, version });
const callSubOrchestratorWithRetry = z.object({
  actionType: z.literal(3),
  functionName,
  input,
  instanceId,
  version,
  retryOptions,
});
const continueAsNew = z.object({ actionType: z.literal(4), input });
const createTimer = z.object({ actionType: z.literal(5), fireAt: z.iso.datetime(), isCanceled: z.boolean() });
const waitForExternalEvent = z.object({ actionType: z.literal(6), externalEventName: z.string() });
const callEntity = z.object({ actionType: z.literal(7), instanceId: z.string(), operation: z.string(), input });
const callHttp = z.object({ actionType: z.literal(8), httpRequest: z.unknown() });
const signalEntity = z.object({ actionType: z.literal(9), instanceId: z.string(), operation: z.string(), input });
const whenAny = z.object({
  actionType: z.literal(11),
  get compoundActions() {
    return z.array(action);
  },
});
const whenAll = z.object({
  actionType: z.literal(12),
  get compoundActions() {
    return z.array(action);
  },
});

const action = z.discriminatedUnion('actionType', [
  callActivity,
  callActivityWithRetry,
  callSubOrchestrator,
  callSubOrchestratorWithRetry,
  continueAsNew,
  createTimer,
  waitForExternalEvent,
  callEntity,
  callHttp,
  signalEntity,
  whenAny,
  whenAll,
]);

export type Action =
  | z.infer<typeof callActivity>
  | z.infer<typeof callActivityWithRetry>
  | z.infer<typeof callSubOrchestrator>
  | z.infer<typeof callSubOrchestratorWithRetry>
  | z.infer<typeof continueAsNew>
  | z.infer<typeof createTimer>
  | z.infer<typeof waitForExternalEvent>
  | z.infer<typeof callEntity>
  | z.infer<typeof callHttp>
  | z.infer<typeof signalEntity>
  | { actionType: 11 | 12; compoundActions: Action[] };

/** The orchestrator function's answer of one turn: the full list of actions since the start of the execution. */
const orchestratorState = z.object({
  isDone: z.boolean(),
  actions: z.array(z.array(action)),
  output: z.unknown().optional(),
  customStatus: z.unknown().optional(),
  error: z.string().optional(),
});
export interface OrchestratorState {
  isDone: boolean;
  actions: Action[];
  /** JSON text; null where the orchestrator returned nothing. */
  output: string | null;
  /** JSON text; undefined where the orchestrator did not set one in this replay. */
  customStatus: string | undefined;
  error: string | undefined;
}

export function parseOrchestratorState(json: string): OrchestratorState {
  const state = orchestratorState.parse(JSON.parse(json));
  return {
    isDone: state.isDone,
    actions: state.actions.flat(),
    output: state.output === undefined ? null : JSON.stringify(state.output),
    customStatus: state.customStatus === undefined ? undefined : JSON.stringify(state.customStatus),
    error: state.error,
  };
}
