import type { Temporal } from 'temporal-polyfill';

/** Business time: cycles, RPO, retries, windows, retention, job times. Never for SAS, leases, signatures or transfer timeouts. */
export interface Clock {
  now(): Promise<Temporal.Instant>;
  /** Resolves when business time has reached `instant`, also after the clock was advanced; rejects with the signal's reason. */
  waitUntil(instant: Temporal.Instant, signal?: AbortSignal): Promise<void>;
}
