import type { ProtectedItem } from '../core/domain/protected-item/protected-item.js';

interface Track {
  firstReceived: number;
  firstApplied: number;
  received: number;
  applied: number;
  receivedTakenAtMs: number | undefined;
}

export interface CycleSummary {
  receivedCount: number;
  appliedCount: number;
  /** Cycles received of the VM that had the fewest, and the most. */
  fewest: number;
  most: number;
  /** Business time between the log switches of successive cycles. */
  gapSeconds: { median: number; worst: number };
  /** Now less the log switch of the last cycle received, at the worst look. */
  worstRpoSeconds: number;
  /** How old the oldest received and not yet applied cycle's arrival was, at the worst look. */
  worstApplyLagSeconds: number;
  resyncCount: number;
}

/** Follows items by their rows, looked at more often than cycles come. */
export class CycleTimes {
  readonly #tracks = new Map<string, Track>();
  readonly #gaps: number[] = [];
  #worstRpoSeconds = 0;
  #worstApplyLagSeconds = 0;
  #resyncCount = 0;

  constructor(items: readonly ProtectedItem[]) {
    for (const { itemId, replication } of items) {
      const { receivedCycle, appliedCycle, receivedTakenAt } = replication;
      this.#tracks.set(itemId, {
        firstReceived: receivedCycle,
        firstApplied: appliedCycle,
        received: receivedCycle,
        applied: appliedCycle,
        receivedTakenAtMs: receivedTakenAt === undefined ? undefined : Date.parse(receivedTakenAt),
      });
    }
  }

  look(items: readonly ProtectedItem[], nowMs: number): void {
    this.#resyncCount = items.filter(({ replication }) => replication.resyncRequired !== undefined).length;
    for (const { itemId, replication } of items) {
      const track = this.#tracks.get(itemId);
      if (track === undefined) continue;
      const { receivedCycle, appliedCycle, receivedTakenAt, receivedAt } = replication;
      if (receivedCycle > appliedCycle && receivedAt !== undefined) {
        this.#worstApplyLagSeconds = Math.max(this.#worstApplyLagSeconds, (nowMs - Date.parse(receivedAt)) / 1000);
      }
      const takenAtMs = receivedTakenAt === undefined ? undefined : Date.parse(receivedTakenAt);
      if (takenAtMs !== undefined) {
        this.#worstRpoSeconds = Math.max(this.#worstRpoSeconds, (nowMs - takenAtMs) / 1000);
        if (receivedCycle > track.received && track.receivedTakenAtMs !== undefined) {
          const cycles = receivedCycle - track.received;
          for (let each = 0; each < cycles; each++) {
            this.#gaps.push((takenAtMs - track.receivedTakenAtMs) / 1000 / cycles);
          }
        }
      }
      track.received = receivedCycle;
      track.applied = appliedCycle;
      track.receivedTakenAtMs = takenAtMs;
    }
  }

  summary(): CycleSummary {
    const received = [...this.#tracks.values()].map((track) => track.received - track.firstReceived);
    const applied = [...this.#tracks.values()].map((track) => track.applied - track.firstApplied);
    const gaps = [...this.#gaps].sort((a, b) => a - b);
    return {
      receivedCount: received.reduce((sum, count) => sum + count, 0),
      appliedCount: applied.reduce((sum, count) => sum + count, 0),
      fewest: Math.min(...received),
      most: Math.max(...received),
      gapSeconds: { median: gaps[gaps.length >> 1] ?? Number.NaN, worst: gaps.at(-1) ?? Number.NaN },
      worstRpoSeconds: this.#worstRpoSeconds,
      worstApplyLagSeconds: this.#worstApplyLagSeconds,
      resyncCount: this.#resyncCount,
    };
  }
}
