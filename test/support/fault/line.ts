import { storageFailure } from '../../../providers/azure-storage/storage-errors.js';
import type { SeededRandom } from './random.js';
import type { VirtualTime } from './virtual-time.js';

/** A call that got no answer, as Node's fetch says it. */
export const noAnswer = (why: string): Error =>
  new TypeError('fetch failed', { cause: Object.assign(new Error(why), { code: 'ECONNRESET' }) });

/** The line between the site and the cloud, as it is now. */
export class Line {
  isCut = false;
  /** A request, and its answer, take up to this long. */
  slowSeconds = 0;
  /** Part of the requests whose answer is lost, and which arrive once more some time later. */
  lateShare = 0;

  constructor(
    private readonly time: VirtualTime,
    private readonly random: SeededRandom,
    private readonly count: (effect: string) => void,
  ) {}

  /** One exchange. `again` is the same request as it arrives late, after the sender has given it up. */
  async exchange<T>(effect: () => Promise<T>, again?: () => Promise<unknown>): Promise<T> {
    await this.#travel();
    if (again !== undefined && this.random.chance(this.lateShare)) {
      this.count('requests late');
      const isEarly = this.random.chance(0.5);
      if (isEarly) await effect();
      this.time.schedule(this.time.now() + this.random.between(1, 900) * 1000, () => {
        again().catch(() => undefined);
      });
      throw noAnswer('the answer was lost');
    }
    const answer = await effect();
    await this.#travel();
    return answer;
  }

  async #travel(): Promise<void> {
    if (this.slowSeconds > 0) {
      this.count('messages slow');
      await this.time.sleep(this.random.between(1, this.slowSeconds * 1000));
    }
    if (!this.isCut) return;
    this.count('messages lost');
    throw noAnswer('the line is cut');
  }
}

/** The storage service as the app, or the relay, meets it now. */
export class Storage {
  /** Part of the calls that go wrong, and how. */
  share = 0;
  ways: readonly StorageFault[] = [];

  constructor(
    private readonly time: VirtualTime,
    private readonly random: SeededRandom,
    private readonly count: (effect: string) => void,
  ) {}

  async call<T>(what: string, effect: () => Promise<T>): Promise<T> {
    if (this.share === 0 || !this.random.chance(this.share)) return effect();
    this.count('storage calls failed');
    const way = this.random.pick(this.ways);
    switch (way) {
      case 'before':
        break;
      case 'after':
        await effect();
        break;
      case 'timeoutBefore':
        await this.time.sleep(callTimeoutMs);
        break;
      case 'timeoutAfter':
        await effect();
        await this.time.sleep(callTimeoutMs);
        break;
      case 'late':
        // The request waits in a queue somewhere, and is carried out after its caller has given it up.
        this.time.schedule(this.time.now() + callTimeoutMs + this.random.between(1, 600) * 1000, () => {
          effect().catch(() => undefined);
        });
        await this.time.sleep(callTimeoutMs);
        break;
    }
    throw storageFailure('asking for', what, answers[way]());
  }
}

export type StorageFault = 'before' | 'after' | 'timeoutBefore' | 'timeoutAfter' | 'late';

/** As the SDK throws what the service answered: the provider makes of it what it makes of a real one. */
const answered = (statusCode: number, code: string): Error =>
  Object.assign(new Error('the service says so'), { statusCode, code });
const nothingInTime = (): Error =>
  Object.assign(new Error('the operation was aborted due to timeout'), { name: 'TimeoutError' });
const answers: Record<StorageFault, () => Error> = {
  before: () => answered(503, 'ServerBusy'),
  after: () => answered(500, 'InternalError'),
  timeoutBefore: nothingInTime,
  timeoutAfter: nothingInTime,
  late: nothingInTime,
};

/** How long the storage SDK waits for an answer (providers/azure-storage/connections.ts). */
const callTimeoutMs = 120_000;
