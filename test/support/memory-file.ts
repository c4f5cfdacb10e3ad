import type { RandomWriter } from '../../core/dataplane/random-access.js';

/** A file in memory, for tests that need many small ones. `bytes` is its content as it stands. */
export class MemoryFile implements RandomWriter {
  #bytes: Buffer;
  #length: number;

  constructor(content: Buffer = Buffer.alloc(0)) {
    this.#bytes = Buffer.from(content);
    this.#length = content.length;
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  get lengthBytes(): number {
    return this.#length;
  }

  read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    if (offsetBytes + lengthBytes > this.#length) {
      return Promise.reject(new RangeError(`read of ${lengthBytes} at ${offsetBytes} in ${this.#length} bytes`));
    }
    return Promise.resolve(Buffer.from(this.#bytes.subarray(offsetBytes, offsetBytes + lengthBytes)));
  }

  write(offsetBytes: number, data: Buffer): Promise<void> {
    this.#grow(offsetBytes + data.length);
    data.copy(this.#bytes, offsetBytes);
    return Promise.resolve();
  }

  resize(lengthBytes: number): Promise<void> {
    if (lengthBytes < this.#length) this.#bytes.fill(0, lengthBytes, this.#length);
    else this.#grow(lengthBytes);
    this.#length = lengthBytes;
    return Promise.resolve();
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  #grow(lengthBytes: number): void {
    if (lengthBytes > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(lengthBytes, this.#bytes.length * 2));
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    this.#length = Math.max(this.#length, lengthBytes);
  }
}
