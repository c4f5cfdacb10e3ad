/**
 * Faults on demand for the in-memory stores: a call fails before it had its effect (the request was lost) or after
 * (the answer was lost).
 */
export class Faults {
  private readonly armed: { operation: string; when: FaultTime; skip: number; times: number; error: () => Error }[] =
    [];
  /** Every call in order, for tests that ask what was done. */
  readonly calls: string[] = [];

  /** The next `times` calls of `operation` (`*` = any) fail, once `skip` of them went through. */
  fail(operation: string, when: FaultTime, options: { skip?: number; times?: number; error?: () => Error } = {}): void {
    this.armed.push({
      operation,
      when,
      skip: options.skip ?? 0,
      times: options.times ?? 1,
      error: options.error ?? (() => new Error(`injected fault: ${operation}, ${when}`)),
    });
  }

  /** Forgets the faults that still wait for their call. */
  clear(): void {
    this.armed.length = 0;
  }

  /** Whether faults are still waiting for their call. */
  get pending(): boolean {
    return this.armed.length > 0;
  }

  async around<T>(operation: string, effect: () => T | Promise<T>): Promise<T> {
    this.calls.push(operation);
    // A turn of the event loop, as a real store takes: callers that do not await show themselves.
    await new Promise((resolve) => setImmediate(resolve));
    const fault = this.take(operation);
    if (fault?.when === 'beforeEffect') throw fault.error();
    const result = await effect();
    if (fault?.when === 'afterEffect') throw fault.error();
    return result;
  }

  private take(operation: string): { when: FaultTime; error: () => Error } | undefined {
    for (const [index, fault] of this.armed.entries()) {
      if (fault.operation !== '*' && fault.operation !== operation) continue;
      if (fault.skip > 0) {
        fault.skip--;
        continue;
      }
      if (--fault.times === 0) this.armed.splice(index, 1);
      return fault;
    }
    return undefined;
  }
}

export type FaultTime = 'beforeEffect' | 'afterEffect';
