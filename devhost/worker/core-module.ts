import { Module } from 'node:module';
import { z } from 'zod';
import { DevhostError } from '../errors.js';
import type { Log } from '../log.js';
import { fromFunctionsLevel } from '../log.js';

/**
 * The module '@azure/functions-core', which exists only inside a Functions worker: the library '@azure/functions'
 * asks for it by `require` and registers programming model, functions and hooks there. Names, errors and order of
 * calls are the real Node.js worker's.
 */

/** What the library gives us, as far as the host uses it. */
export interface ProgrammingModel {
  name: string;
  version: string;
  getInvocationModel(context: CoreInvocationContext): InvocationModel;
  getCapabilities?(capabilities: Record<string, string>): Record<string, string> | Promise<Record<string, string>>;
}

export interface InvocationModel {
  getArguments(): Promise<{ context: unknown; inputs: unknown[] }>;
  invokeFunction(context: unknown, inputs: unknown[], functionCallback: FunctionCallback): Promise<unknown>;
  getResponse(context: unknown, result: unknown): Promise<unknown>;
}

export interface CoreInvocationContext {
  invocationId: string;
  request: unknown;
  metadata: FunctionMetadata;
  state: 'preInvocationHooks' | 'invocation' | 'postInvocationHooks' | undefined;
  log(level: string, category: string, message: string): void;
}

export type FunctionCallback = (...args: unknown[]) => unknown;
export type HookCallback = (context: Record<string, unknown>) => unknown;

export const hookNames = ['preInvocation', 'postInvocation', 'appStart', 'appTerminate', 'log'] as const;
export type HookName = (typeof hookNames)[number];

const bindingSchema = z.looseObject({
  type: z.string(),
  direction: z.enum(['in', 'out', 'inout']).default('in'),
});
const metadataSchema = z.looseObject({
  name: z.string(),
  bindings: z.record(z.string(), bindingSchema),
});
export type FunctionMetadata = z.infer<typeof metadataSchema>;

export interface Registration {
  metadata: FunctionMetadata;
  callback: FunctionCallback;
}

const coreModuleName = '@azure/functions-core';
/** The version that the real host would tell; libraries compare it to find out what they may use. */
const emulatedHostVersion = '4.1040.300';
const emulatedWorkerVersion = '3.10.1';

class Disposable {
  readonly #onDispose: () => void;

  constructor(onDispose: () => void) {
    this.#onDispose = onDispose;
  }

  static from(...disposables: { dispose(): unknown }[]): Disposable {
    return new Disposable(() => {
      for (const disposable of disposables) disposable.dispose();
    });
  }

  dispose(): void {
    this.#onDispose();
  }
}

function systemError<E extends Error>(error: E): E {
  return Object.assign(error, { isAzureFunctionsSystemError: true });
}

/** One app's registrations. */
export class CoreModule {
  readonly registrations = new Map<string, Registration>();
  readonly #hooks = new Map<HookName, HookCallback[]>(hookNames.map((name) => [name, []]));
  readonly #log: Log;
  #model: ProgrammingModel | undefined;
  #hasStarted = false;

  constructor(log: Log) {
    this.#log = log;
  }

  get model(): ProgrammingModel {
    if (this.#model === undefined) {
      throw new DevhostError('noProgrammingModel', 'the app was loaded, but registered nothing by @azure/functions');
    }
    return this.#model;
  }

  get hasModel(): boolean {
    return this.#model !== undefined;
  }

  hooks(name: HookName): readonly HookCallback[] {
    return this.#hooks.get(name) ?? [];
  }

  /** From now on nothing can be registered. */
  finishStartup(): void {
    this.#hasStarted = true;
  }

  /** What `require('@azure/functions-core')` gives. */
  readonly exports = Object.freeze({
    version: emulatedWorkerVersion,
    hostVersion: emulatedHostVersion,
    Disposable,
    setProgrammingModel: (model: ProgrammingModel): void => {
      this.#model = model;
    },
    getProgrammingModel: (): ProgrammingModel | undefined => this.#model,
    registerFunction: (metadata: unknown, callback: FunctionCallback): Disposable =>
      this.#registerFunction(metadata, callback),
    registerHook: (name: string, callback: HookCallback): Disposable => this.#registerHook(name, callback),
    log: (level: string, category: string, message: string): void => {
      this.#log.write(fromFunctionsLevel(level), message, category === 'user' ? {} : { category });
    },
  });

  #registerFunction(rawMetadata: unknown, callback: FunctionCallback): Disposable {
    if (this.#hasStarted) {
      throw systemError(new Error('A function can only be registered during app startup.'));
    }
    const metadata = metadataSchema.parse(rawMetadata);
    const id = metadata.name.toLowerCase();
    const other = this.registrations.get(id);
    if (other !== undefined) {
      throw systemError(
        new Error(
          `A function named "${other.metadata.name}" has already been registered: "${metadata.name}" is taken.`,
        ),
      );
    }
    this.registrations.set(id, { metadata, callback });
    return new Disposable(() => {
      if (this.#hasStarted) throw systemError(new Error('A function can only be disposed during app startup.'));
      this.registrations.delete(id);
    });
  }

  #registerHook(name: string, callback: HookCallback): Disposable {
    const callbacks = hookNames.find((known) => known === name);
    const registered = callbacks === undefined ? undefined : this.#hooks.get(callbacks);
    if (registered === undefined) throw systemError(new RangeError(`Unrecognized hook "${name}"`));
    registered.push(callback);
    return new Disposable(() => {
      const index = registered.indexOf(callback);
      if (index >= 0) registered.splice(index, 1);
    });
  }
}

let installed = false;

/**
 * Makes `require('@azure/functions-core')` give this module. Must run before the app is loaded: a library that finds
 * no core module goes into test mode for good. One app a process, as in the real worker.
 */
export function installCoreModule(core: CoreModule): void {
  if (installed) throw new DevhostError('secondApp', 'a process can load one app only');
  installed = true;
  const prototype: { require: (this: Module, id: string) => unknown } = Module.prototype;
  const originalRequire = prototype.require;
  prototype.require = Object.assign(function (this: Module, id: string): unknown {
    return id === coreModuleName ? core.exports : originalRequire.call(this, id);
  }, originalRequire);
}
