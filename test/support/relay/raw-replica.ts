import { existsSync } from 'node:fs';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import {
  chunkCountOf,
  chunkDigest,
  digestBytes,
  type DigestRegion,
} from '../../../core/dataplane/resync/digest-file.js';
import { readFrames, readTransferLogIndex } from '../../../core/dataplane/transfer-log/reader.js';
import type { CycleManifest, SegmentAnnouncement } from '../../../core/domain/relay-protocol/wire.js';
import { isInScope, resyncChunkBytes } from '../../../core/domain/replication/resync-geometry.js';
import { openFileReader, openFileWriter } from '../../../providers/local-files/random-access-file.js';
import { MemoryFile } from '../memory-file.js';
import type { Scope } from './double-resync.js';
import type { DoubleReplica } from '../relay-app-double.js';

/** A replica as raw images in a folder: what the announced transfer logs say, and nothing else. */
export class RawReplica implements DoubleReplica {
  readonly #folder: string;
  readonly #diskSizes: ReadonlyMap<string, number>;
  /** Between the first and the last byte of a change the images are torn. */
  isApplying = false;
  /** What the segments so far changed. */
  baseChangedBytes = 0;

  constructor(folder: string, diskSizes: ReadonlyMap<string, number>) {
    this.#folder = folder;
    this.#diskSizes = diskSizes;
  }

  path(diskId: string): string {
    return join(this.#folder, `${diskId}.raw`);
  }

  /** The digests of a region's chunks; zero for those outside of the scope, which the app does not read either. */
  async chunkTable(region: DigestRegion, scope?: Scope): Promise<Buffer> {
    const image = await openFileReader(this.path(region.diskId));
    try {
      const table = Buffer.alloc(chunkCountOf(region) * digestBytes);
      for (let chunk = 0; chunk < chunkCountOf(region); chunk++) {
        const fromBytes = region.fromBytes + chunk * resyncChunkBytes;
        const toBytes = Math.min(fromBytes + resyncChunkBytes, region.diskSizeBytes);
        if (scope && !isInScope(scope, { fromBytes, toBytes })) continue;
        chunkDigest(await image.read(fromBytes, toBytes - fromBytes)).copy(table, chunk * digestBytes);
      }
      return table;
    } finally {
      await image.close();
    }
  }

  async applySegment(segment: SegmentAnnouncement, log: Buffer): Promise<void> {
    const { diskId, fromBytes, toBytes, epoch, log: ref } = segment;
    assert.ok(ref);
    this.baseChangedBytes += ref.changedBytes;
    const header = await this.#apply(diskId, log, ref);
    assert.deepEqual(
      [header.kind, header.fromBytes, header.toBytes, header.epoch],
      ['base', fromBytes, toBytes, epoch],
    );
  }

  async applyCycle(manifest: CycleManifest, logs: Map<string, Buffer>): Promise<void> {
    for (const { diskId, log: ref } of manifest.disks) {
      const log = logs.get(diskId);
      if (!ref || !log) continue;
      const header = await this.#apply(diskId, log, ref);
      assert.deepEqual([header.kind, header.cycle, header.epoch], ['delta', manifest.cycle, manifest.epoch]);
    }
  }

  async #apply(
    diskId: string,
    log: Buffer,
    ref: { digest: string; lengthBytes: number; frameCount: number; changedBytes: number },
  ) {
    const reader = new MemoryFile(log);
    const index = await readTransferLogIndex(reader, ref);
    const sizeBytes = this.#diskSizes.get(diskId) ?? 0;
    assert.equal(index.header.diskSizeBytes, sizeBytes);
    assert.deepEqual([index.frameCount, index.changedBytes], [ref.frameCount, ref.changedBytes]);
    const image = await openFileWriter(this.path(diskId), {
      mode: existsSync(this.path(diskId)) ? 'existing' : 'create',
    });
    this.isApplying = true;
    try {
      await image.resize(sizeBytes);
      for await (const chunk of readFrames(reader, index)) {
        await image.write(chunk.offsetBytes, chunk.kind === 'data' ? chunk.data : Buffer.alloc(chunk.lengthBytes));
      }
    } finally {
      this.isApplying = false;
      await image.close();
    }
    return index.header;
  }
}
