import { inspect } from 'node:util';
import { Temporal } from 'temporal-polyfill';
import type { ActivityDependencies } from '../../../activities/activity.js';
import { activityRegistrations, type RegisteredActivity } from '../../../activities/registration.js';
import { asItemId, asVaultId } from '../../../core/domain/ids.js';
import type { Webhooks } from '../../../core/ports/webhooks.js';
import type { Clock } from '../../../core/ports/clock.js';
import type {
  DurableEngine,
  HostModes,
  InvocationOutcome,
  InvocationRequest,
  Worker,
} from '../../../devhost/contract.js';
import { createDurableEngine } from '../../../devhost/engine/engine.js';
import type { DurableStore } from '../../../devhost/engine/store.js';
import { leaveWork, startWhatRowsAskFor } from '../../../functions/activity-registration.js';
import type { AppInvocation } from '../../../functions/app.js';
import { operations } from '../../../functions/arm/operations.js';
import { Router } from '../../../functions/arm/router.js';
import { AssignmentChanges } from '../../../functions/relay-api/assignment-changes.js';
import { assignmentDigest } from '../../../functions/relay-api/assignments.js';
import { loopbackAuthenticator } from '../../../functions/http/authentication.js';
import type { ApiRequest, ApiResponse } from '../../../functions/http/exchange.js';
import { RelayRouter } from '../../../functions/relay-api/relay-router.js';
import { scheduleResyncs } from '../../../functions/timers/schedule-resyncs.js';
import { sweep } from '../../../functions/timers/sweep.js';
import { watch } from '../../../functions/timers/watch.js';
import { durableWorkflows } from '../../../functions/workflows-client.js';
import { functionAppWorker } from '../durable/function-app.js';
import '../replication/registered-functions.js';
import { Life, never, portOf } from './life.js';
import type { Storage } from './line.js';
import type { VirtualTime } from './virtual-time.js';

/** What outlives an app process. */
export interface CloudStores extends ActivityDependencies {
  hub: DurableStore;
}

const modes: HostModes = { strictTypes: false, activitiesTwice: false, replayEachTurn: false, killAfterTurns: 0 };
/** The app's timers (functions/doors.ts), each once a minute. */
const timers = { sweep, watch, scheduleResyncs };

export const noWebhooks: Webhooks = {
  faultOf: () => undefined,
  post: () => Promise.reject(new Error('no scene calls a runbook')),
};

/** One life of the function app with its durable engine: the real doors, workflows and activities over stores that outlive it. */
export class AppProcess {
  readonly life = new Life('app');
  readonly #engine: DurableEngine;
  readonly #invocation: AppInvocation;
  readonly #activities: ReadonlyMap<string, RegisteredActivity['handler']>;
  readonly #router = new Router(operations);
  readonly #relayRouter = new RelayRouter();

