import type { Logger } from 'pino';
import type { BlobTransfer } from '../core/ports/blob-transfer.js';
import type { Clock } from '../core/ports/clock.js';
import type { HypervisorHost } from '../core/ports/hypervisor-host.js';
import type { AppClient } from './app-client.js';
import type { ItemStateStore } from './item-state.js';
import type { Progress } from './progress.js';
import type { Turnstile } from './turnstile.js';

/** What the parts of one relay process share. */
export interface RelayContext {
  client: AppClient;
  host: HypervisorHost;
  blobs: BlobTransfer;
  clock: Clock;
  states: ItemStateStore;
  log: Logger;
  progress: Progress;
  /** Items that build and send at the same time. */
  sendingGate: Turnstile;
  /** Transfer logs that travel at the same time. */
  uploadGate: Turnstile;
  /** Log entries in memory for coalescing; a log weighs as many as it has. */
  coalesceGate: Turnstile;
  /** Asks the app again what it wants, because it refused something. */
  refreshAssignments(): void;
  /** Something changed that the operator wants to see before the next regular heartbeat. */
  reportSoon(): void;
}
