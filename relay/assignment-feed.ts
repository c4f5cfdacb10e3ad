import type { AssignmentsResponse } from '../core/domain/relay-protocol/wire.js';
import type { AppClient } from './app-client.js';
import { pauseUnless } from './interruptible-pause.js';

/** The longest that the app lets a question hang (wire.ts). */
const pollSeconds = 25;
const firstPauseMilliseconds = 500;
const longestPauseMilliseconds = 15_000;

export interface FeedEvents {
  onAnswer(answer: AssignmentsResponse): void;
  onContactLost(error: unknown): void;
  /** After contact was lost, or at the first answer. Comes before `onAnswer`. */
  onContact(): void;
}

/**
 * Keeps asking the app what it wants. It keeps its own short pace, outside of the retry schedule: it is what notices that
 * contact is back and ends the schedule's waits.
 */
export class AssignmentFeed {
  readonly #stop = new AbortController();
  #poll = new AbortController();
  #refresh = false;
  readonly #ended: Promise<void>;

  constructor(client: Pick<AppClient, 'assignments'>, events: FeedEvents) {
    this.#ended = this.#run(client, events);
  }

  /** Asks again at once and takes the answer whatever its version: what is known here may be behind. */
  refresh(): void {
    this.#refresh = true;
    this.#poll.abort();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  async #run(client: Pick<AppClient, 'assignments'>, events: FeedEvents): Promise<void> {
    let version: string | undefined;
    let failures = 0;
    let contact = false;
    while (!this.#stop.signal.aborted) {
      if (this.#refresh) version = undefined;
      this.#refresh = false;
      this.#poll = new AbortController();
      const signal = AbortSignal.any([this.#poll.signal, this.#stop.signal]);
      const askedAt = performance.now();
      try {
        // Without contact it must not hang: others wait to hear that contact is back, and an app that restarts often would
        // never come to answer.
        const waitSeconds = version === undefined || !contact ? 0 : pollSeconds;
        const answer = await client.assignments(version, waitSeconds, signal);
        version = answer.version;
        failures = 0;
        if (!contact) events.onContact();
        contact = true;
        events.onAnswer(answer);
        // An app that answers at once is not asked in a spin: it may have no news (a command that is still being carried out,
        // say), or of hundreds of items always some.
        if (performance.now() - askedAt < firstPauseMilliseconds) await this.#pause(firstPauseMilliseconds);
      } catch (error) {
        if (signal.aborted) continue;
        if (contact || failures === 0) events.onContactLost(error);
        contact = false;
        const ceiling = Math.min(longestPauseMilliseconds, firstPauseMilliseconds * 2 ** failures);
        failures++;
        await this.#pause(ceiling * (0.5 + Math.random() / 2));
      }
    }
  }

  #pause(milliseconds: number): Promise<void> {
    return pauseUnless(AbortSignal.any([this.#poll.signal, this.#stop.signal]), milliseconds);
  }
}
