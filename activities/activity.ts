import type { CloudCompute } from '../core/ports/cloud-compute.js';
import type { CloudInventory } from '../core/ports/cloud-inventory.js';
import type { Clock } from '../core/ports/clock.js';
import type { ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import type { TransferStore } from '../core/ports/transfer-store.js';
import type { Webhooks } from '../core/ports/webhooks.js';
import type { ActivityDefinition } from './contract.js';

/** What the activities touch; each factory asks for the part that it needs. */
export interface ActivityDependencies {
  table: StateTable;
  replicas: ReplicaStore;
  transfers: TransferStore;
  compute: CloudCompute;
  cloudInventory: CloudInventory;
  clock: Clock;
  webhooks: Webhooks;
}

/** The function behind a definition of the contract. */
export type Activity<Definition> =
  Definition extends ActivityDefinition<infer Input, infer Output> ? (input: Input) => Promise<Output> : never;

export const done = { kind: 'done' } as const;
export const superseded = { kind: 'superseded' } as const;
