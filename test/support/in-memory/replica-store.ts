import assert from 'node:assert/strict';
import type { ReplicaBlob } from '../../../core/domain/protected-item/protected-item.js';
import { fenceFromSequenceNumber, fenceToSequenceNumber, type Fence } from '../../../core/domain/replication/fence.js';
import {
  checkPageRange,
  FencedError,
  PageRangeError,
  pageBytes,
  pageWriteMaxBytes,
  type ReplicaProperties,
  type ReplicaStore,
} from '../../../core/ports/replica-store.js';
import { UnderstudyError } from '../../../core/domain/errors.js';
import { Faults } from './faults.js';

const chunkBytes = 64 * 1024;
const pagesPerChunk = chunkBytes / pageBytes;

/** Never changed in place: snapshots share chunks with the blob. */
interface Chunk {
  data: Buffer;
  allocated: Uint8Array;
}
type Content = Map<number, Chunk>;

interface Disk {
  lengthBytes: number;
  version: number;
  sequenceNumber: number;
  content: Content;
  snapshots: Map<string, { content: Content; fence: Fence }>;
}

/** The replica store's contract in one process's memory, sparse. */
export class InMemoryReplicaStore implements ReplicaStore {
  readonly faults = new Faults();
  private readonly disks = new Map<string, Disk>();
  private versions = 0;
  private snapshots = 0;

  constructor(readonly capabilities = { copiesFromSnapshotsAreIndependent: true }) {}

  async createDisk(blob: ReplicaBlob, lengthBytes: number): Promise<void> {
    return this.faults.around('createDisk', () => {
      if (lengthBytes <= 0 || lengthBytes % pageBytes !== 0) {
        throw new PageRangeError(blob, 0, lengthBytes, 'not a positive multiple of 512');
      }
      const found = this.disks.get(keyOf(blob));
      if (found && found.lengthBytes !== lengthBytes) throw failure('US6024', `${blob.blobName} has another length`);
      if (found) return;
      this.disks.set(keyOf(blob), {
        lengthBytes,
        version: ++this.versions,
        sequenceNumber: 0,
        content: new Map(),
        snapshots: new Map(),
      });
    });
  }

  async raiseFence(blob: ReplicaBlob, fence: Fence): Promise<void> {
    return this.faults.around('raiseFence', () => {
      const disk = this.disk(blob);
      const wanted = fenceToSequenceNumber(fence);
      disk.sequenceNumber = Math.max(disk.sequenceNumber, wanted);
      disk.version = ++this.versions;
      if (disk.sequenceNumber !== wanted) {
        throw new FencedError(blob, fence, fenceFromSequenceNumber(disk.sequenceNumber));
      }
    });
  }

  async writePages(blob: ReplicaBlob, offsetBytes: number, data: Buffer, fence: Fence): Promise<void> {
    return this.faults.around('writePages', () => {
      const disk = this.disk(blob);
      const limits = { blobLengthBytes: disk.lengthBytes, maxBytes: pageWriteMaxBytes };
      checkPageRange(blob, offsetBytes, data.length, limits);
      this.checkFence(blob, disk, fence);
      this.change(disk, offsetBytes, data.length, (chunk, from, to, done) => {
        data.copy(chunk.data, from, done, done + to - from);
        chunk.allocated.fill(1, from / pageBytes, to / pageBytes);
      });
    });
  }

  async clearPages(blob: ReplicaBlob, offsetBytes: number, lengthBytes: number, fence: Fence): Promise<void> {
    return this.faults.around('clearPages', () => {
      const disk = this.disk(blob);
      checkPageRange(blob, offsetBytes, lengthBytes, { blobLengthBytes: disk.lengthBytes });
      this.checkFence(blob, disk, fence);
      this.change(disk, offsetBytes, lengthBytes, (chunk, from, to) => {
        chunk.data.fill(0, from, to);
        chunk.allocated.fill(0, from / pageBytes, to / pageBytes);
      });
    });
  }

  async readPages(blob: ReplicaBlob, offsetBytes: number, lengthBytes: number, snapshotId?: string): Promise<Buffer> {
    return this.faults.around('readPages', () => {
      const disk = this.disk(blob);
      checkPageRange(blob, offsetBytes, lengthBytes, { blobLengthBytes: disk.lengthBytes });
      const content = this.content(blob, snapshotId);
      const buffer = Buffer.alloc(lengthBytes);
      for (const { index, from, to, done } of slices(offsetBytes, lengthBytes)) {
        content.get(index)?.data.copy(buffer, done, from, to);
      }
      return buffer;
    });
  }

