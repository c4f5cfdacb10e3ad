import type { DiskChunk } from '../../../core/dataplane/disk-chunk.js';
import { chunkDigest, digestBytes, openDigestFile } from '../../../core/dataplane/resync/digest-file.js';
import type { TransferLogHeader } from '../../../core/dataplane/transfer-log/layout.js';
import { writeTransferLog } from '../../../core/dataplane/transfer-log/writer.js';
import type {
  CycleManifest,
  ResyncScope,
  TransferLogRef,
  UploadTarget,
} from '../../../core/domain/relay-protocol/wire.js';
import {
  digestBlobName,
  transferBlobName,
  transferStorageAccountId,
} from '../../../core/domain/replication/blob-names.js';
import { isInScope, resyncChunkBytes } from '../../../core/domain/replication/resync-geometry.js';
import type { ProtectedItem } from '../../../core/domain/protected-item/protected-item.js';
import type { Clock } from '../../../core/ports/clock.js';
import type { StateTable } from '../../../core/ports/state-table.js';
import { read } from '../../../core/records/access.js';
import { markBaseStarted, receiveCycle, receiveSegment, type Received } from '../../../core/records/receive-cycle.js';
import { rows } from '../../../core/records/rows.js';
import type { InMemoryTransferStore } from '../in-memory/transfer-store.js';
import { sampleVaultId } from '../sample-item.js';

const pageBytes = 512;

/**
 * A virtual machine at the site together with its relay, driven step by step by a test: disks in memory, guest writes, log
 * switches, and the announcements that the relay's doors would store. It keeps each cycle's image as the judge's reference.
 */
export class ScriptedSource {
  readonly disks: Buffer[];
  /** The disks as they were at the log switch of each cycle. */
  readonly images = new Map<number, Buffer[]>();
  /** Number of the last cycle that was closed. */
  cycle = 0;
  private base: Buffer[] = [];
  private scopes: readonly ResyncScope[] | undefined;
  private dirty: Set<number>[];
  private uploads = 0;

  constructor(
    private readonly stores: { table: StateTable; transfers: InMemoryTransferStore; clock: Clock },
    private readonly itemRef: Pick<ProtectedItem, 'itemId' | 'protectionId'>,
    sizesBytes: readonly number[],
  ) {
    this.disks = sizesBytes.map((size, index) => {
      const disk = Buffer.alloc(size);
      // Half of each disk has content from the start.
      for (let at = 0; at < size / 2; at += pageBytes) disk.fill(`${index}:${at};`, at, at + pageBytes);
      return disk;
    });
    this.dirty = sizesBytes.map(() => new Set());
  }

  /** The guest writes one page. */
  write(diskIndex: number, page: number, text: string): void {
    const disk = this.disks[diskIndex];
    disk?.fill(`${text};`, page * pageBytes, (page + 1) * pageBytes);
    this.dirty[diskIndex]?.add(page);
  }

  async startInitialReplication(epoch = 1): Promise<Received> {
    this.base = this.disks.map((disk) => Buffer.from(disk));
    this.dirty = this.disks.map(() => new Set());
    return markBaseStarted(this.stores.table, sampleVaultId, this.itemRef.itemId, {
      protectionId: this.itemRef.protectionId,
      epoch,
      checkpointAt: (await this.stores.clock.now()).toString(),
    });
  }

  async sendSegment(diskIndex: number, fromBytes: number, toBytes: number): Promise<Received> {
    const item = await this.item();
    const disk = item.disks[diskIndex];
    const base = this.base[diskIndex];
    if (!disk || !base) throw new Error(`no disk ${diskIndex}`);
    const { epoch } = item.replication;
    const log = await this.upload(
      item,
      { kind: 'segment', fromBytes, diskId: disk.diskId },
      { kind: 'base', epoch, cycle: 0, diskId: disk.diskId, diskSizeBytes: base.length, fromBytes, toBytes },
      [{ kind: 'data', offsetBytes: fromBytes, data: base.subarray(fromBytes, toBytes) }],
    );
    return receiveSegment(this.stores.table, this.stores.clock, sampleVaultId, item.itemId, {
      protectionId: item.protectionId,
      epoch,
      diskId: disk.diskId,
      fromBytes,
      toBytes,
      log,
    });
  }

  /** A new checkpoint under the epoch that the item's row names; `scopes` as the relay makes them of the site's record. */
  async startResynchronization(scopes?: ResyncScope[]): Promise<Received> {
    const { epoch, baseCycle } = (await this.item()).replication;
    this.cycle = baseCycle;
    this.scopes = scopes;
    this.base = this.disks.map((disk) => Buffer.from(disk));
    this.dirty = this.disks.map(() => new Set());
    return markBaseStarted(this.stores.table, sampleVaultId, this.itemRef.itemId, {
      protectionId: this.itemRef.protectionId,
      epoch,
      checkpointAt: (await this.stores.clock.now()).toString(),
      ...(scopes && { scopes }),
    });
  }

