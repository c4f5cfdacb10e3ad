import { UnderstudyError } from '../domain/errors.js';
import type { Fence } from '../domain/replication/fence.js';
import type { ReplicaBlob } from '../domain/protected-item/protected-item.js';

/**
 * Replica disks: page blobs with snapshots.
 *
 * Promises: a resolved write is durable. Offsets and lengths are multiples of 512, a write is at most `pageWriteMaxBytes`
 * and ends inside the blob: the implementation checks this itself before it calls out (the local emulator does not) and
 * rejects with US6001. Every write carries the fence under which it was planned and rejects with `FencedError` when the
 * blob's fence is another one. All methods may be called twice.
 */
export interface ReplicaStore {
  readonly capabilities: ReplicaStoreCapabilities;
  /** Creates the blob, zero-filled, unless it is there with the same length. */
  createDisk(blob: ReplicaBlob, lengthBytes: number): Promise<void>;
  /** Raises the blob's fence to `fence` if it is lower (sequence number, action max). Rejects with `FencedError` when it is higher. */
  raiseFence(blob: ReplicaBlob, fence: Fence): Promise<void>;
  writePages(blob: ReplicaBlob, offsetBytes: number, data: Buffer, fence: Fence): Promise<void>;
  /** Zeroes and frees the range; no length limit but the blob's end. */
  clearPages(blob: ReplicaBlob, offsetBytes: number, lengthBytes: number, fence: Fence): Promise<void>;
  /** Exactly `lengthBytes` bytes. `snapshotId` reads the snapshot. */
  readPages(blob: ReplicaBlob, offsetBytes: number, lengthBytes: number, snapshotId?: string): Promise<Buffer>;
  /** Ranges that were written, ascending, merged where they touch; with `within` only what of them lies in it. */
  allocatedRanges(
    blob: ReplicaBlob,
    snapshotId?: string,
    within?: { fromBytes: number; toBytes: number },
  ): AsyncIterable<{ offsetBytes: number; lengthBytes: number }>;
  properties(blob: ReplicaBlob): Promise<ReplicaProperties | undefined>;
  /**
   * Snapshot on condition that the blob still has `ifMatch`; metadata carries the fence. Rejects with `FencedError` when
   * the ETag moved. A repeat makes another snapshot of the same content and fence: those that no row names are swept.
   */
  createSnapshot(blob: ReplicaBlob, options: { ifMatch: string; fence: Fence }): Promise<{ snapshotId: string }>;
  /** All snapshots of the blob, oldest first, with the fence in their metadata. */
  listSnapshots(blob: ReplicaBlob): Promise<{ snapshotId: string; fence: Fence | undefined }[]>;
  /** Absent is no error. */
  deleteSnapshot(blob: ReplicaBlob, snapshotId: string): Promise<void>;
  /** Deletes the blob with its snapshots, also while it is copied to; absent is no error. */
  deleteDisk(blob: ReplicaBlob): Promise<void>;
  /**
   * Starts a copy on the store's own side from a snapshot to a new blob; only where `copiesFromSnapshotsAreIndependent`.
   * Without `snapshotId` from the blob itself, which nobody writes to. Calling it again while or after it copied is no error.
   * Resolves with whether it is finished.
   */
  copySnapshot(from: ReplicaBlob, snapshotId: string | undefined, to: ReplicaBlob): Promise<{ finished: boolean }>;
  /**
   * Starts a copy on the store's own side of a page blob that a URL reads, a disk's export from outside of the store, to a
   * new blob; only where `copiesFromSnapshotsAreIndependent`. Calling it again while or after it copied is no error, and a
   * copy that failed is begun anew; `grantSource` is asked for the URL only where a copy is begun. Resolves with whether it
   * is finished.
   */
  copyFromUrl(grantSource: () => Promise<string>, to: ReplicaBlob): Promise<{ finished: boolean }>;
  /**
   * A SAS for reading one snapshot and nothing else, or without `snapshotId` the blob, https where the account has it, no
   * start time, valid `ttlSeconds` of system time. It does not look whether the snapshot is there.
   */
  grantRead(
    blob: ReplicaBlob,
    snapshotId: string | undefined,
    ttlSeconds: number,
  ): Promise<{ url: string; expiresAt: string }>;
}

export interface ReplicaStoreCapabilities {
  /** A copy made from a snapshot shares nothing with it. False on Azurite, where a write to the copy changes the snapshot. */
  copiesFromSnapshotsAreIndependent: boolean;
}

export interface ReplicaProperties {
  lengthBytes: number;
  etag: string;
  fence: Fence;
}

/** Azure: Put Page takes at most 4 MiB. */
export const pageWriteMaxBytes = 4 * 1024 * 1024;
export const pageBytes = 512;

/** The caller asked for pages that no blob can take: a defect of the caller, refused before anything is sent. */
export class PageRangeError extends UnderstudyError {
  constructor(blob: ReplicaBlob, offsetBytes: number, lengthBytes: number, found: string) {
    super({
      code: 'US6001',
      message: `US6001 bytes ${offsetBytes} … ${offsetBytes + lengthBytes} of ${blob.container}/${blob.blobName}: ${found}`,
      recommendedAction: 'Report this as a defect: ranges are cut to pages before they reach the store.',
      details: { blob, offsetBytes, lengthBytes },
    });
    this.name = 'PageRangeError';
  }
}

/** Throws `PageRangeError` unless the range is whole pages inside a blob of `blobLengthBytes`, and at most `maxBytes` long. */
export function checkPageRange(
  blob: ReplicaBlob,
  offsetBytes: number,
  lengthBytes: number,
  limits: { blobLengthBytes: number; maxBytes?: number },
): void {
  const refuse = (found: string): never => {
    throw new PageRangeError(blob, offsetBytes, lengthBytes, found);
  };
  if (!Number.isSafeInteger(offsetBytes) || !Number.isSafeInteger(lengthBytes) || offsetBytes < 0 || lengthBytes <= 0) {
    refuse('offset and length must be non-negative integers, and the range not empty');
  }
  if (offsetBytes % pageBytes !== 0 || lengthBytes % pageBytes !== 0) {
    refuse(`offset and length must be multiples of ${pageBytes}`);
  }
  if (limits.maxBytes !== undefined && lengthBytes > limits.maxBytes)
    refuse(`at most ${limits.maxBytes} bytes go at once`);
  if (offsetBytes + lengthBytes > limits.blobLengthBytes) refuse(`the blob ends at ${limits.blobLengthBytes}`);
}

/** The blob carries another fence than the writer: a newer epoch or cycle took over, or the fence was never raised. */
export class FencedError extends Error {
  readonly code = 'US3010';
  constructor(
    readonly blob: ReplicaBlob,
    readonly fence: Fence,
    readonly found: Fence | undefined,
    options?: ErrorOptions,
  ) {
    super(
      `US3010 ${blob.container}/${blob.blobName} does not carry epoch ${fence.epoch}, cycle ${fence.cycle}` +
        (found ? ` but epoch ${found.epoch}, cycle ${found.cycle}` : ''),
      options,
    );
    this.name = 'FencedError';
  }
}
