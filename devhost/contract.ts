/**
 * The inner seams of devhost: what the durable engine needs from the host around it, and what the host needs
 * from the engine. Shapes follow the Durable Functions out-of-process protocol, schema V3.
 */

/** Business time in milliseconds since the Unix epoch; it can run faster than system time and be advanced by hand. */
export interface HostClock {
  now(): number;
  /** Calls back once `now()` has reached `atMs`, never early, also after an advance. The returned function cancels. */
  schedule(atMs: number, callback: () => void): () => void;
}

/** One value as the worker protocol carries it (RpcTypedData); exactly one property is set, none means null. */
export interface TypedData {
  string?: string;
  json?: string;
  bytes?: Buffer;
  int?: number;
  double?: number;
  http?: unknown;
}

export interface InvocationRequest {
  functionName: string;
  /** One entry a binding, named as in the function's metadata. */
  inputData: { name: string; data: TypedData }[];
  triggerMetadata: Record<string, TypedData>;
}

export type InvocationOutcome =
  | { kind: 'returned'; returnValue: TypedData | undefined; outputData: { name: string; data: TypedData }[] }
  | { kind: 'threw'; error: Error };

export type TriggerKind = 'http' | 'timer' | 'orchestration' | 'activity' | 'entity';

export interface BindingMetadata {
  type: string;
  name: string;
  direction: 'in' | 'out' | 'inout';
  [setting: string]: unknown;
}

export interface RegisteredFunction {
  name: string;
  trigger: TriggerKind;
  triggerBinding: BindingMetadata;
  /** Input bindings of type durableClient, to be filled with `DurableEngine.clientBinding()`. */
  durableClientBindings: BindingMetadata[];
}

/** The loaded app. One function invocation at a time per call; never retries by itself. */
export interface Worker {
  readonly functions: ReadonlyMap<string, RegisteredFunction>;
  invoke(request: InvocationRequest, signal?: AbortSignal): Promise<InvocationOutcome>;
}

/** What the HTTP listener hands to the engine for everything under /runtime/webhooks/durabletask/. */
export interface WebhookRequest {
  method: string;
  /** Absolute, as the client sent it. */
  url: URL;
  headers: Record<string, string>;
  body: Buffer;
}

export interface WebhookResponse {
  status: number;
  headers: Record<string, string>;
  body: string;
}

export interface DurableEngine {
  /** Loads committed state, re-derives pending work and begins to run it. */
  start(): Promise<void>;
  /** Stops taking new turns, waits for the running ones to commit (bounded), leaves the rest for the next start. */
  stop(): Promise<void>;
  /** JSON text of the durableClient input binding (functions-host facts, section 1). */
  clientBinding(baseUrl: string): string;
  handleWebhook(request: WebhookRequest): Promise<WebhookResponse>;
}

/** Ways of running that catch what only the real host would show. */
export interface HostModes {
  /** Activity inputs pass through the real host's string conversion and results through its typed data. */
  strictTypes: boolean;
  /** Every activity runs twice; both outcomes are compared and the first is kept. */
  activitiesTwice: boolean;
  /** No state is kept in memory between turns: each turn replays from storage. */
  replayEachTurn: boolean;
  /** The process ends with SIGKILL of itself after every n committed turns; 0 is never. */
  killAfterTurns: number;
}
