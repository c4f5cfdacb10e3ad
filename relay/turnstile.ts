interface Waiting {
  weight: number;
  enter(): void;
}

/**
 * Lets holders in as long as their weights together stay within `limit`, first come first served: whoever leaves and comes
 * back queues at the end, so that items take turns and none starves another. A weight above the limit counts as the limit.
 */
export class Turnstile {
  readonly #limit: number;
  readonly #queue: Waiting[] = [];
  #inside = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Runs `work` once there is room. Rejects with the signal's reason when aborted while queueing. */
  async pass<T>(work: () => Promise<T>, options: { signal?: AbortSignal; weight?: number } = {}): Promise<T> {
    const weight = Math.min(options.weight ?? 1, this.#limit);
    await this.#enter(weight, options.signal);
    try {
      return await work();
    } finally {
      this.#inside -= weight;
      this.#admit();
    }
  }

  async #enter(weight: number, signal: AbortSignal | undefined): Promise<void> {
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

  /** Nobody overtakes the head of the queue, however light: heavy ones would wait for ever. */
  #admit(): void {
    for (let head = this.#queue[0]; head && this.#inside + head.weight <= this.#limit; head = this.#queue[0]) {
      this.#queue.shift();
      this.#inside += head.weight;
      head.enter();
    }
  }
}
