import type { HostClock } from '../../../devhost/contract.js';

/** Business time that moves only by hand. */
export class ManualClock implements HostClock {
  #nowMs: number;
  readonly #waiting = new Set<{ atMs: number; callback: () => void }>();

  constructor(startMs = Date.UTC(2026, 0, 5, 8, 0, 0)) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  schedule(atMs: number, callback: () => void): () => void {
    const entry = { atMs, callback };
    this.#waiting.add(entry);
    if (atMs <= this.#nowMs) setImmediate(() => this.#fire());
    return () => this.#waiting.delete(entry);
  }

  /** When the next scheduled thing is due. */
  get nextMs(): number | undefined {
    const times = [...this.#waiting].map(({ atMs }) => atMs);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  advance(byMs: number): void {
    this.#nowMs += byMs;
    this.#fire();
  }

  #fire(): void {
    for (const entry of [...this.#waiting].sort((a, b) => a.atMs - b.atMs)) {
      if (entry.atMs > this.#nowMs || !this.#waiting.delete(entry)) continue;
      entry.callback();
    }
  }
}