  async *allocatedRanges(
    blob: ReplicaBlob,
    snapshotId?: string,
    within = { fromBytes: 0, toBytes: Number.MAX_SAFE_INTEGER },
  ): AsyncIterable<{ offsetBytes: number; lengthBytes: number }> {
    const content = await this.faults.around('allocatedRanges', () => new Map(this.content(blob, snapshotId)));
    let open: { offsetBytes: number; lengthBytes: number } | undefined;
    for (const [index, chunk] of [...content].sort(([a], [b]) => a - b)) {
      for (const [page, allocated] of chunk.allocated.entries()) {
        if (allocated === 0) continue;
        const offsetBytes = index * chunkBytes + page * pageBytes;
        if (offsetBytes < within.fromBytes || offsetBytes >= within.toBytes) continue;
        if (open && open.offsetBytes + open.lengthBytes === offsetBytes) {
          open.lengthBytes += pageBytes;
        } else {
          if (open) yield open;
          open = { offsetBytes, lengthBytes: pageBytes };
        }
      }
    }
    if (open) yield open;
  }

  async properties(blob: ReplicaBlob): Promise<ReplicaProperties | undefined> {
    return this.faults.around('properties', () => {
      const disk = this.disks.get(keyOf(blob));
      return (
        disk && {
          lengthBytes: disk.lengthBytes,
          etag: etagOf(disk),
          fence: fenceFromSequenceNumber(disk.sequenceNumber),
        }
      );
    });
  }

  async createSnapshot(blob: ReplicaBlob, options: { ifMatch: string; fence: Fence }): Promise<{ snapshotId: string }> {
    return this.faults.around('createSnapshot', () => {
      const disk = this.disk(blob);
      if (etagOf(disk) !== options.ifMatch) {
        throw new FencedError(blob, options.fence, fenceFromSequenceNumber(disk.sequenceNumber));
      }
      const snapshotId = `snapshot-${String(++this.snapshots).padStart(8, '0')}`;
      disk.snapshots.set(snapshotId, { content: new Map(disk.content), fence: { ...options.fence } });
      return { snapshotId };
    });
  }

  async listSnapshots(blob: ReplicaBlob): Promise<{ snapshotId: string; fence: Fence | undefined }[]> {
    return this.faults.around('listSnapshots', () => {
      const disk = this.disks.get(keyOf(blob));
      return [...(disk?.snapshots ?? [])].map(([snapshotId, { fence }]) => ({ snapshotId, fence }));
    });
  }

  async deleteSnapshot(blob: ReplicaBlob, snapshotId: string): Promise<void> {
    return this.faults.around('deleteSnapshot', () => {
      this.disks.get(keyOf(blob))?.snapshots.delete(snapshotId);
    });
  }

  async deleteDisk(blob: ReplicaBlob): Promise<void> {
    return this.faults.around('deleteDisk', () => {
      this.disks.delete(keyOf(blob));
    });
  }

  async copySnapshot(
    from: ReplicaBlob,
    snapshotId: string | undefined,
    to: ReplicaBlob,
  ): Promise<{ finished: boolean }> {
    return this.faults.around('copySnapshot', () => this.copy(async () => ({ from, snapshotId }), to));
  }

  async copyFromUrl(grantSource: () => Promise<string>, to: ReplicaBlob): Promise<{ finished: boolean }> {
    return this.faults.around('copyFromUrl', () => this.copy(async () => granted(await grantSource()), to));
  }

  blobNames(): string[] {
    return [...this.disks.keys()].map((key) => key.slice(key.lastIndexOf('\n') + 1));
  }

  /** Changes one byte of a snapshot, as nothing that the port offers could. */
  damageSnapshot(blob: ReplicaBlob, snapshotId: string, offsetBytes: number): void {
    const content = this.content(blob, snapshotId);
    const index = Math.floor(offsetBytes / chunkBytes);
    const old = content.get(index);
    const data = old ? Buffer.from(old.data) : Buffer.alloc(chunkBytes);
    data[offsetBytes % chunkBytes] = (data[offsetBytes % chunkBytes] ?? 0) ^ 1;
    content.set(index, { data, allocated: old?.allocated ?? new Uint8Array(pagesPerChunk) });
  }

