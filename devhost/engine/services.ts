import type { HostClock, HostModes, Worker } from '../contract.js';
import type { DurableStore, EntityRequest, InstanceHead, OrchestrationHead, ParentLink } from './store.js';

export interface EngineLog {
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

export interface ChildRequest {
  instanceId: string;
  name: string;
  version: string;
  input: string | null;
  parent: ParentLink;
}

/** What live instances need from the engine around them. */
export interface EngineServices {
  readonly store: DurableStore;
  readonly worker: Worker;
  readonly clock: HostClock;
  readonly modes: HostModes;
  readonly log: EngineLog;
  /** Runs at most so many turns, and so many activities, at a time. */
  readonly turnSlots: <T>(run: () => Promise<T>) => Promise<T>;
  readonly activitySlots: <T>(run: () => Promise<T>) => Promise<T>;
  readonly isStopping: () => boolean;
  /** Makes sure that the child runs, or tells its parent again how it ended. */
  startChild(request: ChildRequest): Promise<void>;
  /** Resolves once the entity has committed the operation, or had done so before. */
  deliver(request: EntityRequest): Promise<void>;
  /** The request has left its sender's outbox for good: nobody will send it again. */
  requestSettled(request: EntityRequest): void;
  /** Ids in all outboxes; undefined until all unfinished instances have been taken up. */
  requestsUnderWay(): Set<string> | undefined;
  reply(request: EntityRequest, reply: string): void;
  /** After each committed turn. */
  turnCommitted(head: InstanceHead): void;
  finished(head: OrchestrationHead): void;
  /** Another writer has taken over: nothing may be written any more. */
  fenced(reason: string): void;
}

/** Waits in system time; ends early, without an error, when the signal fires. */
export function pause(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal?.addEventListener('abort', done);
  });
}

export function backoffMs(attempt: number): number {
  return Math.min(100 * 2 ** attempt, 15_000);
}

export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
