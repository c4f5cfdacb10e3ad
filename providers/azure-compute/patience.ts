import { setTimeout as sleep } from 'node:timers/promises';
import { UnderstudyError } from '../../core/domain/errors.js';
import { armFailure, isPassing, unfinished } from './arm-errors.js';

export interface WaitLimits {
  waitMilliseconds: number;
  pollMilliseconds: number;
}

/** An activity is tried again when it fails; one that waits long holds up its worker and is cut off by the host. */
export const defaultWaitLimits: WaitLimits = { waitMilliseconds: 55_000, pollMilliseconds: 2_000 };

/**
 * How long one call of the port waits for Azure, all its steps together. What is not done by then goes on in Azure, and the
 * next call finds it.
 */
export class Patience {
  private readonly endsAt: number;
  readonly signal: AbortSignal;
  readonly pollMilliseconds: number;

  constructor(limits: WaitLimits) {
    this.endsAt = performance.now() + limits.waitMilliseconds;
    this.signal = AbortSignal.timeout(limits.waitMilliseconds);
    this.pollMilliseconds = limits.pollMilliseconds;
  }

  /** Runs an idempotent step again, while there is time, as long as what stands against it may pass. */
  async insist<T>(tried: string, step: () => Promise<T>): Promise<T> {
    let last: UnderstudyError | undefined;
    for (;;) {
      try {
        return await step();
      } catch (error) {
        if (this.signal.aborted && isAbort(error)) throw last ?? unfinished(tried, 'Azure has not finished yet');
        const failure = armFailure(tried, error);
        if (!isPassing(failure)) throw failure;
        const { retryAfterSeconds } = failure.details;
        const pause = Math.max(
          this.pollMilliseconds,
          typeof retryAfterSeconds === 'number' ? retryAfterSeconds * 1000 : 0,
        );
        if (performance.now() + pause >= this.endsAt) throw failure;
        last = failure;
        await sleep(pause);
      }
    }
  }
}

const isAbort = (error: unknown): boolean =>
  error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError');
