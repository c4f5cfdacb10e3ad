import { crc32 } from '@node-rs/crc32';
import { readFile, rm } from 'node:fs/promises';
import { openHrlReader } from '../../core/dataplane/hrl/reader.js';
import type { RandomReader } from '../../core/dataplane/random-access.js';
import { ChunkMap } from '../../core/domain/replication/chunk-map.js';
import { flushFolder, isAbsent, writeWhole } from './durable-file.js';
import { vmPaths } from './site-file.js';
import type { ReplicationState } from './vm-state.js';

/**
 * Which chunks of a VM's replicated disks changed since the end of a cycle, without a gap. While a VM waits for its resync
 * the record lives in memory; a clean stop stores it beside the disks, and the next start takes it up and deletes it, so
 * that one that was not closed cleanly is never believed. A resync's checkpoint keeps it for as long as it is there.
 *
 * File of one disk, little-endian: header of 64 bytes, then the map (core/domain/replication/chunk-map.ts):
 *   "uschange" | crc32 u32 of bytes 12… and the map | version u32 = 1 | epoch u64 | startCycle u64 | lastCycle u64 |
 *   diskSizeBytes u64 | 0 …
 */
const magic = Buffer.from('uschange', 'latin1');
const version = 1;
const headerBytes = 64;

/** Everything that changed after cycle `startCycle` of the epoch is in the record; `lastCycle` is the last that was closed. */
export interface RecordSpan {
  readonly epoch: number;
  readonly startCycle: number;
  readonly lastCycle: number;
}

type ReplicatedDisks = ReplicationState['disks'];

export class ChangeRecord {
  private readonly maps: ReadonlyMap<string, ChunkMap>;

  constructor(
    readonly span: RecordSpan,
    private readonly disks: readonly { readonly disk: ReplicatedDisks[number]; readonly map: ChunkMap }[],
  ) {
    this.maps = new Map(disks.map(({ disk, map }) => [disk.diskId, map]));
  }

  /** A disk that is not replicated has no map and needs none. */
  mark(diskId: string, offsetBytes: number, lengthBytes: number): void {
    const map = this.maps.get(diskId);
    if (map !== undefined) markWithin(map, offsetBytes, lengthBytes);
  }

  /** Does the record hold all that changed since that cycle? One that was never closed here is none that it knows of. */
  covers({ epoch, cycle }: { epoch: number; cycle: number }): boolean {
    return this.span.epoch === epoch && this.span.startCycle <= cycle && cycle <= this.span.lastCycle;
  }

  /** Durable when it resolves. */
  async save(pathOf: (diskName: string) => string): Promise<void> {
    for (const { disk, map } of this.disks) await writeWhole(pathOf(disk.name), encode(this.span, map));
  }

  /** Takes up what a clean stop stored, once. Undefined when there is nothing or not all of it is whole and of one span. */
  static async takeUp(folder: string, disks: ReplicatedDisks): Promise<ChangeRecord | undefined> {
    const paths = disks.map(({ name }) => vmPaths.waitingChanges(folder, name));
    const found = await Promise.all(paths.map((path, index) => readChanges(path, disks[index]?.sizeBytes ?? 0)));
    for (const path of paths) await rm(path, { force: true });
    await flushFolder(folder);
    const [first] = found;
    const maps = disks.flatMap((disk, index) => {
      const changes = found[index];
      return changes !== undefined && sameSpan(changes.span, first?.span) ? [{ disk, map: changes.map }] : [];
    });
    return first !== undefined && maps.length === disks.length ? new ChangeRecord(first.span, maps) : undefined;
  }
}

const sameSpan = (a: RecordSpan, b: RecordSpan | undefined): boolean =>
  a.epoch === b?.epoch && a.startCycle === b.startCycle && a.lastCycle === b.lastCycle;

function encode(span: RecordSpan, map: ChunkMap): Buffer {
  const header = Buffer.alloc(headerBytes);
  magic.copy(header, 0);
  header.writeUInt32LE(version, 12);
  header.writeBigUInt64LE(BigInt(span.epoch), 16);
  header.writeBigUInt64LE(BigInt(span.startCycle), 24);
  header.writeBigUInt64LE(BigInt(span.lastCycle), 32);
  header.writeBigUInt64LE(BigInt(map.diskSizeBytes), 40);
  const bits = map.toBuffer();
  header.writeUInt32LE(crc32(bits, crc32(header.subarray(12))), 8);
  return Buffer.concat([header, bits]);
}

/** Undefined for a file that is absent, damaged, or of a disk of another size: what changed is then not known. */
export async function readChanges(
  path: string,
  diskSizeBytes: number,
): Promise<{ span: RecordSpan; map: ChunkMap } | undefined> {
  const bytes = await readFile(path).catch((error: unknown) => {
    if (isAbsent(error)) return Buffer.alloc(0);
    throw error;
  });
  if (bytes.length < headerBytes || !bytes.subarray(0, magic.length).equals(magic)) return undefined;
  if (bytes.readUInt32LE(8) !== crc32(bytes.subarray(12)) || bytes.readUInt32LE(12) !== version) return undefined;
  if (bytes.readBigUInt64LE(40) !== BigInt(diskSizeBytes)) return undefined;
  const span = {
    epoch: Number(bytes.readBigUInt64LE(16)),
    startCycle: Number(bytes.readBigUInt64LE(24)),
    lastCycle: Number(bytes.readBigUInt64LE(32)),
  };
  return { span, map: ChunkMap.fromBuffer(bytes.subarray(headerBytes), diskSizeBytes) };
}

/** Marks all writes of a log that was closed properly. */
export async function markLog(map: ChunkMap, log: RandomReader): Promise<void> {
  for await (const entry of (await openHrlReader(log)).entries()) {
    markWithin(map, entry.offsetBytes, entry.lengthBytes);
  }
}

/** What lies behind the size that a disk is replicated with does not count: resized, it is refused for replication anyway. */
export function markWithin(map: ChunkMap, offsetBytes: number, lengthBytes: number): void {
  map.mark(
    Math.min(offsetBytes, map.diskSizeBytes),
    Math.max(0, Math.min(lengthBytes, map.diskSizeBytes - offsetBytes)),
  );
}
