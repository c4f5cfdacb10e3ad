import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { chunkLengthBytes } from '../../../core/dataplane/disk-chunk.js';
import type { DiskReader } from '../../../core/dataplane/random-access.js';
import {
  chunkCountOf,
  chunkDigest,
  digestBytes,
  encodeDigestFile,
  openDigestFile,
  regionEndBytes,
} from '../../../core/dataplane/resync/digest-file.js';
import { isZero } from '../../../core/dataplane/zero-runs.js';
import { ChunkMap } from '../../../core/domain/replication/chunk-map.js';
import { resyncChunkBytes } from '../../../core/domain/replication/resync-geometry.js';
import { differingChunks, hashRegion, readChunks } from '../../../relay/region-comparison.js';

const chunk = resyncChunkBytes;
const groupChunks = 64;
const never = new AbortController().signal;

const regionOf = (disk: Buffer) => ({
  protectionId: '6a1f6a3e-0000-4000-8000-000000000001',
  diskId: 'd15c0000-0000-4000-8000-000000000001',
  epoch: 2,
  diskSizeBytes: disk.length,
  fromBytes: 0,
});

/** A disk in memory that counts what is read of it. Blocks of zeros of 1 MiB are not allocated. */
function memoryDisk(content: Buffer) {
  const reads: { offsetBytes: number; lengthBytes: number }[] = [];
  const block = 16 * chunk;
  const disk: DiskReader = {
    sizeBytes: content.length,
    logicalSectorBytes: 512,
    read: (offsetBytes, lengthBytes) => {
      assert.ok(offsetBytes + lengthBytes <= content.length);
      reads.push({ offsetBytes, lengthBytes });
      return Promise.resolve(Buffer.from(content.subarray(offsetBytes, offsetBytes + lengthBytes)));
    },
    async *allocatedRanges() {
      for (let at = 0; at < content.length; at += block) {
        const lengthBytes = Math.min(block, content.length - at);
        if (!isZero(content.subarray(at, at + lengthBytes))) yield { offsetBytes: at, lengthBytes };
      }
    },
  };
  const readBytes = () => reads.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  return { disk, reads, readBytes };
}

/** The app's digest file of a replica, with the reads of it counted. */
function digestFile(replica: Buffer) {
  const region = regionOf(replica);
  const table = Buffer.alloc(chunkCountOf(region) * digestBytes);
  for (let at = 0; at < regionEndBytes(region); at += chunk) {
    chunkDigest(replica.subarray(at, at + chunk)).copy(table, (at / chunk) * digestBytes);
  }
  const file = encodeDigestFile(region, table);
  const reads: number[] = [];
  const reader = {
    read: (offsetBytes: number, lengthBytes: number) => {
      reads.push(lengthBytes);
      return Promise.resolve(Buffer.from(file.subarray(offsetBytes, offsetBytes + lengthBytes)));
    },
  };
  return { reader, reads, file };
}

/** Compares and applies as a segment would; gives the chunks that were sent. */
async function resynchronize(source: Buffer, replica: Buffer, record?: ChunkMap): Promise<number[]> {
  const { disk } = memoryDisk(source);
  const hashed = await hashRegion(disk, regionOf(source), record, never);
  const digests = await openDigestFile(digestFile(replica).reader, regionOf(source));
  const chunks = await differingChunks(hashed, digests);
  let endBytes = 0;
  for await (const piece of readChunks(disk, hashed, chunks)) {
    assert.ok(piece.offsetBytes >= endBytes, 'the pieces of a log ascend');
    endBytes = piece.offsetBytes + chunkLengthBytes(piece);
    if (piece.kind === 'data') piece.data.copy(replica, piece.offsetBytes);
    else replica.fill(0, piece.offsetBytes, endBytes);
  }
  return chunks;
}

const filled = (lengthBytes: number, byte: number) => Buffer.alloc(lengthBytes, byte);
const differing = (a: Buffer, b: Buffer) =>
  Array.from({ length: Math.ceil(a.length / chunk) }, (_, index) => index).filter(
    (index) => !a.subarray(index * chunk, (index + 1) * chunk).equals(b.subarray(index * chunk, (index + 1) * chunk)),
  );

const sizes = fc.integer({ min: 1, max: 200 * 128 }).map((sectors) => sectors * 512);
/** Chunks set to a byte: 0 makes one of zeros. */
const changes = fc.array(fc.tuple(fc.nat({ max: 199 }), fc.constantFrom(0, 1, 2)), { maxLength: 30 });
function apply(disk: Buffer, list: readonly (readonly [number, number])[]): void {
  for (const [index, byte] of list) {
    const at = index * chunk;
    if (at < disk.length) disk.fill(byte, at, Math.min(at + chunk, disk.length));
  }
}

