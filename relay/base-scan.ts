import type { DiskRange, DiskReader } from '../core/dataplane/random-access.js';
import { baseAlignmentBytes } from '../core/domain/replication/resync-geometry.js';
import { segmentDataBytes, segmentSpanBytes } from './limits.js';

const alignDown = (offsetBytes: number): number => Math.floor(offsetBytes / baseAlignmentBytes) * baseAlignmentBytes;

/** Walks a disk from an offset on and cuts it into pieces of bounded data and span; what is not allocated costs nothing. */
export class BaseScan {
  readonly diskId: string;
  readonly disk: DiskReader & { close(): Promise<void> };
  readonly #limits: { dataBytes: number; spanBytes: number };
  readonly #ranges: AsyncIterator<DiskRange>;
  #pending: DiskRange | undefined;
  #at: number;

  constructor(
    diskId: string,
    disk: DiskReader & { close(): Promise<void> },
    fromBytes: number,
    limits = { dataBytes: segmentDataBytes, spanBytes: segmentSpanBytes },
  ) {
    this.diskId = diskId;
    this.disk = disk;
    this.#limits = limits;
    this.#at = fromBytes;
    this.#ranges = disk.allocatedRanges()[Symbol.asyncIterator]();
  }

  /** Where the next piece starts. */
  get atBytes(): number {
    return this.#at;
  }

  /** Where the piece ends that starts at `atBytes`. */
  async next(): Promise<number> {
    const from = this.#at;
    let end = Math.min(from + this.#limits.spanBytes, this.disk.sizeBytes);
    let dataBytes = 0;
    for (;;) {
      const range = await this.#range(from);
      if (range === undefined || range.offsetBytes >= end) break;
      const rangeEnd = range.offsetBytes + range.lengthBytes;
      const roomBytes = this.#limits.dataBytes - dataBytes;
      if (Math.min(rangeEnd, end) - range.offsetBytes > roomBytes) {
        // Full: the piece ends inside this range, one alignment unit into it at least, so that every piece moves on.
        const fits = alignDown(range.offsetBytes + Math.max(roomBytes, 0));
        end = Math.min(end, Math.max(fits, alignDown(range.offsetBytes) + baseAlignmentBytes));
      }
      const cut = Math.min(rangeEnd, end);
      dataBytes += cut - range.offsetBytes;
      this.#pending = cut < rangeEnd ? { offsetBytes: cut, lengthBytes: rangeEnd - cut } : undefined;
    }
    this.#at = end;
    return end;
  }

  async close(): Promise<void> {
    await this.#ranges.return?.();
    await this.disk.close();
  }

  /** The next range that reaches beyond `from`, without the part before it. */
  async #range(from: number): Promise<DiskRange | undefined> {
    for (;;) {
      if (this.#pending === undefined) {
        const next: IteratorResult<DiskRange, unknown> = await this.#ranges.next();
        if (next.done === true) return undefined;
        this.#pending = next.value;
      }
      const { offsetBytes, lengthBytes } = this.#pending;
      const end = offsetBytes + lengthBytes;
      if (end > from) {
        return offsetBytes >= from ? this.#pending : { offsetBytes: from, lengthBytes: end - from };
      }
      this.#pending = undefined;
    }
  }
}
