import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ChunkMap, resyncChunkBytes as chunk } from '../../../../../core/domain/replication/chunk-map.js';

const tebibyte = 1024 ** 4;

/** A disk of up to 300 chunks, the last one whole or not, and writes that lie inside it. */
const diskAndWrites = fc.integer({ min: 1, max: 300 * chunk }).chain((sizeBytes) =>
  fc.record({
    sizeBytes: fc.constant(sizeBytes),
    writes: fc.array(
      fc
        .integer({ min: 0, max: sizeBytes - 1 })
        .chain((offsetBytes) =>
          fc
            .integer({ min: 0, max: Math.min(sizeBytes - offsetBytes, 5 * chunk) })
            .map((lengthBytes) => ({ offsetBytes, lengthBytes })),
        ),
      { maxLength: 20 },
    ),
  }),
);

type Write = { offsetBytes: number; lengthBytes: number };

function mapOf(sizeBytes: number, writes: readonly Write[]): ChunkMap {
  const map = ChunkMap.empty(sizeBytes);
  for (const { offsetBytes, lengthBytes } of writes) map.mark(offsetBytes, lengthBytes);
  return map;
}

/** The same by the definition: a chunk is marked when a written byte lies in it. */
function markedBy(sizeBytes: number, writes: readonly Write[]): boolean[] {
  return Array.from({ length: Math.ceil(sizeBytes / chunk) }, (_, index) =>
    writes.some(
      ({ offsetBytes, lengthBytes }) =>
        lengthBytes > 0 && offsetBytes < (index + 1) * chunk && offsetBytes + lengthBytes > index * chunk,
    ),
  );
}

const bit = (bits: Buffer, index: number) => ((bits[index >> 3] ?? 0) >> (index & 7)) & 1;

test('exactly the chunks that writes touch are marked, and a map read back marks the same', () => {
  fc.assert(
    fc.property(diskAndWrites, ({ sizeBytes, writes }) => {
      const expected = markedBy(sizeBytes, writes);
      for (const map of [
        mapOf(sizeBytes, writes),
        ChunkMap.fromBuffer(mapOf(sizeBytes, writes).toBuffer(), sizeBytes),
      ]) {
        assert.equal(map.chunkCount, expected.length);
        assert.deepEqual(
          expected.map((_, index) => map.has(index)),
          expected,
        );
        assert.equal(map.markedCount, expected.filter(Boolean).length);
        assert.deepEqual(
          expected.map((_, index) => bit(map.toBuffer(), index) === 1),
          expected,
        );
      }
    }),
  );
});

test('a range has a marked chunk when any of its bytes lies in one', () => {
  fc.assert(
    fc.property(diskAndWrites, fc.nat(400 * chunk), fc.nat(400 * chunk), ({ sizeBytes, writes }, from, to) => {
      const expected = markedBy(sizeBytes, writes).some(
        (marked, index) => marked && from < to && from < (index + 1) * chunk && to > index * chunk,
      );
      assert.equal(mapOf(sizeBytes, writes).anyIn(from, to), expected);
    }),
  );
});

test('a group is marked when any of its chunks is', () => {
  fc.assert(
    fc.property(diskAndWrites, fc.integer({ min: 1, max: 70 }), ({ sizeBytes, writes }, chunksPerGroup) => {
      const chunks = markedBy(sizeBytes, writes);
      const groupCount = Math.ceil(chunks.length / chunksPerGroup);
      const coarse = mapOf(sizeBytes, writes).coarse(chunksPerGroup * chunk);
      assert.equal(coarse.length, Math.ceil(groupCount / 8));
      for (let group = 0; group < coarse.length * 8; group += 1) {
        const expected = chunks.slice(group * chunksPerGroup, (group + 1) * chunksPerGroup).some(Boolean);
        assert.equal(bit(coarse, group) === 1, expected, `group ${group}`);
      }
    }),
  );
});

test('the union of two maps marks what either marks and leaves the other as it was', () => {
  fc.assert(
    fc.property(diskAndWrites, fc.nat(20), ({ sizeBytes, writes }, split) => {
      const [one, other] = [mapOf(sizeBytes, writes.slice(0, split)), mapOf(sizeBytes, writes.slice(split))];
      const before = other.toBuffer();
      one.union(other);
      assert.deepEqual(one.toBuffer(), mapOf(sizeBytes, writes).toBuffer());
      assert.equal(one.markedCount, mapOf(sizeBytes, writes).markedCount);
      assert.deepEqual(other.toBuffer(), before);
    }),
  );
});

test('what is not of the disk is refused', () => {
  const sizeBytes = 9 * chunk + 512;
  const map = ChunkMap.empty(sizeBytes);
  assert.throws(() => map.mark(-1, 512), RangeError);
  assert.throws(() => map.mark(sizeBytes - 512, 1024), RangeError);
  assert.throws(() => ChunkMap.empty(0), RangeError);
  assert.throws(() => ChunkMap.fromBuffer(Buffer.alloc(1), sizeBytes), /2/);
  assert.throws(() => ChunkMap.fromBuffer(Buffer.alloc(3), sizeBytes), RangeError);
  assert.throws(() => ChunkMap.fromBuffer(Buffer.from([0, 0b100]), sizeBytes), /behind the end/);
  assert.equal(ChunkMap.fromBuffer(Buffer.from([0, 0b10]), sizeBytes).markedCount, 1);
  assert.throws(() => map.union(ChunkMap.empty(sizeBytes + 512)), RangeError);
  assert.throws(() => map.coarse(chunk + 512), RangeError);
  assert.equal(map.has(10), false);
  assert.equal(map.has(2 ** 40), false);
});

test('the map of an 8 TB disk is searched, thinned and stored whole', () => {
  const sizeBytes = 8 * tebibyte;
  const map = ChunkMap.empty(sizeBytes);
  map.mark(sizeBytes - 512, 512);
  map.mark(5 * tebibyte, 1);
  assert.equal(map.anyIn(0, 5 * tebibyte), false);
  assert.equal(map.anyIn(0, 5 * tebibyte + 1), true);
  assert.equal(map.anyIn(5 * tebibyte + chunk, sizeBytes - chunk), false);
  assert.equal(map.anyIn(5 * tebibyte + chunk, sizeBytes), true);
  const coarse = map.coarse(64 * 1024 * chunk);
  assert.equal(coarse.length, 256);
  assert.equal(bit(coarse, 1280) + bit(coarse, 2047), 2);
  assert.equal(map.toBuffer().length, 16 * 1024 * 1024);
});