  /** A name for the snapshot, which nothing but `copyFromUrl` answers to. */
  async grantRead(
    blob: ReplicaBlob,
    snapshotId: string | undefined,
    ttlSeconds: number,
  ): Promise<{ url: string; expiresAt: string }> {
    return this.faults.around('grantRead', () => ({
      url: `memory://blobs?${new URLSearchParams({ ...blob, ...(snapshotId !== undefined && { snapshotId }) }).toString()}`,
      expiresAt: new Date(Date.now() + ttlSeconds * 1000).toISOString(),
    }));
  }

  isGrant(url: string): boolean {
    return url.startsWith('memory://blobs?');
  }

  /** What whoever holds the grant can read. */
  async readGranted(url: string, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const query = new URL(url).searchParams;
    const part = (name: string): string => query.get(name) ?? '';
    const blob = {
      storageAccountId: part('storageAccountId'),
      container: part('container'),
      blobName: part('blobName'),
    };
    return this.readPages(blob, offsetBytes, lengthBytes, query.get('snapshotId') ?? undefined);
  }

  /** Takes two calls, as a copy in the cloud does: started, then found finished. */
  private async copy(
    grant: () => Promise<{ from: ReplicaBlob; snapshotId: string | undefined }>,
    to: ReplicaBlob,
  ): Promise<{ finished: boolean }> {
    assert(this.capabilities.copiesFromSnapshotsAreIndependent, 'this store makes no independent copies');
    if (this.disks.has(keyOf(to))) return { finished: true };
    const { from, snapshotId } = await grant();
    this.disks.set(keyOf(to), {
      lengthBytes: this.disk(from).lengthBytes,
      version: ++this.versions,
      sequenceNumber: 0,
      content: new Map(this.content(from, snapshotId)),
      snapshots: new Map(),
    });
    return { finished: false };
  }

  private disk(blob: ReplicaBlob): Disk {
    const disk = this.disks.get(keyOf(blob));
    if (!disk) throw failure('US6022', `${blob.container}/${blob.blobName} is not there`);
    return disk;
  }

  private content(blob: ReplicaBlob, snapshotId: string | undefined): Content {
    const disk = this.disk(blob);
    if (snapshotId === undefined) return disk.content;
    const snapshot = disk.snapshots.get(snapshotId);
    if (!snapshot) throw failure('US6022', `snapshot ${snapshotId} of ${blob.blobName} is not there`);
    return snapshot.content;
  }

  private checkFence(blob: ReplicaBlob, disk: Disk, fence: Fence): void {
    if (disk.sequenceNumber === fenceToSequenceNumber(fence)) return;
    throw new FencedError(blob, fence, fenceFromSequenceNumber(disk.sequenceNumber));
  }

  private change(
    disk: Disk,
    offsetBytes: number,
    lengthBytes: number,
    edit: (chunk: Chunk, from: number, to: number, done: number) => void,
  ): void {
    for (const { index, from, to, done } of slices(offsetBytes, lengthBytes)) {
      const old = disk.content.get(index);
      const chunk: Chunk = {
        data: old ? Buffer.from(old.data) : Buffer.alloc(chunkBytes),
        allocated: old ? Uint8Array.from(old.allocated) : new Uint8Array(pagesPerChunk),
      };
      edit(chunk, from, to, done);
      if (chunk.allocated.includes(1)) disk.content.set(index, chunk);
      else disk.content.delete(index);
    }
    disk.version = ++this.versions;
  }
}

function* slices(
  offsetBytes: number,
  lengthBytes: number,
): Iterable<{ index: number; from: number; to: number; done: number }> {
  for (let done = 0; done < lengthBytes;) {
    const at = offsetBytes + done;
    const from = at % chunkBytes;
    const to = Math.min(chunkBytes, from + lengthBytes - done);
    yield { index: Math.floor(at / chunkBytes), from, to, done };
    done += to - from;
  }
}

function granted(url: string): { from: ReplicaBlob; snapshotId: string | undefined } {
  const { searchParams } = new URL(url);
  const read = (name: string): string => searchParams.get(name) ?? '';
  const from = {
    storageAccountId: read('storageAccountId'),
    container: read('container'),
    blobName: read('blobName'),
  };
  return { from, snapshotId: searchParams.get('snapshotId') ?? undefined };
}

const keyOf = (blob: ReplicaBlob): string =>
  `${blob.storageAccountId.toLowerCase()}\n${blob.container}\n${blob.blobName}`;
const etagOf = (disk: Disk): string => `"${disk.version}"`;
const failure = (code: string, message: string): UnderstudyError =>
  new UnderstudyError({ code, message: `${code} ${message}`, recommendedAction: 'Mend the test.' });
