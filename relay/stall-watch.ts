/**
 * Breaks off work that makes no progress for too long, in system time: whoever hangs gives back what it holds. `signal`
 * aborts with the outer one, or with what `failure` makes. End it.
 */
export class StallWatch {
  readonly signal: AbortSignal;
  readonly #stalled = new AbortController();
  readonly #milliseconds: number;
  readonly #failure: () => Error;
  readonly #rejectedOnStall: Promise<never>;
  #timer: NodeJS.Timeout | undefined;

  constructor(signal: AbortSignal, milliseconds: number, failure: () => Error) {
    this.signal = AbortSignal.any([signal, this.#stalled.signal]);
    this.#milliseconds = milliseconds;
    this.#failure = failure;
    this.#rejectedOnStall = new Promise((_, reject) => {
      this.#stalled.signal.addEventListener('abort', () => {
        reject(this.#stalled.signal.reason as Error);
      });
    });
    this.#rejectedOnStall.catch(() => undefined);
    this.progress();
  }

  progress(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#stalled.abort(this.#failure());
    }, this.#milliseconds);
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  /** Each piece that comes, and that is taken, is progress. Ends with the failure when one is not, even if the source hangs. */
  async *through<T>(source: AsyncIterable<T>): AsyncGenerator<T, void> {
    const pieces = source[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next: IteratorResult<T, unknown> = await Promise.race([pieces.next(), this.#rejectedOnStall]);
        if (next.done === true) return;
        this.progress();
        yield next.value;
        this.progress();
      }
    } finally {
      const ended = pieces.return?.();
      if (this.#stalled.signal.aborted) ended?.catch(() => undefined);
      else await ended;
    }
  }
}
