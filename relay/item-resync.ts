import type { Logger } from 'pino';
import type { DiskReader } from '../core/dataplane/random-access.js';
import { openDigestFile, type DigestFile, type DigestRegion } from '../core/dataplane/resync/digest-file.js';
import { writeTransferLog } from '../core/dataplane/transfer-log/writer.js';
import type { Assignment, TransferLogRef } from '../core/domain/relay-protocol/wire.js';
import type { BaseCheckpoint } from './base-checkpoint.js';
import { grantedReader } from './granted-reader.js';
import type { ItemView } from './item-view.js';
import { regionAfter, type DiskRegion } from './plan-base-step.js';
import { differingChunks, hashRegion, readChunks, type HashedRegion } from './region-comparison.js';
import type { RelayContext } from './relay-context.js';
import { uploadTransferLog } from './upload-transfer-log.js';

/** How far the source's side runs ahead of what is compared: 64 KiB of digests each. */
const regionsAheadMax = 16;

/** A region's comparison: `log` makes the replica's bytes equal to the source's, null where they are. */
export interface ComparedRegion {
  log: TransferLogRef | null;
  toBytes: number;
  /** Checksums that were fetched for it. */
  digestBytes: number;
}

/** Compares the disks of a checkpoint with the replica's checksums, region by region, and sends what differs. */
export class ItemResync {
  readonly #context: RelayContext;
  readonly #log: Logger;
  readonly #view: ItemView;
  readonly #checkpoint: BaseCheckpoint;
  #disk: { epoch: number; diskId: string; reader: DiskReader & { close(): Promise<void> } } | undefined;
  /** Of the region that is sent next, and of those that are hashed while that one waits or travels. */
  #hashes: { epoch: number; region: DiskRegion; hashed: Promise<HashedRegion>; signal: AbortSignal }[] = [];
  #stop = new AbortController();

  constructor(context: RelayContext, log: Logger, view: ItemView, checkpoint: BaseCheckpoint) {
    this.#context = context;
    this.#log = log;
    this.#view = view;
    this.#checkpoint = checkpoint;
  }

  isHashed(assignment: Assignment, region: DiskRegion): boolean {
    return this.#find(assignment, region) !== undefined;
  }

  /** Resolves when the region's source side is hashed and kept. */
  async hash(assignment: Assignment, region: DiskRegion, signal: AbortSignal): Promise<void> {
    this.#dropOnAbort(signal);
    this.#forgetBefore(assignment, region);
    await this.#hashed(assignment, region);
    void this.#hashAhead(assignment, region, regionsAheadMax);
  }