  constructor(
    private readonly world: {
      time: VirtualTime;
      clock: Clock;
      stores: CloudStores;
      storage: Storage;
      /** Before a transaction of the app: another writer's change of one of its rows. */
      beforeTransact: (args: readonly unknown[]) => Promise<void>;
      /** How far this app's system time is off. */
      skewMs: () => number;
      /** After an activity: runs it again when it says so. */
      again: (request: InvocationRequest, run: () => Promise<InvocationOutcome>) => void;
      log: (message: string) => void;
    },
  ) {
    const { time, stores, storage, log } = world;
    const life = this.life;
    const store = <Port extends object>(name: string, port: Port): Port =>
      portOf(life, port, (method, effect) => storage.call(`${name}.${method}`, effect));
    const assignmentChanges = new AssignmentChanges(assignmentDigest);
    const table = portOf(life, stores.table, async (method, effect, args) => {
      if (method === 'transact') await world.beforeTransact(args);
      return storage.call(`table.${method}`, effect);
    });
    const activities: ActivityDependencies = {
      table: assignmentChanges.observed(table),
      replicas: store('replicas', stores.replicas),
      transfers: store('transfers', stores.transfers),
      compute: portOf(life, stores.compute),
      cloudInventory: portOf(life, stores.cloudInventory),
      clock: portOf(life, world.clock),
      webhooks: noWebhooks,
    };
    this.#engine = createDurableEngine({
      worker: this.#worker(),
      clock: {
        now: () => time.now(),
        schedule: (atMs, callback) =>
          time.schedule(atMs, () => {
            if (!life.isDead) callback();
          }),
      },
      modes,
      hubName: 'FaultHub',
      store: portOf(life, stores.hub),
      log: {
        info: () => undefined,
        warn: (message, fields) => log(`engine: ${message} ${JSON.stringify(fields)}`),
        error: (message, fields) => log(`engine: ${message} ${JSON.stringify(fields)}`),
      },
    });
    this.#invocation = {
      ...activities,
      systemNow: () => Temporal.Instant.fromEpochMilliseconds(time.now() + world.skewMs()),
      assignmentChanges,
      authenticator: loopbackAuthenticator,
      retryAfterSeconds: 1,
      log: (message, error) =>
        log(
          error === undefined ? `app: ${message}` : `app: ${message} (${inspect(error, { depth: 1 }).split('\n')[0]})`,
        ),
      workflows: durableWorkflows(this.#durableClient()),
    };
    this.#activities = new Map(
      activityRegistrations(activities).map(({ name, handler }) => [
        name,
        leaveWork.has(name) ? this.#leavingWork(handler) : handler,
      ]),
    );
  }

  async start(): Promise<void> {
    await this.#engine.start();
    for (const name of Object.keys(timers) as (keyof typeof timers)[]) this.#everyMinute(name);
  }

  /** Nothing of this life has an effect any more. */
  kill(): void {
    this.life.kill();
    // Ends its timers; whatever else it would do on its way out goes through ports that are dead.
    this.#engine.stop().catch(() => undefined);
  }

  /** A call of the relay's doors. */
  relay(request: ApiRequest): Promise<ApiResponse> {
    return this.#relayRouter.answer(this.#invocation, request);
  }

  /** A call of an operator. */
  arm(request: ApiRequest): Promise<ApiResponse> {
    return this.#router.answer(this.#invocation, request);
  }

  async ring(instanceId: string): Promise<void> {
    await this.#invocation.workflows.ring(instanceId);
  }

  #worker(): Worker {
    const life = this.life;
    return {
      functions: functionAppWorker.functions,
      invoke: async (request) => {
        const activity = this.#activities.get(request.functionName);
        const run = () => (activity ? runActivity(activity, request) : functionAppWorker.invoke(request));
        if (life.isDead) return never();
        const outcome = await run();
        if (life.isDead) return never();
        if (activity) this.world.again(request, () => (life.isDead ? never() : run()));
        return outcome;
      },
    };
  }

  #leavingWork(handler: RegisteredActivity['handler']): RegisteredActivity['handler'] {
    return async (input) => {
      const output = await handler(input);
      const { vaultId, itemId } = input as { vaultId: string; itemId: string };
      const { workflows } = this.#invocation;
      await startWhatRowsAskFor(this.#invocation, () => workflows, asVaultId(vaultId), asItemId(itemId));
      return output;
    };
  }

  #everyMinute(name: keyof typeof timers): void {
    this.world.time.schedule(this.world.time.now() + 60_000, () => {
      if (this.life.isDead) return;
      this.#everyMinute(name);
      timers[name](this.#invocation).catch((error: unknown) => this.world.log(`${name}: ${String(error)}`));
    });
  }

  /** The engine's webhooks, as the durable client calls them. */
  #durableClient(): Parameters<typeof durableWorkflows>[0] {
    const call = async (method: string, path: string, body?: unknown) => {
      const { status, body: text } = await this.#engine.handleWebhook({
        method,
        url: new URL(`http://127.0.0.1:7071/runtime/webhooks/durabletask/${path}`),
        headers: { 'content-type': 'application/json' },
        body: Buffer.from(body === undefined ? '' : JSON.stringify(body)),
      });
      return { status, text };
    };
    const client = {
      startNew: async (name: string, { instanceId, input }: { instanceId: string; input: unknown }) => {
        const { status, text } = await call('POST', `orchestrators/${name}/${encodeURIComponent(instanceId)}`, input);
        if (status !== 202) throw new Error(`HTTP ${status}: ${text}`);
        return instanceId;
      },
      getStatus: async (instanceId: string) => {
        const { status, text } = await call('GET', `instances/${encodeURIComponent(instanceId)}?showInput=false`);
        if (status >= 300 && status !== 500) throw new Error(`HTTP ${status}: ${text}`);
        return JSON.parse(text) as unknown;
      },
      raiseEvent: async (instanceId: string, event: string, data: unknown) => {
        const { status } = await call('POST', `instances/${encodeURIComponent(instanceId)}/raiseEvent/${event}`, data);
        if (status === 404) throw new Error(`No instance with ID '${instanceId}' found.`);
      },
    };
    return client as unknown as Parameters<typeof durableWorkflows>[0];
  }
}

/**
 * This life's own handler, without the library's wrapping around it: what passes through that is tested with the engine, and
 * here it would be much of a long run's time.
 */
async function runActivity(
  handler: RegisteredActivity['handler'],
  request: InvocationRequest,
): Promise<InvocationOutcome> {
  const input: unknown = JSON.parse(request.inputData[0]?.data.string ?? 'null');
  try {
    const json = JSON.stringify(await handler(input)) as string | undefined;
    return { kind: 'returned', returnValue: json === undefined ? undefined : { json }, outputData: [] };
  } catch (error) {
    return { kind: 'threw', error: error instanceof Error ? error : new Error(String(error)) };
  }
}
