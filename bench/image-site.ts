import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openVhdxReader } from '../core/dataplane/vhdx/reader.js';
import { openVhdxWriter } from '../core/dataplane/vhdx/writer.js';
import { openFileReader, openFileWriter } from '../providers/local-files/random-access-file.js';
import { seedSite } from '../providers/simulated-site/seed.js';

export const mib = 2 ** 20;
export const imageBytes = 2 * 1024 * mib;
/** Data and zeros take turns in runs of this length: half of the image is zeros. */
const stripeBytes = mib;
/** 1% of the image, in pieces of 64 KiB all over it. */
export const changedPieceBytes = 64 * 1024;
export const changedPieceCount = Math.round((imageBytes * 0.01) / changedPieceBytes);
/** Where the n-th changed piece lies: evenly over the image. */
export const changedPieceAt = (piece: number): number =>
  Math.floor((piece * imageBytes) / changedPieceCount / changedPieceBytes) * changedPieceBytes;

/** A site with one VM, web-01, whose disk is the image. */
export async function prepareSite(siteFolder: string): Promise<void> {
  const site = await seedSite(siteFolder, { vmCount: 1, diskSizeBytes: imageBytes, fillFraction: 0 });
  const vm = site.vms[0];
  if (!vm) throw new Error('the site was seeded without a VM');
  const file = await openFileWriter(join(siteFolder, vm.name, `${vm.disks[0]?.name}.vhdx`));
  const disk = await openVhdxWriter(file);
  for (let offset = 0; offset < imageBytes; offset += 2 * stripeBytes)
    await disk.write(offset, randomBytes(stripeBytes));
  await disk.close();
  await file.close();
}

/** The disk's content as a raw file, sparse where it is not allocated. */
export async function writeRaw(vhdx: string, raw: string): Promise<void> {
  const source = await openFileReader(vhdx);
  const target = await openFileWriter(raw, { mode: 'truncate' });
  try {
    const disk = await openVhdxReader(source);
    await target.resize(disk.sizeBytes);
    for await (const { offsetBytes, lengthBytes } of disk.allocatedRanges()) {
      for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += 4 * mib) {
        const piece = await disk.read(at, Math.min(4 * mib, offsetBytes + lengthBytes - at));
        await target.write(at, piece);
      }
    }
  } finally {
    await target.close();
    await source.close();
  }
}

export async function peakMemoryMib(pid: number | undefined): Promise<string> {
  if (pid === undefined || process.platform !== 'linux') return 'unknown';
  const peak = /^VmHWM:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
  return peak === undefined ? 'unknown' : String(Math.round(Number(peak) / 1024));
}
