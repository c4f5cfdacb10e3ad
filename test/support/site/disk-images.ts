import assert from 'node:assert/strict';
import { openHrlReader } from '../../../core/dataplane/hrl/reader.js';
import type { DiskReader, RandomReader } from '../../../core/dataplane/random-access.js';
import { openFileReader, openFileWriter } from '../../../providers/local-files/random-access-file.js';

const pieceBytes = 1024 * 1024;

/** The disk's content as a raw image, holes where nothing is allocated. */
export async function copyToRaw(disk: DiskReader, path: string): Promise<void> {
  const out = await openFileWriter(path, { mode: 'truncate' });
  try {
    await out.resize(disk.sizeBytes);
    for await (const range of disk.allocatedRanges()) {
      const end = range.offsetBytes + range.lengthBytes;
      for (let at = range.offsetBytes; at < end; at += pieceBytes) {
        await out.write(at, await disk.read(at, Math.min(pieceBytes, end - at)));
      }
    }
  } finally {
    await out.close();
  }
}

/** Carries out a closed log's writes on a raw image, in order. Returns how many. */
export async function applyLog(log: RandomReader, rawPath: string): Promise<number> {
  const image = await openFileWriter(rawPath);
  let entryCount = 0;
  try {
    const reader = await openHrlReader(log);
    for await (const entry of reader.entries()) {
      await image.write(entry.offsetBytes, await reader.readData(entry));
      entryCount += 1;
    }
  } finally {
    await image.close();
  }
  return entryCount;
}

/** Throws at the first piece that differs. */
export async function assertSameBytes(a: string, b: string): Promise<void> {
  const [left, right] = [await openFileReader(a), await openFileReader(b)];
  try {
    assert.equal(left.lengthBytes, right.lengthBytes, `${a} and ${b} have different lengths`);
    for (let at = 0; at < left.lengthBytes; at += pieceBytes) {
      const length = Math.min(pieceBytes, left.lengthBytes - at);
      const same = (await left.read(at, length)).equals(await right.read(at, length));
      assert.ok(same, `${a} and ${b} differ in the MiB at ${at}`);
    }
  } finally {
    await left.close();
    await right.close();
  }
}
