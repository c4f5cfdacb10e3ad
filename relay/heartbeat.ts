import type { Clock } from '../core/ports/clock.js';
import type { Logger } from 'pino';
import { waitAtMostUntil } from './bounded-wait.js';
import { pauseUnless } from './interruptible-pause.js';

/** Changes that come together are reported together. */
const gatherMilliseconds = 200;
/** Business time may run very fast, and changes come thick: the app is not asked to hear more often than this. */
const shortestPauseMilliseconds = 1000;

/** Beats at least once each interval of business time, and soon after `soon()`. One beat at a time. */
export class Heartbeat {
  readonly #stop = new AbortController();
  #soon = new AbortController();
  readonly #ended: Promise<void>;

  constructor(options: {
    clock: Clock;
    intervalSeconds: number;
    log: Logger;
    /** `isRegular`: the interval has passed, as opposed to something having changed. */
    beat: (isRegular: boolean) => Promise<void>;
  }) {
    this.#ended = this.#run(options);
  }

  soon(): void {
    this.#soon.abort();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#soon.abort();
    await this.#ended;
  }

  async #run(options: ConstructorParameters<typeof Heartbeat>[0]): Promise<void> {
    const { clock, intervalSeconds, beat, log } = options;
    let isRegular = true;
    while (!this.#stop.signal.aborted) {
      this.#soon = new AbortController();
      try {
        const started = await clock.now();
        await beat(isRegular);
        await pauseUnless(this.#stop.signal, shortestPauseMilliseconds);
        isRegular = true;
        await waitAtMostUntil(clock, started.add({ seconds: intervalSeconds }), this.#soon.signal);
      } catch (error) {
        if (this.#soon.signal.aborted) {
          isRegular = false;
          await pauseUnless(this.#stop.signal, gatherMilliseconds);
          continue;
        }
        log.debug({ err: error }, 'heartbeat failed');
        await pauseUnless(AbortSignal.any([this.#stop.signal, this.#soon.signal]), 2000);
      }
    }
  }
}
