import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { ReplicaBlob } from '../../core/domain/protected-item/protected-item.js';
import type { ReplicaStore } from '../../core/ports/replica-store.js';

const run = promisify(execFile);
/** Read and compared at once; bounds memory. */
const chunkBytes = 4 * 1024 * 1024;

/** Writes a replica or failover disk to a file: a fixed VHD, sparse where the blob has no pages. */
export async function downloadDisk(
  store: ReplicaStore,
  blob: ReplicaBlob,
  path: string,
  snapshotId?: string,
): Promise<void> {
  const properties = await store.properties(blob);
  if (!properties) throw new Error(`there is no blob ${blob.container}/${blob.blobName}`);
  const file = await open(path, 'w');
  try {
    await file.truncate(properties.lengthBytes);
    for await (const range of store.allocatedRanges(blob, snapshotId)) {
      for (let offset = range.offsetBytes; offset < range.offsetBytes + range.lengthBytes; offset += chunkBytes) {
        const lengthBytes = Math.min(chunkBytes, range.offsetBytes + range.lengthBytes - offset);
        await file.write(await store.readPages(blob, offset, lengthBytes, snapshotId), 0, lengthBytes, offset);
      }
    }
  } finally {
    await file.close();
  }
}

/** Byte by byte, with our own reader: the first offset at which the disks differ, or undefined. */
export async function firstDifference(
  rawImage: string,
  fixedVhd: string,
  sizeBytes: number,
): Promise<number | undefined> {
  const [source, replica] = [await open(rawImage, 'r'), await open(fixedVhd, 'r')];
  try {
    const a = Buffer.alloc(chunkBytes);
    const b = Buffer.alloc(chunkBytes);
    for (let offset = 0; offset < sizeBytes; offset += chunkBytes) {
      const lengthBytes = Math.min(chunkBytes, sizeBytes - offset);
      const [readA, readB] = [
        await source.read(a, 0, lengthBytes, offset),
        await replica.read(b, 0, lengthBytes, offset),
      ];
      if (readA.bytesRead !== lengthBytes || readB.bytesRead !== lengthBytes) return offset;
      const [partA, partB] = [a.subarray(0, lengthBytes), b.subarray(0, lengthBytes)];
      if (!partA.equals(partB)) return offset + partA.findIndex((byte, index) => byte !== partB[index]);
    }
    return undefined;
  } finally {
    await Promise.all([source.close(), replica.close()]);
  }
}

/** The judge that we did not write. `missing` where qemu-img is not installed. */
export async function qemuCompare(
  source: string,
  fixedVhd: string,
  sourceFormat: 'raw' | 'vhdx' = 'raw',
): Promise<'identical' | 'different' | 'missing'> {
  try {
    await run('qemu-img', ['compare', '-f', sourceFormat, '-F', 'vpc', source, fixedVhd]);
    return 'identical';
  } catch (error) {
    const failure = error as Error & { code?: string | number; stderr?: string };
    if (failure.code === 'ENOENT') return 'missing';
    if (failure.code === 1) return 'different';
    throw new Error(`qemu-img compare failed: ${failure.stderr ?? failure.message}`, { cause: error });
  }
}
