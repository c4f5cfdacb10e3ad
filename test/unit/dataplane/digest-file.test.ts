import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import {
  chunkCountOf,
  chunkDigest,
  digestBytes,
  encodeDigestFile,
  openDigestFile,
  type DigestRegion,
} from '../../../core/dataplane/resync/digest-file.js';
import {
  chunksInGroup,
  resyncChunkBytes,
  resyncRegionBytes,
} from '../../../core/domain/replication/resync-geometry.js';
import { MemoryFile } from '../../support/memory-file.js';

const region: DigestRegion = {
  protectionId: '6a1f6a3e-0000-4000-8000-000000000001',
  diskId: 'd15c0000-0000-4000-8000-000000000000',
  epoch: 2,
  diskSizeBytes: resyncRegionBytes + 5 * chunksInGroup * resyncChunkBytes + 3 * resyncChunkBytes + 512,
  fromBytes: resyncRegionBytes,
};
const content = (chunk: number): Buffer =>
  chunk % 7 === 0 ? Buffer.alloc(resyncChunkBytes) : Buffer.alloc(resyncChunkBytes, `chunk ${chunk};`);
const chunkTable = Buffer.concat(
  Array.from({ length: chunkCountOf(region) }, (_, chunk) => chunkDigest(content(chunk))),
);
const file = encodeDigestFile(region, chunkTable);
const golden = new URL('../../../../test/golden/digest-file/v2.bin', import.meta.url);

test('a region that ends with the disk has as many digests as it has chunks, the last one short', () => {
  assert.equal(chunkCountOf(region), 5 * chunksInGroup + 4);
  assert.equal(file.length, 256 + 6 * digestBytes + (5 * chunksInGroup + 4) * digestBytes);
});

test('the digests of chunks come back as they were, group by group, and a chunk of zeros has a digest of zeros', async () => {
  const opened = await openDigestFile(new MemoryFile(file), region);
  assert.equal(opened.groupCount, 6);
  assert.equal(opened.toBytes, region.diskSizeBytes);
  const whole = Buffer.concat([await opened.chunkDigests(0, 2), await opened.chunkDigests(2, 4)]);
  assert.deepEqual(whole, chunkTable);
  assert.deepEqual(whole.subarray(7 * digestBytes, 8 * digestBytes), Buffer.alloc(digestBytes));
});

test('today writes what version 2 wrote', async () => {
  assert.deepEqual(file, await readFile(golden));
});

test('checksums of another disk, size, epoch, protection or region are refused, and say which', async () => {
  const others: [Partial<DigestRegion>, RegExp][] = [
    [{ diskId: 'd15c0000-0000-4000-8000-000000000001' }, /disk is d15c/],
    [{ diskSizeBytes: region.diskSizeBytes + 512 }, /disk size is/],
    [{ epoch: 3 }, /epoch is 2, expected 3/],
    [{ protectionId: '6a1f6a3e-0000-4000-8000-000000000002' }, /protection is/],
  ];
  for (const [change, message] of others) {
    await assert.rejects(openDigestFile(new MemoryFile(file), { ...region, ...change }), { code: 'US2060', message });
  }
});

test('every damaged byte of header, groups and chunks is found before its digest is used', async () => {
  for (let at = 0; at < file.length; at += 11) {
    const damaged = Buffer.from(file);
    damaged[at] = (damaged[at] ?? 0) ^ 0x10;
    await assert.rejects(
      async () => {
        const opened = await openDigestFile(new MemoryFile(damaged), region);
        await opened.chunkDigests(0, opened.groupCount);
      },
      { code: at < 8 ? 'US2060' : 'US2061' },
      `byte ${at}`,
    );
  }
});
