import { z } from 'zod';

/**
 * What the durable engine needs from storage. One partition holds one instance: its head (the commit point), the
 * turns of its history, its inbox, and for entities the receipts of operations done.
 *
 * Promises of every store:
 * - `create` and `commit` are atomic: all of it is visible, or nothing; a commit lands only on the head it was based on.
 * - `StoreConflictError` means that the head has moved on (or exists already); any other error leaves the outcome
 *   unknown, and the caller loads the instance again before it does anything else with it.
 */
export interface DurableStore {
  /** Written into every head; a head with a higher one belongs to a newer writer and is left alone. */
  readonly writerEpoch: number;
  load(instanceId: string): Promise<LoadedInstance | undefined>;
  readHead(instanceId: string): Promise<StoredHead | undefined>;
  /** Replaces a finished instance where `replaced` is given, with all its rows. */
  create(head: InstanceHead, replaced?: StoredHead): Promise<StoredHead>;
  commit(base: StoredHead, change: HeadChange): Promise<StoredHead>;
  /** Removes the instance with all its rows. */
  remove(stored: StoredHead): Promise<void>;
  list(query: HeadQuery): Promise<HeadPage>;
  /** Ids of all instances that may have work left: not finished, or with messages not yet delivered. */
  listUnfinished(): Promise<string[]>;
}

export class StoreConflictError extends Error {
  override readonly name = 'StoreConflictError';
}

export const runtimeStatuses = [
  'Pending',
  'Running',
  'Suspended',
  'Completed',
  'Failed',
  'Terminated',
  'Canceled',
] as const;
export type RuntimeStatus = (typeof runtimeStatuses)[number];

export function isFinal(status: RuntimeStatus): boolean {
  return status === 'Completed' || status === 'Failed' || status === 'Terminated' || status === 'Canceled';
}

const parentLink = z.object({
  instanceId: z.string(),
  executionId: z.string(),
  name: z.string(),
  taskId: z.number(),
});
export type ParentLink = z.infer<typeof parentLink>;

/** One operation on its way to an entity; `requestId` makes its delivery exactly-once. */
export const entityRequest = z.object({
  requestId: z.string(),
  target: z.string(),
  operation: z.string(),
  input: z.string().nullable(),
  isSignal: z.boolean(),
  caller: z.object({ instanceId: z.string(), executionId: z.string() }).nullable(),
});
export type EntityRequest = z.infer<typeof entityRequest>;

const headBase = {
  instanceId: z.string(),
  name: z.string(),
  createdAtMs: z.number(),
  updatedAtMs: z.number(),
  /** Number of the writer that wrote this head. */
  epoch: z.number(),
  outbox: z.array(entityRequest),
};

const orchestrationHead = z.object({
  ...headBase,
  kind: z.literal('orchestration'),
  version: z.string(),
  status: z.enum(runtimeStatuses),
  executionId: z.string(),
  parent: parentLink.nullable(),
  /** JSON texts. */
  input: z.string().nullable(),
  output: z.string().nullable(),
  customStatus: z.string().nullable(),
  /** Turns of other generations, or at and beyond `turnCount`, are left-overs. */
  generation: z.number(),
  turnCount: z.number(),
  cancelledTimerIds: z.array(z.number()),
  /** Client messages that the last commit consumed: tells whether an unclear commit took place. */
  recentMessageIds: z.array(z.string()),
  /** Its next turn needs no message: it runs on from a history that was cut back. */
  rewound: z.boolean(),
});
export type OrchestrationHead = z.infer<typeof orchestrationHead>;

const entityHead = z.object({
  ...headBase,
  kind: z.literal('entity'),
  exists: z.boolean(),
  /** Signals in the inbox. */
  inboxCount: z.number(),
  state: z.string().nullable(),
});
export type EntityHead = z.infer<typeof entityHead>;

export const instanceHead = z.discriminatedUnion('kind', [orchestrationHead, entityHead]);
export type InstanceHead = z.infer<typeof instanceHead>;

/** Fields of a head that can be large; a store may keep them apart. */
export const largeFields = ['input', 'output', 'state'] as const;
export type LargeField = (typeof largeFields)[number];

/** A head as it stands in the store. The token belongs to the store; it changes with every commit. */
export interface StoredHead {
  readonly head: InstanceHead;
  readonly token: unknown;
}

export interface InboxMessage {
  key: string;
  text: string;
}

export interface LoadedInstance {
  stored: StoredHead;
  turns: string[];
  inbox: InboxMessage[];
  /** Texts by request id. */
  receipts: ReadonlyMap<string, string>;
}

export interface HeadChange {
  head: InstanceHead;
  /** Written at index `turns.from` and following; `head.turnCount` must say how many there are in the end. */
  turns?: { from: number; texts: string[] };
  addInbox?: InboxMessage[];
  removeInbox?: string[];
  addReceipts?: { requestId: string; text: string }[];
  removeReceipts?: string[];
}

/** More inbox rows than this are not consumed by one commit, so that the commit itself stays one transaction. */
export const maxInboxRowsPerCommit = 40;

export interface HeadQuery {
  kind: InstanceHead['kind'];
  instanceIdPrefix?: string;
  /** For entities: the entity's name. */
  name?: string;
  createdFromMs?: number;
  createdToMs?: number;
  updatedFromMs?: number;
  updatedToMs?: number;
  statuses?: readonly RuntimeStatus[];
  pageSize: number;
  continuation?: string;
}

export interface HeadPage {
  heads: StoredHead[];
  continuation?: string;
}

export function hasWorkLeft(head: InstanceHead): boolean {
  if (head.outbox.length > 0) return true;
  return head.kind === 'entity' ? head.inboxCount > 0 : !isFinal(head.status);
}
