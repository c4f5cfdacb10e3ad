import { randomBytes, randomUUID } from 'node:crypto';
import type { InvocationOutcome, InvocationRequest, RegisteredFunction, Worker } from '../contract.js';
import { DevhostError, toError } from '../errors.js';
import type { Log } from '../log.js';
import { fromFunctionsLevel } from '../log.js';
import type { CoreInvocationContext, HookName, Registration } from './core-module.js';
import { CoreModule, installCoreModule } from './core-module.js';
import { findEntryPoints, loadEntryPoints } from './load-app.js';
import { toRegisteredFunction } from './registered-function.js';
import { parseInvocationResponse } from './typed-data.js';

type HookContext = Record<string, unknown> & {
  hookData: Record<string, unknown>;
  appHookData: Record<string, unknown>;
};

export interface AppWorkerOptions {
  appFolder: string;
  /** An invocation that takes longer has failed; system time. */
  functionTimeoutMs: number;
  log: Log;
}

/** The app, loaded into this process as the real Node.js worker loads it. */
export class AppWorker implements Worker {
  readonly functions: ReadonlyMap<string, RegisteredFunction>;
  readonly #core: CoreModule;
  readonly #log: Log;
  readonly #functionTimeoutMs: number;
  readonly #registrations: ReadonlyMap<string, Registration>;
  readonly #appHookData: Record<string, unknown>;

  private constructor(core: CoreModule, appHookData: Record<string, unknown>, options: AppWorkerOptions) {
    this.#core = core;
    this.#functionTimeoutMs = options.functionTimeoutMs;
    this.#appHookData = appHookData;
    this.#log = options.log;
    const registrations = [...core.registrations.values()];
    this.#registrations = new Map(registrations.map((registration) => [registration.metadata.name, registration]));
    this.functions = new Map(registrations.map(({ metadata }) => [metadata.name, toRegisteredFunction(metadata)]));
  }

  /** Installs the core module, loads the app's entry files and runs its appStart hooks. One app a process. */
  static async load(options: AppWorkerOptions): Promise<AppWorker> {
    const { appFolder, log } = options;
    const entryPoints = findEntryPoints(appFolder);
    const core = new CoreModule(log);
    installCoreModule(core);
    await loadEntryPoints(appFolder, entryPoints);
    const appHookData: Record<string, unknown> = {};
    await runHooks(core, 'appStart', { hookData: {}, appHookData, functionAppDirectory: appFolder });
    if (core.hasModel) await core.model.getCapabilities?.({});
    core.finishStartup();
    return new AppWorker(core, appHookData, options);
  }

  /** Runs the app's appTerminate hooks. */
  async terminate(): Promise<void> {
    await runHooks(this.#core, 'appTerminate', { hookData: {}, appHookData: this.#appHookData });
  }

  async invoke(request: InvocationRequest, signal?: AbortSignal): Promise<InvocationOutcome> {
    const registration = this.#registrations.get(request.functionName);
    if (registration === undefined) {
      throw new DevhostError('unknownFunction', `the app has no function '${request.functionName}'`);
    }
    const invocationId = randomUUID();
    try {
      const response = await this.#bounded(request.functionName, signal, (bound) =>
        raceAbort(this.#run(registration, request, invocationId), bound),
      );
      return { kind: 'returned', ...response };
    } catch (thrown) {
      const error = toError(thrown);
      this.#logFailure(registration, invocationId, error);
      return { kind: 'threw', error };
    }
  }

  async #bounded<T>(
    functionName: string,
    signal: AbortSignal | undefined,
    run: (bound: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const timeout = new AbortController();
    const timer = setTimeout(() => {
      const seconds = this.#functionTimeoutMs / 1000;
      timeout.abort(new DevhostError('timeout', `Timeout of ${seconds} s exceeded by function '${functionName}'`));
    }, this.#functionTimeoutMs);
    try {
      return await run(signal === undefined ? timeout.signal : AbortSignal.any([signal, timeout.signal]));
    } finally {
      clearTimeout(timer);
    }
  }

  async #run(registration: Registration, request: InvocationRequest, invocationId: string) {
    const invocation: { context: unknown } = { context: undefined };
    const context: CoreInvocationContext = {
      invocationId,
      request: {
        invocationId,
        functionId: request.functionName,
        inputData: request.inputData,
        triggerMetadata: request.triggerMetadata,
        traceContext: { traceParent: newTraceParent(), traceState: '', attributes: {} },
      },
      metadata: registration.metadata,
      state: undefined,
      log: (level, category, message) => {
        const entry = {
          hookData: {},
          appHookData: this.#appHookData,
          invocationContext: invocation.context,
          level,
          category,
          message,
        };
        for (const hook of this.#core.hooks('log')) hook(entry);
        const fields = { function: request.functionName, invocationId };
        this.#log.write(fromFunctionsLevel(entry.level), entry.message, fields);
      },
    };
    const model = this.#core.model.getInvocationModel(context);
    const { context: invocationContext, inputs } = await model.getArguments();
    invocation.context = invocationContext;
    // Hook contexts are shared: a hook may replace inputs, handler, result and error for those after it.
    const preContext = {
      hookData: {},
      appHookData: this.#appHookData,
      invocationContext,
      functionCallback: registration.callback,
      inputs,
    };
    context.state = 'preInvocationHooks';
    await runHooks(this.#core, 'preInvocation', preContext);
    const postContext: HookContext & { result: unknown; error: unknown } = {
      hookData: preContext.hookData,
      appHookData: this.#appHookData,
      invocationContext,
      inputs: preContext.inputs,
      result: null,
      error: null,
    };
    context.state = 'invocation';
    try {
      postContext.result = await model.invokeFunction(
        invocationContext,
        preContext.inputs,
        preContext.functionCallback,
      );
    } catch (error) {
      postContext.error = toError(error);
    }
    context.state = 'postInvocationHooks';
    await runHooks(this.#core, 'postInvocation', postContext);
    context.state = undefined;
    if (postContext.error !== null && postContext.error !== undefined) throw toError(postContext.error);
    return parseInvocationResponse(await model.getResponse(invocationContext, postContext.result));
  }

  #logFailure(registration: Registration, invocationId: string, error: Error): void {
    const trigger = this.functions.get(registration.metadata.name)?.trigger;
    // A durable function's failure is part of its history; the engine says how the orchestration went on.
    const level = trigger === 'orchestration' || trigger === 'entity' || trigger === 'activity' ? 'warn' : 'error';
    const isProtocol = error.message.includes('$OutOfProcData$');
    const fields = { function: registration.metadata.name, invocationId };
    const text = isProtocol ? error.message.split('\n', 1)[0] : (error.stack ?? error.message);
    this.#log.write(level, `invocation failed: ${text ?? ''}`, fields);
  }
}

async function runHooks(core: CoreModule, name: HookName, context: HookContext): Promise<void> {
  for (const hook of core.hooks(name)) await hook(context);
}

/** JavaScript cannot be stopped from outside: an aborted invocation is given up, and its late answer dropped. */
async function raceAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(toError(signal.reason));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

function newTraceParent(): string {
  return `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-00`;
}
