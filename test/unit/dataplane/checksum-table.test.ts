import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  ChecksumCollector,
  checksumTableBytes,
  checksumTableSpan,
} from '../../../core/dataplane/resync/checksum-table.js';
import { chunkDigest, digestBytes } from '../../../core/dataplane/resync/digest-file.js';
import type { PageOperation } from '../../../core/dataplane/transfer-log/page-operations.js';

const chunkBytes = 65_536;
const mebibyte = 1024 * 1024;
const chunks = 6;

/** Page operations over a part of the disk as `[pages written, pages cleared, pages left out]`, again and again. */
const shape = fc.array(
  fc.tuple(
    fc.integer({ min: 0, max: 300 }),
    fc.integer({ min: 0, max: 300 }),
    fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 200 })),
  ),
  { maxLength: 12 },
);

test('entries are the digests of chunks that are written whole, kept where nothing is written, and else not known', () => {
  fc.assert(
    fc.property(shape, fc.integer({ min: 1, max: 128 }), fc.boolean(), (steps, lastPages, hasBefore) => {
      const fromBytes = 2 * mebibyte;
      const toBytes = fromBytes + (chunks - 1) * chunkBytes + lastPages * 512;
      const content = Buffer.alloc(toBytes - fromBytes);
      const covered = new Uint8Array((toBytes - fromBytes) / 512);
      const operations: PageOperation[] = [];
      let at = fromBytes;
      const take = (pages: number) => {
        const lengthBytes = Math.min(pages * 512, toBytes - at);
        covered.fill(1, (at - fromBytes) / 512, (at - fromBytes + lengthBytes) / 512);
        return lengthBytes;
      };
      for (const [written, cleared, skipped] of steps) {
        const dataBytes = take(written);
        if (dataBytes > 0) {
          const data = Buffer.alloc(dataBytes, `at ${at};`);
          data.copy(content, at - fromBytes);
          operations.push({ kind: 'write', offsetBytes: at, data });
          at += dataBytes;
        }
        const zeroBytes = take(cleared);
        if (zeroBytes > 0) operations.push({ kind: 'clear', offsetBytes: at, lengthBytes: zeroBytes });
        at = Math.min(at + zeroBytes + skipped * 512, toBytes);
      }
      const before = Buffer.alloc(chunks * digestBytes, 7);
      const collector = new ChecksumCollector({ fromBytes, toBytes }, hasBefore ? before : undefined);
      for (const operation of operations) collector.add(operation);
      const entries = collector.entries();
      assert.equal(entries.length % 512, 0);
      for (let chunk = 0; chunk < chunks; chunk++) {
        const from = chunk * chunkBytes;
        const part = content.subarray(from, from + chunkBytes);
        const pages = covered.subarray(from / 512, from / 512 + part.length / 512);
        const known = hasBefore ? before.subarray(0, digestBytes) : Buffer.alloc(digestBytes);
        const expected = pages.every((page) => page === 1)
          ? chunkDigest(part)
          : pages.includes(1)
            ? Buffer.alloc(digestBytes)
            : known;
        assert.deepEqual(entries.subarray(chunk * digestBytes, (chunk + 1) * digestBytes), expected, `chunk ${chunk}`);
      }
    }),
    { numRuns: 150 },
  );
});

test('parts that begin at a cut share no page of the table', () => {
  const sizeBytes = 5 * mebibyte + 512;
  const parts = [
    checksumTableSpan(0, 2 * mebibyte),
    checksumTableSpan(2 * mebibyte, 4 * mebibyte),
    checksumTableSpan(4 * mebibyte, sizeBytes),
  ];
  assert.deepEqual(parts, [
    { offsetBytes: 0, lengthBytes: 512 },
    { offsetBytes: 512, lengthBytes: 512 },
    { offsetBytes: 1024, lengthBytes: 512 },
  ]);
  assert.equal(checksumTableBytes(sizeBytes), 1536);
});

test('an operation outside of the part is a defect', () => {
  const collector = new ChecksumCollector({ fromBytes: 2 * mebibyte, toBytes: 4 * mebibyte });
  assert.throws(() => {
    collector.add({ kind: 'clear', offsetBytes: 3 * mebibyte, lengthBytes: 2 * mebibyte });
  }, RangeError);
});
