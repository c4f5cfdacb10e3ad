/**
 * Last write wins: from overlapping writes, given in their order, to pieces that ascend and do not overlap.
 * Kept in flat arrays, about 28 bytes a write.
 */
export interface IndexedWrite {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Where the data stands; means nothing here. */
  readonly log: number;
  readonly dataAtBytes: number;
  readonly dataChecksum: number;
}

/** The part `[offsetBytes, offsetBytes + lengthBytes)` of the disk has its newest data in this write. */
export interface Piece {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly write: IndexedWrite;
}

export class WriteIndex {
  #count = 0;
  #offsets = new Float64Array(1024);
  #dataAts = new Float64Array(1024);
  #lengths = new Uint32Array(1024);
  #logs = new Uint32Array(1024);
  #checksums = new Uint32Array(1024);

  get count(): number {
    return this.#count;
  }

  add(write: IndexedWrite): void {
    if (this.#count === this.#offsets.length) this.#grow();
    const at = this.#count++;
    this.#offsets[at] = write.offsetBytes;
    this.#lengths[at] = write.lengthBytes;
    this.#logs[at] = write.log;
    this.#dataAts[at] = write.dataAtBytes;
    this.#checksums[at] = write.dataChecksum;
  }

  /** Sweeps over the disk; of all writes that cover a place the last added one wins. */
  *pieces(): Generator<Piece, void> {
    const order = this.#byOffset();
    const covering = new LatestFirst();
    let pending: { offsetBytes: number; endBytes: number; at: number } | undefined;
    let next = 0;
    let place = 0;
    for (;;) {
      if (covering.size === 0) {
        const first = order[next];
        if (first === undefined) break;
        place = this.#offset(first);
      }
      for (let at = order[next]; at !== undefined && this.#offset(at) <= place; at = order[next]) {
        covering.push(at);
        next += 1;
      }
      let newest = covering.top();
      while (newest !== undefined && this.#end(newest) <= place) {
        covering.pop();
        newest = covering.top();
      }
      if (newest === undefined) continue;
      const following = order[next];
      const endBytes = Math.min(this.#end(newest), following === undefined ? Infinity : this.#offset(following));
      if (pending?.at === newest && pending.endBytes === place) {
        pending.endBytes = endBytes;
      } else {
        if (pending !== undefined) yield this.#piece(pending);
        pending = { offsetBytes: place, endBytes, at: newest };
      }
      place = endBytes;
    }
    if (pending !== undefined) yield this.#piece(pending);
  }

  #piece(found: { offsetBytes: number; endBytes: number; at: number }): Piece {
    const { at } = found;
    return {
      offsetBytes: found.offsetBytes,
      lengthBytes: found.endBytes - found.offsetBytes,
      write: {
        offsetBytes: this.#offset(at),
        lengthBytes: this.#lengths[at] ?? 0,
        log: this.#logs[at] ?? 0,
        dataAtBytes: this.#dataAts[at] ?? 0,
        dataChecksum: this.#checksums[at] ?? 0,
      },
    };
  }

  #byOffset(): Uint32Array {
    const order = new Uint32Array(this.#count);
    for (let at = 0; at < this.#count; at++) order[at] = at;
    return order.sort((a, b) => this.#offset(a) - this.#offset(b));
  }

  #offset(at: number): number {
    return this.#offsets[at] ?? 0;
  }

  #end(at: number): number {
    return (this.#offsets[at] ?? 0) + (this.#lengths[at] ?? 0);
  }

  #grow(): void {
    const length = this.#offsets.length * 2;
    const larger = <T extends Float64Array | Uint32Array>(fresh: T, old: T): T => {
      fresh.set(old);
      return fresh;
    };
    this.#offsets = larger(new Float64Array(length), this.#offsets);
    this.#dataAts = larger(new Float64Array(length), this.#dataAts);
    this.#lengths = larger(new Uint32Array(length), this.#lengths);
    this.#logs = larger(new Uint32Array(length), this.#logs);
    this.#checksums = larger(new Uint32Array(length), this.#checksums);
  }
}

/** A binary heap of write numbers, the largest (newest) on top. */
class LatestFirst {
  readonly #items: number[] = [];

  get size(): number {
    return this.#items.length;
  }

  top(): number | undefined {
    return this.#items[0];
  }

  push(item: number): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] ?? 0;
      if (above >= item) break;
      items[at] = above;
      at = parent;
    }
    items[at] = item;
  }

  pop(): void {
    const items = this.#items;
    const item = items.pop();
    if (item === undefined || items.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && (items[child + 1] ?? 0) > (items[child] ?? 0)) child += 1;
      const below = items[child] ?? 0;
      if (below <= item) break;
      items[at] = below;
      at = child;
    }
    items[at] = item;
  }
}
