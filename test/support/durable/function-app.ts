import { createRequire } from 'node:module';
import Module from 'node:module';
import type {
  BindingMetadata,
  InvocationOutcome,
  InvocationRequest,
  RegisteredFunction,
  TriggerKind,
  TypedData,
  Worker,
} from '../../../devhost/contract.js';

/**
 * A bare worker around the real @azure/functions and durable-functions packages: enough of '@azure/functions-core' to
 * register functions and to call them, so that engine tests run real orchestrators. One per process, as the libraries
 * keep their registrations in module state.
 */
interface FunctionMetadata {
  name: string;
  bindings: Record<string, { type: string; direction: 'in' | 'out' | 'inout' }>;
}
type FunctionCallback = (...args: unknown[]) => unknown;
interface InvocationModel {
  getArguments(): Promise<{ context: unknown; inputs: unknown[] }>;
  invokeFunction(context: unknown, inputs: unknown[], callback: FunctionCallback): Promise<unknown>;
  getResponse(context: unknown, result: unknown): Promise<{ returnValue?: TypedData | null }>;
}
interface ProgrammingModel {
  getInvocationModel(coreContext: unknown): InvocationModel;
}

const kinds: Record<string, TriggerKind> = {
  orchestrationTrigger: 'orchestration',
  activityTrigger: 'activity',
  entityTrigger: 'entity',
  httpTrigger: 'http',
  timerTrigger: 'timer',
};
const registered = new Map<
  string,
  { metadata: FunctionMetadata; callback: FunctionCallback; shown: RegisteredFunction }
>();
let model: ProgrammingModel | undefined;
let invocationCount = 0;

const core = {
  version: '4.0.0',
  hostVersion: '4.30.0',
  setProgrammingModel: (next: ProgrammingModel) => {
    model = next;
  },
  getProgrammingModel: () => model,
  registerHook: () => ({ dispose: () => undefined }),
  log: () => undefined,
  registerFunction: (metadata: FunctionMetadata, callback: FunctionCallback) => {
    if (registered.has(metadata.name)) throw new Error(`function ${metadata.name} is registered twice`);
    const bindings: BindingMetadata[] = Object.entries(metadata.bindings).map(([name, binding]) => ({
      ...binding,
      name,
    }));
    const triggerBinding = bindings.find(({ type }) => kinds[type] !== undefined);
    const trigger = kinds[triggerBinding?.type ?? ''];
    if (triggerBinding === undefined || trigger === undefined) throw new Error(`${metadata.name} has no known trigger`);
    const durableClientBindings = bindings.filter(({ type }) => type === 'durableClient');
    const shown = { name: metadata.name, trigger, triggerBinding, durableClientBindings };
    registered.set(metadata.name, { metadata, callback, shown });
    return { dispose: () => undefined };
  },
  Disposable: class {},
};

const prototype = Module.prototype as unknown as { require: (id: string) => unknown };

const plainRequire = prototype.require;
prototype.require = function (this: unknown, id: string) {
  return id === '@azure/functions-core' ? core : plainRequire.call(this, id);
};

/** The libraries, loaded behind the hook; second copies would keep registrations of their own. */
const load = createRequire(import.meta.url);
export const df = load('durable-functions') as typeof import('durable-functions');
export const azureFunctions = load('@azure/functions') as typeof import('@azure/functions');

export const functionAppWorker: Worker = {
  get functions() {
    return new Map([...registered].map(([name, { shown }]) => [name, shown]));
  },
  async invoke(request: InvocationRequest): Promise<InvocationOutcome> {
    const entry = registered.get(request.functionName);
    if (entry === undefined || model === undefined) throw new Error(`no function ${request.functionName}`);
    const invocationId = `i${invocationCount++}`;
    const invocation = model.getInvocationModel({
      invocationId,
      request: {
        invocationId,
        functionId: request.functionName,
        inputData: request.inputData,
        triggerMetadata: request.triggerMetadata,
      },
      metadata: entry.metadata,
      state: 'invocation',
      log: () => undefined,
    });
    try {
      const { context, inputs } = await invocation.getArguments();
      const result: unknown = await invocation.invokeFunction(context, inputs, entry.callback);
      const response = await invocation.getResponse(context, result);
      const returnValue = response.returnValue ?? undefined;
      return { kind: 'returned', returnValue, outputData: [] };
    } catch (error) {
      return { kind: 'threw', error: error instanceof Error ? error : new Error(String(error)) };
    }
  },
};
