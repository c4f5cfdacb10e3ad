/**
 * How the data plane reaches bytes. It never opens a file, a socket or a blob itself: a caller hands it one of these.
 * All offsets and lengths are in bytes; calls on different ranges may run at the same time.
 */
export interface RandomReader {
  readonly lengthBytes: number;
  /**
   * Exactly `lengthBytes` bytes from `offsetBytes`, or an error: never fewer. The caller owns the buffer. With `into`, at least
   * as long, the bytes may come there: who reads much spares making and clearing memory for each read.
   */
  read(offsetBytes: number, lengthBytes: number, into?: Buffer): Promise<Buffer>;
}

export interface RandomWriter extends RandomReader {
  /** Writes all of `data`; a write past the end makes the file longer and the gap reads as zeros. */
  write(offsetBytes: number, data: Buffer): Promise<void>;
  /** Makes the file exactly this long: cuts it, or extends it with zeros. */
  resize(lengthBytes: number): Promise<void>;
  /** Resolves when everything written before the call survives a power failure. */
  flush(): Promise<void>;
}

export interface DiskRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** A disk's content as the guest sees it. */
export interface DiskReader {
  readonly sizeBytes: number;
  readonly logicalSectorBytes: number;
  /** Exactly `lengthBytes` bytes, or an error; the range must lie inside the disk. `into` as for a `RandomReader`. */
  read(offsetBytes: number, lengthBytes: number, into?: Buffer): Promise<Buffer>;
  /**
   * Ranges that may hold non-zero data, ascending, not overlapping, in bounded memory. All else reads as zeros.
   * Those that end at or before `fromBytes` may be left out: it spares a reader of a late part the walk up to it.
   */
  allocatedRanges(fromBytes?: number): AsyncIterable<DiskRange>;
}

export interface DiskWriter extends DiskReader {
  /** The range must lie inside the disk and be aligned to its logical sectors. */
  write(offsetBytes: number, data: Buffer): Promise<void>;
  /** Resolves when everything written before the call survives a power failure. */
  flush(): Promise<void>;
  /** Flushes and leaves the disk consistent. The underlying file stays open: its opener closes it. */
  close(): Promise<void>;
}