  async send(assignment: Assignment, region: DiskRegion, signal: AbortSignal): Promise<ComparedRegion> {
    this.#dropOnAbort(signal);
    this.#forgetBefore(assignment, region);
    const source = await this.#hashed(assignment, region);
    void this.#hashAhead(assignment, region, regionsAheadMax);
    signal.throwIfAborted();
    const { file, readBytes } = await this.#openDigests(assignment, region, signal);
    const chunks = await differingChunks(source, file);
    const log = chunks.length === 0 ? null : await this.#upload(assignment, region, source, chunks, signal);
    const { diskId, fromBytes, toBytes } = region;
    const digestBytes = readBytes();
    this.#log.debug(
      { disk: diskId, fromBytes, toBytes, differingChunks: chunks.length, digestBytes },
      'region compared',
    );
    return { log, toBytes, digestBytes };
  }

  /** Drops what is under way and closes the disk: another epoch or phase, a pause, or the end. */
  async close(): Promise<void> {
    this.#stop.abort(new Error('the comparison is dropped'));
    const hashes = this.#hashes.map(({ hashed }) => hashed);
    this.#hashes = [];
    await Promise.allSettled(hashes);
    const disk = this.#disk;
    this.#disk = undefined;
    await disk?.reader.close();
  }

  async #upload(
    assignment: Assignment,
    region: DiskRegion,
    source: HashedRegion,
    chunks: readonly number[],
    signal: AbortSignal,
  ): Promise<TransferLogRef> {
    const { protectionId, epoch } = assignment;
    const { diskId, diskSizeBytes, fromBytes, toBytes } = region;
    const cycle = (await this.#view.local()).baseCycle ?? 0;
    const stream = writeTransferLog(
      { kind: 'base', protectionId, diskId, epoch, cycle, diskSizeBytes, fromBytes, toBytes },
      readChunks(await this.#open(epoch, diskId), source, chunks),
      { signal },
    );
    return uploadTransferLog(this.#context, assignment, { kind: 'segment', fromBytes, diskId }, stream, signal);
  }

  /** The replica's checksums of the region, verified. `readBytes` says how many bytes of them were fetched so far. */
  async #openDigests(
    assignment: Assignment,
    region: DiskRegion,
    signal: AbortSignal,
  ): Promise<{ file: DigestFile; readBytes: () => number }> {
    const { itemId, protectionId, epoch } = assignment;
    const { diskId, fromBytes } = region;
    const { client, blobs } = this.#context;
    const request = { protectionId, epoch, diskId, fromBytes };
    const grant = async () => (await client.requestDigests(itemId, request, signal)).url;
    const reader = grantedReader(blobs, grant, signal);
    const file = await openDigestFile(reader, digestRegion(assignment, region));
    return { file, readBytes: reader.readBytes };
  }

  /** The regions after this one are read and hashed, one after the other, while it is compared and travels, or waits. */
  async #hashAhead(assignment: Assignment, region: DiskRegion, count: number): Promise<void> {
    try {
      const record = (await this.#checkpoint.records())?.get(region.diskId);
      const next = regionAfter(region, record);
      if (next === undefined || count === 0 || this.#stop.signal.aborted) return;
      await this.#hashed(assignment, next);
      await this.#hashAhead(assignment, next, count - 1);
    } catch {
      // The step that needs the region hashes it anew, and sees the failure.
    }
  }

  #hashed(assignment: Assignment, region: DiskRegion): Promise<HashedRegion> {
    const known = this.#find(assignment, region);
    if (known !== undefined) return known.hashed;
    if (this.#stop.signal.aborted) this.#stop = new AbortController();
    const { signal } = this.#stop;
    const hashed = this.#hash(assignment, region, signal);
    const entry = { epoch: assignment.epoch, region, hashed, signal };
    this.#hashes.push(entry);
    // Whoever needs it sees the failure; the next attempt hashes anew.
    hashed.catch(() => {
      this.#hashes = this.#hashes.filter((each) => each !== entry);
    });
    return hashed;
  }

  #find({ epoch }: Assignment, { diskId, fromBytes }: DiskRegion) {
    return this.#hashes.find(
      (each) =>
        !each.signal.aborted &&
        each.epoch === epoch &&
        each.region.diskId === diskId &&
        each.region.fromBytes === fromBytes,
    );
  }

  /** Regions that are sent, and disks and epochs that are over. */
  #forgetBefore({ epoch }: Assignment, { diskId, fromBytes }: DiskRegion): void {
    this.#hashes = this.#hashes.filter(
      (each) => each.epoch === epoch && each.region.diskId === diskId && each.region.fromBytes >= fromBytes,
    );
  }

  /** A step that is broken off is not wanted any more, nor is what was begun for the one after it. */
  #dropOnAbort(signal: AbortSignal): void {
    signal.addEventListener(
      'abort',
      () => {
        this.#stop.abort(signal.reason);
      },
      { once: true },
    );
  }

  async #hash(assignment: Assignment, region: DiskRegion, signal: AbortSignal): Promise<HashedRegion> {
    const record = (await this.#checkpoint.records())?.get(region.diskId);
    return hashRegion(
      await this.#open(assignment.epoch, region.diskId),
      digestRegion(assignment, region),
      record,
      signal,
    );
  }

  async #open(epoch: number, diskId: string): Promise<DiskReader> {
    if (this.#disk?.diskId === diskId && this.#disk.epoch === epoch) return this.#disk.reader;
    const before = this.#disk;
    this.#disk = undefined;
    await before?.reader.close();
    const reader = await this.#checkpoint.openDisk(diskId);
    this.#disk = { epoch, diskId, reader };
    return reader;
  }
}

const digestRegion = (
  { protectionId, epoch }: Assignment,
  { diskId, diskSizeBytes, fromBytes }: DiskRegion,
): DigestRegion => ({ protectionId, epoch, diskId, diskSizeBytes, fromBytes });