test('the replica equals the source afterwards, and only chunks that differed were sent', async () => {
  await fc.assert(
    fc.asyncProperty(sizes, changes, changes, async (sizeBytes, common, changed) => {
      const replica = Buffer.alloc(sizeBytes);
      apply(replica, common);
      const source = Buffer.from(replica);
      apply(source, changed);
      const expected = differing(source, replica);
      assert.deepEqual(await resynchronize(source, replica), expected);
      assert.ok(replica.equals(source));
    }),
    { numRuns: 60 },
  );
});

test('by a record of changes the same is reached, whatever it marks beyond, and nothing else is looked at', async () => {
  await fc.assert(
    fc.asyncProperty(sizes, changes, changes, changes, async (sizeBytes, common, changed, more) => {
      const replica = Buffer.alloc(sizeBytes);
      apply(replica, common);
      const source = Buffer.from(replica);
      apply(source, changed);
      const record = ChunkMap.empty(sizeBytes);
      for (const [index] of [...changed, ...more]) {
        if (index * chunk < sizeBytes) record.mark(index * chunk, Math.min(512, sizeBytes - index * chunk));
      }
      const expected = differing(source, replica);
      assert.deepEqual(await resynchronize(source, replica, record), expected);
      assert.ok(replica.equals(source));
    }),
    { numRuns: 60 },
  );
});

test('a chunk outside of the record is neither read nor sent, even if it differs', async () => {
  const source = filled(4 * 16 * chunk, 7);
  const record = ChunkMap.empty(source.length);
  record.mark(20 * chunk, 1);
  const { disk, readBytes } = memoryDisk(source);
  const hashed = await hashRegion(disk, regionOf(source), record, never);
  assert.equal(readBytes(), chunk);
  const digests = await openDigestFile(digestFile(filled(source.length, 9)).reader, regionOf(source));
  assert.deepEqual(await differingChunks(hashed, digests), [20]);
});

test('what is not allocated is not read, and travels as zeros where the replica holds something', async () => {
  const source = Buffer.alloc(5 * 16 * chunk);
  source.fill(1, 16 * chunk, 32 * chunk);
  const { disk, reads } = memoryDisk(source);
  const hashed = await hashRegion(disk, regionOf(source), undefined, never);
  assert.deepEqual(reads, [{ offsetBytes: 16 * chunk, lengthBytes: 16 * chunk }]);
  const replica = Buffer.from(source);
  replica.fill(3, 40 * chunk, 50 * chunk);
  const digests = await openDigestFile(digestFile(replica).reader, regionOf(source));
  const pieces = [];
  for await (const piece of readChunks(disk, hashed, await differingChunks(hashed, digests))) pieces.push(piece);
  assert.deepEqual(pieces, [{ kind: 'zeros', offsetBytes: 40 * chunk, lengthBytes: 10 * chunk }]);
  assert.equal(reads.length, 1);
});

test('digests of chunks are fetched of differing groups only, those close together in one read', async () => {
  const replica = filled(20 * groupChunks * chunk, 5);
  const cost = async (...changedChunks: number[]) => {
    const source = Buffer.from(replica);
    for (const index of changedChunks) source.fill(6, index * chunk, (index + 1) * chunk);
    const hashed = await hashRegion(memoryDisk(source).disk, regionOf(source), undefined, never);
    const { reader, reads } = digestFile(replica);
    const digests = await openDigestFile(reader, regionOf(source));
    assert.deepEqual(await differingChunks(hashed, digests), changedChunks);
    return reads.slice(1).map((lengthBytes) => lengthBytes / (groupChunks * digestBytes));
  };
  assert.deepEqual(await cost(), []);
  assert.deepEqual(await cost(3 * groupChunks + 7), [1]);
  assert.deepEqual(await cost(3 * groupChunks, 4 * groupChunks), [2]);
  assert.deepEqual(await cost(3 * groupChunks, 7 * groupChunks), [5]);
  assert.deepEqual(await cost(0, 19 * groupChunks), [1, 1]);
});

test('digests that were damaged on their way are never believed', async () => {
  const replica = filled(2 * groupChunks * chunk, 5);
  const source = Buffer.from(replica);
  source.fill(6, chunk, 2 * chunk);
  const hashed = await hashRegion(memoryDisk(source).disk, regionOf(source), undefined, never);
  const { reader, file } = digestFile(replica);
  const digests = await openDigestFile(reader, regionOf(source));
  const at = file.length - 1 - groupChunks * digestBytes;
  file.writeUInt8(file.readUInt8(at) ^ 1, at);
  await assert.rejects(differingChunks(hashed, digests), { code: 'US2061' });
});

test('hashing ends when it is no longer wanted', async () => {
  const source = filled(100 * chunk, 1);
  const abort = AbortSignal.abort(new Error('paused'));
  await assert.rejects(hashRegion(memoryDisk(source).disk, regionOf(source), undefined, abort), /paused/);
});
