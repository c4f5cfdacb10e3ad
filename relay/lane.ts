import type { Temporal } from 'temporal-polyfill';
import { UnderstudyError } from '../core/domain/errors.js';
import type { Clock } from '../core/ports/clock.js';
import { isUnrecoverable } from '../core/domain/retry/classification.js';
import { nextAttemptAt } from '../core/domain/retry/retry-schedule.js';
import { UnexpectedRelayError } from './errors.js';
import { waitAtMostUntil } from './bounded-wait.js';
import { pauseUnless } from './interruptible-pause.js';

/** One step of work at a time, planned anew before each. */
export type LaneStep =
  | { kind: 'rest'; until?: Temporal.Instant }
  /** `attempt` says in words what is tried: it stands in the log. */
  | { kind: 'work'; attempt: string; run: (signal: AbortSignal) => Promise<void> };

export interface LaneFailure {
  error: UnderstudyError;
  failedAttempts: number;
  at: Temporal.Instant;
  /** Undefined: it does not pass by itself, and is not tried again before someone acts. */
  nextAttemptAt: Temporal.Instant | undefined;
}

export interface LaneEvents {
  onFailure(failure: LaneFailure): void;
  onRecovered(): void;
}

/**
 * Runs an item's steps one after another, for ever: plan, carry out, plan again. A recoverable failure is followed by a wait
 * of the retry schedule, in business time; one that an operator must mend by a wait that only `retryNow` ends.
 */
export class Lane {
  readonly #clock: Clock;
  readonly #plan: () => Promise<LaneStep>;
  readonly #events: LaneEvents;
  readonly #stop = new AbortController();
  #step = new AbortController();
  #wake: (() => void) | undefined;
  /** A wake that came while nobody slept: what was planned before it may be out of date. */
  #wokenEarly = false;
  #retryNow = false;
  #failure: LaneFailure | undefined;
  #attempt: string | undefined;
  readonly #ended: Promise<void>;

  constructor(clock: Clock, plan: () => Promise<LaneStep>, events: LaneEvents) {
    this.#clock = clock;
    this.#plan = plan;
    this.#events = events;
    this.#ended = this.#run();
  }

  get failure(): LaneFailure | undefined {
    return this.#failure;
  }

  /** What is being tried, while it is. */
  get attempt(): string | undefined {
    return this.#attempt;
  }

  /** Plan again: something changed. A wait after a failure goes on. */
  wake(): void {
    this.#wokenEarly = true;
    this.#wake?.();
  }

  /** Ends a wait after a failure at once: contact is back, an operator resumed, or the order changed. */
  retryNow(): void {
    this.#retryNow = true;
    this.wake();
  }

  /** Drops the present step, which the app no longer wants, and plans again. */
  interrupt(reason: string): void {
    this.#step.abort(new StepInterrupted(reason));
    this.retryNow();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new StepInterrupted('the relay stops'));
    this.wake();
    await this.#ended;
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      if (this.#failure && !this.#retryNow) {
        await this.#sleep(this.#failure.nextAttemptAt, { endedByWake: false });
        if (this.#stop.signal.aborted) return;
      }
      this.#retryNow = false;
      this.#wokenEarly = false;
      this.#step = new AbortController();
      const signal = AbortSignal.any([this.#step.signal, this.#stop.signal]);
      let startedAt: Temporal.Instant | undefined;
      try {
        startedAt = await this.#clock.now();
        const step = await this.#plan();
        if (step.kind === 'rest') {
          this.#recovered();
          await this.#sleep(step.until, { endedByWake: true });
          continue;
        }
        this.#attempt = step.attempt;
        await step.run(signal);
        this.#recovered();
      } catch (error) {
        // A step that was dropped on purpose failed for no reason of its own.
        if (!signal.aborted) await this.#failed(error, startedAt);
      } finally {
        this.#attempt = undefined;
      }
    }
  }

  #recovered(): void {
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    this.#events.onRecovered();
  }

  async #failed(thrown: unknown, startedAt: Temporal.Instant | undefined): Promise<void> {
    const error = thrown instanceof UnderstudyError ? thrown : new UnexpectedRelayError(thrown);
    const failedAttempts = (this.#failure?.failedAttempts ?? 0) + 1;
    const now = await this.#clock.now().catch(() => undefined);
    const at = now ?? startedAt ?? this.#failure?.at;
    if (at === undefined) {
      // Business time itself cannot be had: nothing can be scheduled in it, so system time paces the next look.
      await pauseUnless(this.#stop.signal, clockRetryMilliseconds);
      return;
    }
    this.#failure = {
      error,
      failedAttempts,
      at,
      nextAttemptAt: isUnrecoverable(error) ? undefined : nextAttemptAt(startedAt ?? at, failedAttempts, at),
    };
    this.#events.onFailure(this.#failure);
  }

  async #sleep(until: Temporal.Instant | undefined, { endedByWake }: { endedByWake: boolean }): Promise<void> {
    const cancel = new AbortController();
    try {
      await new Promise<void>((resolve, reject) => {
        const look = () => {
          if (this.#stop.signal.aborted || this.#retryNow || (endedByWake && this.#wokenEarly)) resolve();
        };
        this.#wake = look;
        look();
        if (until) waitAtMostUntil(this.#clock, until, cancel.signal).then(resolve, reject);
      });
    } catch {
      // The clock could not be reached: look again soon rather than sleep for ever.
      await pauseUnless(this.#stop.signal, clockRetryMilliseconds);
    } finally {
      this.#wake = undefined;
      cancel.abort(new StepInterrupted('woken'));
    }
  }
}

const clockRetryMilliseconds = 1000;

class StepInterrupted extends Error {}
