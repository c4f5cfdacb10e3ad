import type { Temporal } from 'temporal-polyfill';
import type { Clock } from '../core/ports/clock.js';
import type { CloudCompute } from '../core/ports/cloud-compute.js';
import type { CloudInventory } from '../core/ports/cloud-inventory.js';
import type { Mailer } from '../core/ports/mailer.js';
import type { ReplicaStore } from '../core/ports/replica-store.js';
import type { StateTable } from '../core/ports/state-table.js';
import type { TransferStore } from '../core/ports/transfer-store.js';
import type { Webhooks } from '../core/ports/webhooks.js';
import type { Authenticator } from './http/authentication.js';
import type { RateLimits } from './http/rate-limit.js';
import type { AssignmentChanges } from './relay-api/assignment-changes.js';
import type { Workflows } from './workflows-client.js';

/** What the doors work with: the ports, and what differs between a laptop and Azure. */
export interface App {
  table: StateTable;
  /** Business time. */
  clock: Clock;
  /** System time: signatures, keys and tokens (docs/architecture.md, "Two clocks"). */
  systemNow: () => Temporal.Instant;
  cloudInventory: CloudInventory;
  transfers: TransferStore;
  replicas: ReplicaStore;
  compute: CloudCompute;
  webhooks: Webhooks;
  /** Absent where no mail server is set. */
  mailer?: Mailer;
  /** Hears of what this process writes through `table`. */
  assignmentChanges: AssignmentChanges;
  authenticator: Authenticator;
  /** Absent on a laptop, where nobody else calls. */
  rateLimits?: RateLimits;
  /** Seconds that clients are told to wait between polls. */
  retryAfterSeconds: number;
  log: (message: string, error?: unknown) => void;
}

/** An app together with the durable client of the invocation at hand. */
export interface AppInvocation extends App {
  workflows: Workflows;
}
