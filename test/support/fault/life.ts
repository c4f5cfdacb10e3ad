/** The death of a process, as seen from inside one: what it had under way neither ends nor goes on. */
export const never = <T>(): Promise<T> => new Promise<T>(() => undefined);

/**
 * One life of a simulated process. Everything it does to the world outside goes through `step`: once it is dead, its calls
 * have no effect and never return, and what it had asked for is not answered any more.
 */
export class Life {
  static #count = 0;
  readonly id = ++Life.#count;
  #isDead = false;
  #stepsLeft: { count: number; afterEffect: boolean } | undefined;
  readonly #onDeath: (() => void)[] = [];
  /** Steps taken so far. */
  steps = 0;

  constructor(readonly name: string) {}

  get isDead(): boolean {
    return this.#isDead;
  }

  /** It has a step set at which it dies. */
  get isDoomed(): boolean {
    return this.#stepsLeft !== undefined || this.#isDead;
  }

  onDeath(run: () => void): void {
    this.#onDeath.push(run);
  }

  kill(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    for (const run of this.#onDeath) run();
  }

  /** Dies at the n-th step from now on: before its effect, or when the effect is there and the answer is not. */
  dieAtStep(count: number, afterEffect: boolean): void {
    this.#stepsLeft = { count, afterEffect };
  }

  /** It lives on. */
  spare(): void {
    this.#stepsLeft = undefined;
  }

  async step<T>(effect: () => T | Promise<T>): Promise<T> {
    if (this.#isDead) return never();
    this.steps++;
    const plan = this.#stepsLeft;
    if (plan && --plan.count <= 0) {
      this.#stepsLeft = undefined;
      if (!plan.afterEffect) {
        this.kill();
        return never();
      }
      try {
        await effect();
      } finally {
        this.kill();
      }
      return never();
    }
    try {
      return await this.#unlessDead(await effect());
    } catch (error) {
      if (this.#isDead) return never();
      throw error;
    }
  }

  #unlessDead<T>(value: T): T | Promise<T> {
    return this.#isDead ? never() : value;
  }
}

/** Around each call of a port: where faults are put in. */
export type Around = <T>(method: string, effect: () => Promise<T>, args: readonly unknown[]) => Promise<T>;

/** The port as one life sees it. Objects that its methods return (readers) belong to the same life. */
export function portOf<Port extends object>(
  life: Life,
  port: Port,
  around: Around = (_method, effect) => effect(),
): Port {
  return new Proxy(port, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      const method = String(name);
      return (...args: unknown[]): unknown => {
        if (life.isDead) return never();
        if (syncMethods.has(method)) return portOf(life, Reflect.apply(member, target, args) as object, around);
        if (streamMethods.has(method)) {
          return stream(life, () => Reflect.apply(member, target, args) as AsyncIterable<unknown>, method, around);
        }
        return life.step(() =>
          around(
            method,
            async () => {
              const result: unknown = await Reflect.apply(member, target, args);
              return handleMethods.has(method) ? portOf(life, result as object, around) : result;
            },
            args,
          ),
        );
      };
    },
  });
}

/** Methods that return a reader at once, a reader later, or a stream. */
const syncMethods = new Set(['openReader']);
const handleMethods = new Set(['openCheckpointDisk', 'openLog']);
const streamMethods = new Set(['allocatedRanges', 'listBelow']);

async function* stream<T>(life: Life, open: () => AsyncIterable<T>, method: string, around: Around): AsyncGenerator<T> {
  // Gathered at once: a listing is one answer.
  const found = await life.step(() =>
    around(method, async () => {
      const all: T[] = [];
      for await (const each of open()) all.push(each);
      return all;
    }, []),
  );
  yield* found;
}
