import { randomBytes } from 'node:crypto';
import type { GuestSettings } from '../site-file.js';
import {
  fillCompressible,
  frozenMarker,
  nextSequence,
  orderedRecord,
  xorshift,
  type OrderedLayout,
} from './ordered-records.js';

/** What a guest sees of its VM. Writes resolve when they are acknowledged. */
export interface GuestDisks {
  readonly sizes: readonly number[];
  readonly tag: number;
  read(diskIndex: number, offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  write(diskIndex: number, offsetBytes: number, data: Buffer): Promise<void>;
}

/** The shortest sleep of a guest that is ahead of its rate. */
const tickMs = 20;
/** After a failed write a guest waits and tries the same write again, as a driver would. */
const failedWriteWaitMs = 500;

/** A program in a VM that writes. It runs on system time: `--speed` does not make it faster. */
export class Guest {
  private settings: GuestSettings = { kind: 'idle', writesPerSecond: 0 };
  private loop: Promise<void> = Promise.resolve();
  private stopping = new AbortController();
  private frozen = false;
  /** Resolves when the write that runs now is done. */
  private writing: Promise<void> = Promise.resolve();
  /** Of the ordered guest: the next record. */
  private sequence: number | undefined;

  constructor(private readonly disks: GuestDisks) {
    this.stopping.abort();
  }

  start(settings: GuestSettings): void {
    this.settings = settings;
    this.stopping = new AbortController();
    this.sequence = undefined;
    if (settings.kind !== 'idle' && settings.writesPerSecond > 0) this.loop = this.run(this.stopping.signal);
  }

  /** Resolves when no write runs and none will start. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.loop;
  }

  async change(settings: GuestSettings): Promise<void> {
    const runs = !this.stopping.signal.aborted;
    await this.stop();
    if (runs) this.start(settings);
  }

  /** Application consistency: no write is under way, and what the guest knows is on its disks. */
  async freeze(): Promise<void> {
    this.frozen = true;
    await this.writing.catch(() => undefined);
    if (this.settings.kind !== 'ordered' || this.sequence === undefined) return;
    const marker = frozenMarker(this.layout, this.sequence - 1);
    await this.disks.write(0, marker.offsetBytes, marker.data);
  }

  thaw(): void {
    this.frozen = false;
  }

  private get layout(): OrderedLayout {
    return { diskSizes: this.disks.sizes, tag: this.disks.tag };
  }

  private async run(signal: AbortSignal): Promise<void> {
    const write = this.settings.kind === 'ordered' ? () => this.writeOrdered() : this.randomWriter();
    const startedAt = performance.now();
    let done = 0;
    while (!signal.aborted) {
      const due = ((performance.now() - startedAt) / 1000) * this.settings.writesPerSecond;
      if (this.frozen || done >= due) {
        // Time in which it was frozen is not made up for.
        if (this.frozen) done = Math.max(done, Math.floor(due));
        const untilNextMs = (done / this.settings.writesPerSecond) * 1000 - (performance.now() - startedAt);
        await wait(this.frozen ? tickMs : Math.max(tickMs, untilNextMs), signal);
        continue;
      }
      this.writing = write();
      try {
        await this.writing;
        done += 1;
      } catch (error) {
        process.stderr.write(`a guest's write failed: ${error instanceof Error ? error.message : String(error)}\n`);
        this.writing = Promise.resolve();
        await wait(failedWriteWaitMs, signal);
      }
    }
  }

  private async writeOrdered(): Promise<void> {
    this.sequence ??= await nextSequence(
      this.layout,
      this.disks.sizes.map((_, index) => (offset, length) => this.disks.read(index, offset, length)),
    );
    const record = orderedRecord(this.layout, this.sequence);
    await this.disks.write(record.diskIndex, record.offsetBytes, record.data);
    this.sequence += 1;
  }

  /** 4 to 64 KiB somewhere on one of the disks. */
  private randomWriter(): () => Promise<void> {
    const random = xorshift(randomBytes(4).readUInt32LE(0));
    return async () => {
      const diskIndex = random() % this.disks.sizes.length;
      const sectors = Math.floor((this.disks.sizes[diskIndex] ?? 0) / 512);
      const data = Buffer.alloc(Math.min(8 + (random() % 121), sectors) * 512);
      fillCompressible(data, random);
      await this.disks.write(diskIndex, (random() % (sectors - data.length / 512 + 1)) * 512, data);
    };
  }
}

function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, milliseconds);
    signal.addEventListener('abort', finish);
  });
}