  /** Compares one region of the base with the replica's checksums, as the relay does, and sends what differs. */
  async sendDifferences(diskIndex: number, fromBytes = 0): Promise<Received & { differingChunks: number }> {
    const item = await this.item();
    const disk = item.disks[diskIndex];
    const base = this.base[diskIndex];
    if (!disk || !base) throw new Error(`no disk ${diskIndex}`);
    const { protectionId } = item;
    const { epoch, baseCycle } = item.replication;
    const { diskId } = disk;
    const region = { protectionId, diskId, epoch, diskSizeBytes: base.length, fromBytes };
    const name = digestBlobName(protectionId, epoch, diskId, fromBytes);
    const account = transferStorageAccountId(item);
    const found = await this.stores.transfers.stat(account, name);
    if (!found) throw new Error(`no checksums ${name}`);
    const digests = await openDigestFile(this.stores.transfers.openReader(account, name, found), region);
    const replica = await digests.chunkDigests(0, digests.groupCount);
    const chunks: DiskChunk[] = [];
    const travelled = this.scopes?.find((each) => each.diskId === diskId);
    const scope = travelled && { ...travelled, bitmap: Buffer.from(travelled.bitmap, 'base64') };
    for (let at = fromBytes; at < digests.toBytes; at += resyncChunkBytes) {
      if (scope && !isInScope(scope, { fromBytes: at, toBytes: at + 1 })) continue;
      const data = base.subarray(at, Math.min(at + resyncChunkBytes, digests.toBytes));
      const index = ((at - fromBytes) / resyncChunkBytes) * digestBytes;
      if (!chunkDigest(data).equals(replica.subarray(index, index + digestBytes))) {
        chunks.push({ kind: 'data', offsetBytes: at, data });
      }
    }
    const { toBytes } = digests;
    const head = {
      kind: 'base',
      epoch,
      cycle: baseCycle,
      diskId,
      diskSizeBytes: base.length,
      fromBytes,
      toBytes,
    } as const;
    const log =
      chunks.length === 0 ? null : await this.upload(item, { kind: 'segment', fromBytes, diskId }, head, chunks);
    const announcement = { protectionId, epoch, diskId, fromBytes, toBytes, log };
    const received = await receiveSegment(
      this.stores.table,
      this.stores.clock,
      sampleVaultId,
      item.itemId,
      announcement,
    );
    return { ...received, differingChunks: chunks.length };
  }

  /** Announces a disk that the site's record spares whole. */
  async passOver(diskIndex: number): Promise<Received> {
    const item = await this.item();
    const disk = item.disks[diskIndex];
    if (!disk) throw new Error(`no disk ${diskIndex}`);
    const { table, clock } = this.stores;
    return receiveSegment(table, clock, sampleVaultId, item.itemId, {
      protectionId: item.protectionId,
      epoch: item.replication.epoch,
      diskId: disk.diskId,
      fromBytes: 0,
      toBytes: disk.sourceSizeBytes,
      log: null,
    });
  }

  /** Sends the whole base in pieces of this size. */
  async sendBase(pieceBytes: number): Promise<void> {
    for (const [diskIndex, base] of this.base.entries()) {
      for (let at = 0; at < base.length; at += pieceBytes) {
        await this.sendSegment(diskIndex, at, Math.min(at + pieceBytes, base.length));
      }
    }
  }

  /** Closes the logs, uploads what changed, and gives the manifest, announced or not. */
  async closeCycle(changes: Partial<CycleManifest> = {}): Promise<CycleManifest> {
    const item = await this.item();
    const { epoch } = item.replication;
    const cycle = ++this.cycle;
    this.images.set(
      cycle,
      this.disks.map((disk) => Buffer.from(disk)),
    );
    const dirty = this.dirty;
    this.dirty = this.disks.map(() => new Set());
    const disks: CycleManifest['disks'] = [];
    for (const [diskIndex, disk] of item.disks.entries()) {
      const pages = [...(dirty[diskIndex] ?? [])].sort((a, b) => a - b);
      const content = this.disks[diskIndex] ?? Buffer.alloc(0);
      const chunks = pages.map((page): DiskChunk => {
        const offsetBytes = page * pageBytes;
        return { kind: 'data', offsetBytes, data: Buffer.from(content.subarray(offsetBytes, offsetBytes + pageBytes)) };
      });
      const head = {
        kind: 'delta',
        epoch,
        cycle,
        diskId: disk.diskId,
        diskSizeBytes: content.length,
        fromBytes: 0,
        toBytes: content.length,
      } as const;
      const log =
        chunks.length === 0
          ? null
          : await this.upload(item, { kind: 'cycle', cycle, diskId: disk.diskId }, head, chunks);
      disks.push({ diskId: disk.diskId, log });
    }
    return {
      protectionId: item.protectionId,
      epoch,
      cycle,
      takenAt: (await this.stores.clock.now()).toString(),
      consistency: 'crashConsistent',
      closesBase: false,
      disks,
      ...changes,
    };
  }

  async announce(manifest: CycleManifest): Promise<Received> {
    return receiveCycle(this.stores.table, this.stores.clock, sampleVaultId, this.itemRef.itemId, manifest);
  }

  async sendCycle(changes: Partial<CycleManifest> = {}): Promise<Received> {
    return this.announce(await this.closeCycle(changes));
  }

  private async item(): Promise<ProtectedItem> {
    const stored = await read(this.stores.table, rows.item(sampleVaultId, this.itemRef.itemId));
    if (!stored) throw new Error('the item is gone');
    return stored.value;
  }

  private async upload(
    item: ProtectedItem,
    target: UploadTarget,
    header: Omit<TransferLogHeader, 'protectionId'>,
    chunks: DiskChunk[],
  ): Promise<TransferLogRef> {
    const stream = writeTransferLog(
      { ...header, protectionId: item.protectionId },
      (async function* () {
        yield* chunks;
      })(),
    );
    const parts: Buffer[] = [];
    for await (const part of stream.bytes) parts.push(part);
    const uploadId = String(++this.uploads).padStart(32, '0');
    const blobName = transferBlobName(item.protectionId, header.epoch, target, uploadId);
    const { etag } = this.stores.transfers.put(transferStorageAccountId(item), blobName, Buffer.concat(parts));
    const { lengthBytes, digest, frameCount, changedBytes } = stream.summary();
    return { uploadId, lengthBytes, digest, etag, changedBytes, frameCount };
  }
}
