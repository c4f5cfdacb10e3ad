import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DiskRange } from '../../../core/dataplane/random-access.js';
import { baseAlignmentBytes } from '../../../core/domain/replication/resync-geometry.js';
import { BaseScan } from '../../../relay/base-scan.js';

const mebibyte = 1024 * 1024;

function fakeDisk(sizeBytes: number, ranges: DiskRange[]) {
  return {
    sizeBytes,
    logicalSectorBytes: 512,
    read: (_: number, lengthBytes: number) => Promise.resolve(Buffer.alloc(lengthBytes)),
    async *allocatedRanges() {
      yield* ranges;
    },
    close: () => Promise.resolve(),
  };
}

async function ends(disk: ReturnType<typeof fakeDisk>, limits: { dataBytes: number; spanBytes: number }, from = 0) {
  const scan = new BaseScan('d', disk, from, limits);
  const found: number[] = [];
  while (scan.atBytes < disk.sizeBytes) found.push(await scan.next());
  await scan.close();
  return found;
}

test('an empty disk is cut by span alone', async () => {
  const disk = fakeDisk(5 * mebibyte, []);
  assert.deepEqual(
    await ends(disk, { dataBytes: mebibyte, spanBytes: 2 * mebibyte }),
    [2, 4, 5].map((n) => n * mebibyte),
  );
});

test('a full disk is cut by data', async () => {
  const disk = fakeDisk(5 * mebibyte, [{ offsetBytes: 0, lengthBytes: 5 * mebibyte }]);
  const limits = { dataBytes: 2 * mebibyte, spanBytes: 64 * mebibyte };
  assert.deepEqual(
    await ends(disk, limits),
    [2, 4, 5].map((n) => n * mebibyte),
  );
});

test('pieces follow one another to the end of any disk, hold bounded data, and are the same from any cut on', async () => {
  const shape = fc.array(fc.tuple(fc.integer({ min: 0, max: 4000 }), fc.integer({ min: 1, max: 6000 })), {
    maxLength: 20,
  });
  await fc.assert(
    fc.asyncProperty(shape, fc.integer({ min: 1, max: 40_000 }), async (gaps, tailSectors) => {
      const ranges: DiskRange[] = [];
      let at = 0;
      for (const [gapSectors, sectors] of gaps) {
        at += gapSectors * 512;
        ranges.push({ offsetBytes: at, lengthBytes: sectors * 512 });
        at += sectors * 512;
      }
      const disk = fakeDisk(at + tailSectors * 512, ranges);
      const limits = { dataBytes: 2 * mebibyte, spanBytes: 8 * mebibyte };
      const cuts = await ends(disk, limits);
      assert.equal(cuts.at(-1), disk.sizeBytes);
      let from = 0;
      for (const to of cuts) {
        assert.ok(to > from && to - from <= limits.spanBytes);
        assert.ok(to === disk.sizeBytes || to % baseAlignmentBytes === 0);
        const dataBytes = ranges.reduce((sum, range) => {
          const overlap = Math.min(range.offsetBytes + range.lengthBytes, to) - Math.max(range.offsetBytes, from);
          return sum + Math.max(overlap, 0);
        }, 0);
        assert.ok(dataBytes <= limits.dataBytes + baseAlignmentBytes, `${dataBytes} bytes from ${from} to ${to}`);
        from = to;
      }
      const middle = cuts[Math.floor(cuts.length / 2)] ?? 0;
      assert.deepEqual(await ends(disk, limits, middle), cuts.slice(cuts.indexOf(middle) + 1));
    }),
    { numRuns: 200 },
  );
});
