interface Waiting {
  weight: number;
  enter(): void;
}

/** Who is inside at the same time, and who waits for that. */
class Line {
  readonly #queue: Waiting[] = [];
  #inside = 0;

  constructor(readonly limit: number) {}

  hasRoomFor(weight: number): boolean {
    return this.#inside + weight <= this.limit;
  }

  /** Rejects with the signal's reason when aborted while queueing. */
  async enter(weight: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const giveUp = () => {
        this.#queue.splice(this.#queue.indexOf(waiting), 1);
        // Someone lighter may have stood behind.
        this.#admit();
        reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
      };
      const waiting: Waiting = {
        weight,
        enter: () => {
          signal?.removeEventListener('abort', giveUp);
          resolve();
        },
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      this.#queue.push(waiting);
      this.#admit();
    });
  }

  /** Takes in who is inside another line, past the queue. The caller has seen that there is room. */
  take(weight: number): void {
    this.#inside += weight;
  }

  leave(weight: number): void {
    this.#inside -= weight;
    this.#admit();
  }

  /** Nobody overtakes the head of the queue, however light: heavy ones would wait for ever. */
  #admit(): void {
    for (let head = this.#queue[0]; head && this.hasRoomFor(head.weight); head = this.#queue[0]) {
      this.#queue.shift();
      this.#inside += head.weight;
      head.enter();
    }
  }
}

interface Holder {
  line: Line;
  weight: number;
}

export interface SlowLane {
  /** Weight inside it, beside the main lane's. */
  limit: number;
  /** System time. */
  afterMilliseconds: number;
}

/**
 * Lets holders in as long as their weights together stay within `limit`, first come first served: whoever leaves and comes
 * back queues at the end, so that items take turns and none starves another. A weight above the limit counts as the limit.
 *
 * Beside it there may be a slow lane with a limit of its own, so that few that are slow do not hold up the many that are not:
 * who takes long moves there once there is room, and who is known to be slow (its last work under the same key failed, or
 * its weight is more than half of the limit) goes there from the start.
 */
export class Turnstile {
  readonly #main: Line;
  readonly #slow: Line | undefined;
  readonly #slowAfterMilliseconds: number;
  /** In the main lane for longer than they should be; oldest first. */
  readonly #overdue: Holder[] = [];
  /** Keys whose last work failed. */
  readonly #failed = new Set<string>();

  constructor(limit: number, slow?: SlowLane) {
    this.#main = new Line(limit);
    this.#slow = slow && new Line(slow.limit);
    this.#slowAfterMilliseconds = slow?.afterMilliseconds ?? 0;
  }

  /** Runs `work` once there is room. Rejects with the signal's reason when aborted while queueing. */
  async pass<T>(
    work: () => Promise<T>,
    { weight = 1, signal, key }: { signal?: AbortSignal; weight?: number; key?: string } = {},
  ): Promise<T> {
    const isKnownSlow = weight > this.#main.limit / 2 && this.#main.limit > 1;
    const line = (isKnownSlow || (key !== undefined && this.#failed.has(key)) ? this.#slow : undefined) ?? this.#main;
    const holder: Holder = { line, weight: Math.min(weight, line.limit) };
    await line.enter(holder.weight, signal);
    const timer = line === this.#main ? this.#watch(holder) : undefined;
    try {
      const result = await work();
      if (key !== undefined) this.#failed.delete(key);
      return result;
    } catch (error) {
      if (key !== undefined && signal?.aborted !== true) this.#failed.add(key);
      throw error;
    } finally {
      clearTimeout(timer);
      const index = this.#overdue.indexOf(holder);
      if (index >= 0) this.#overdue.splice(index, 1);
      holder.line.leave(holder.weight);
      this.#moveOverdue();
    }
  }

  #watch(holder: Holder): NodeJS.Timeout | undefined {
    if (this.#slow === undefined) return undefined;
    return setTimeout(() => {
      this.#overdue.push(holder);
      this.#moveOverdue();
    }, this.#slowAfterMilliseconds);
  }

  #moveOverdue(): void {
    const slow = this.#slow;
    for (let next = this.#overdue[0]; next && slow?.hasRoomFor(next.weight); next = this.#overdue[0]) {
      this.#overdue.shift();
      slow.take(next.weight);
      next.line.leave(next.weight);
      next.line = slow;
    }
  }
}
