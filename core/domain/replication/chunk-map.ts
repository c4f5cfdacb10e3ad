/**
 * Chunks of this size are what a resync compares and what a host that tracks while an item waits records: 64 KiB is a
 * guest's largest common write, and one bit for it makes 16 MiB of map for 8 TB of disk.
 */
export const resyncChunkBytes = 64 * 1024;

const bitsPerWord = 32;

/**
 * Which chunks of a disk changed, one bit each. A map may mark more than changed, never less: who reads it compares the
 * chunks that are marked. The last chunk may be cut short by the disk's end.
 *
 * As bytes: bit (i mod 8), counted from the lowest, of byte ⌊i/8⌋ is chunk i; bits behind the last chunk are 0.
 */
export class ChunkMap {
  /** All chunks of the disk, marked or not. */
  readonly chunkCount: number;
  #markedCount = 0;
  /** The bits, and the same memory by whole words for the search. */
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;

  private constructor(readonly diskSizeBytes: number) {
    if (!Number.isSafeInteger(diskSizeBytes) || diskSizeBytes <= 0) {
      throw new RangeError(`a disk of ${diskSizeBytes} bytes has no chunks`);
    }
    this.chunkCount = Math.ceil(diskSizeBytes / resyncChunkBytes);
    this.#words = new Uint32Array(Math.ceil(this.chunkCount / bitsPerWord));
    this.#bytes = new Uint8Array(this.#words.buffer);
  }

  static empty(diskSizeBytes: number): ChunkMap {
    return new ChunkMap(diskSizeBytes);
  }

  /** Reads what `toBuffer` gave. Throws a RangeError when it cannot be of a disk of this size. */
  static fromBuffer(buffer: Uint8Array, diskSizeBytes: number): ChunkMap {
    const map = new ChunkMap(diskSizeBytes);
    if (buffer.length !== map.lengthBytes) {
      throw new RangeError(
        `a map of ${buffer.length} bytes is not of a disk of ${diskSizeBytes} bytes: it takes ${map.lengthBytes}`,
      );
    }
    map.#bytes.set(buffer);
    const bitsInLastByte = map.chunkCount % 8;
    if (bitsInLastByte !== 0 && (buffer.at(-1) ?? 0) >> bitsInLastByte !== 0) {
      throw new RangeError(`the map marks chunks behind the end of the disk of ${diskSizeBytes} bytes`);
    }
    map.#markedCount = map.#words.reduce((sum, word) => sum + bitCount(word), 0);
    return map;
  }

  get markedCount(): number {
    return this.#markedCount;
  }

  /** The length of `toBuffer`. */
  private get lengthBytes(): number {
    return Math.ceil(this.chunkCount / 8);
  }

  /** Marks every chunk that the range touches. The range must lie inside the disk: a change elsewhere would be lost. */
  mark(offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > this.diskSizeBytes) {
      throw new RangeError(
        `${lengthBytes} bytes at ${offsetBytes} are not inside a disk of ${this.diskSizeBytes} bytes`,
      );
    }
    if (lengthBytes === 0) return;
    const last = Math.floor((offsetBytes + lengthBytes - 1) / resyncChunkBytes);
    for (let index = Math.floor(offsetBytes / resyncChunkBytes); index <= last; index += 1) {
      if (this.has(index)) continue;
      this.#bytes[index >> 3] = (this.#bytes[index >> 3] ?? 0) | (1 << (index & 7));
      this.#markedCount += 1;
    }
  }

  /** False too for an index that the disk has not. */
  has(chunkIndex: number): boolean {
    return ((this.#bytes[Math.floor(chunkIndex / 8)] ?? 0) & (1 << (chunkIndex & 7))) !== 0;
  }

  /** Is a chunk marked that shares a byte with [fromBytes, toBytes)? Nothing is behind the disk's end. */
  anyIn(fromBytes: number, toBytes: number): boolean {
    if (toBytes <= fromBytes) return false;
    const end = Math.min(Math.ceil(toBytes / resyncChunkBytes), this.chunkCount);
    return this.nextMarked(Math.max(0, Math.floor(fromBytes / resyncChunkBytes)), end) < end;
  }

  /** The first marked chunk in [from, end), or `end`. Passes over what is not marked a word at a time. */
  private nextMarked(from: number, end: number): number {
    if (from >= end) return end;
    let wordIndex = Math.floor(from / bitsPerWord);
    // Chunks before `from` in its word do not count.
    let word = (this.#words[wordIndex] ?? 0) & (~0 << (from % bitsPerWord));
    const wordEnd = Math.ceil(end / bitsPerWord);
    while (word === 0) {
      wordIndex += 1;
      if (wordIndex >= wordEnd) return end;
      word = this.#words[wordIndex] ?? 0;
    }
    // The lowest bit that is set, alone; its leading zeros tell its place.
    return Math.min(end, wordIndex * bitsPerWord + (bitsPerWord - 1 - Math.clz32(word & -word)));
  }

  /** Marks here what is marked there too. The maps must be of disks of one size. */
  union(other: ChunkMap): void {
    if (other.diskSizeBytes !== this.diskSizeBytes) {
      throw new RangeError(`maps of disks of ${this.diskSizeBytes} and ${other.diskSizeBytes} bytes have no union`);
    }
    let markedCount = 0;
    for (let index = 0; index < this.#words.length; index += 1) {
      const word = (this.#words[index] ?? 0) | (other.#words[index] ?? 0);
      this.#words[index] = word;
      if (word !== 0) markedCount += bitCount(word);
    }
    this.#markedCount = markedCount;
  }

  /** A copy: what is marked later does not show in it. */
  toBuffer(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.lengthBytes));
  }

  /** The same by groups of chunks, one bit a group, in the same order of bits: marked where any chunk of the group is. */
  coarse(groupBytes: number): Buffer {
    if (groupBytes <= 0 || groupBytes % resyncChunkBytes !== 0) {
      throw new RangeError(`a group of ${groupBytes} bytes is not whole chunks of ${resyncChunkBytes} bytes`);
    }
    const chunksPerGroup = groupBytes / resyncChunkBytes;
    const groups = Buffer.alloc(Math.ceil(Math.ceil(this.chunkCount / chunksPerGroup) / 8));
    let chunk = this.nextMarked(0, this.chunkCount);
    while (chunk < this.chunkCount) {
      const group = Math.floor(chunk / chunksPerGroup);
      groups[group >> 3] = (groups[group >> 3] ?? 0) | (1 << (group & 7));
      chunk = this.nextMarked((group + 1) * chunksPerGroup, this.chunkCount);
    }
    return groups;
  }
}

/** How many bits of a 32-bit word are set, counted in pairs, then nibbles, then bytes. */
function bitCount(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
