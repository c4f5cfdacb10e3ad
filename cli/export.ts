import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NotFoundError, type FoundItem, type Vault } from './vault-client.js';

interface ExportedDisk {
  diskId: string;
  name: string;
  lengthBytes: number;
  /** Read-only SAS of the recovery point's snapshot: a fixed VHD. Short-lived. */
  url: string;
}

interface Export {
  exportId: string;
  disks: ExportedDisk[];
}

/** One request a range: a broken line costs this much again, and a new SAS can be taken between two of them. */
const rangeBytes = 8 * 1024 * 1024;
const attemptsMax = 5;

/** Downloads the disks of a recovery point as fixed VHD files; a file appears under its name only when it is whole. */
export async function exportPoint(
  vault: Vault,
  found: FoundItem,
  pointName: string,
  folder: string,
  tell: (message: string) => void,
): Promise<string[]> {
  const points = await vault.points(found);
  const newestFirst = points.sort(
    (a, b) => (b.properties?.recoveryPointTime?.getTime() ?? 0) - (a.properties?.recoveryPointTime?.getTime() ?? 0),
  );
  const point =
    pointName.toLowerCase() === 'latest'
      ? newestFirst[0]
      : points.find(({ name }) => name?.toLowerCase() === pointName.toLowerCase());
  if (!point?.id) {
    throw new NotFoundError(`there is no recovery point ${pointName}; list them with: points --item ${found.itemName}`);
  }
  const recoveryPointId = point.id;
  const begun = await vault.call<Export>('POST', '/understudy/v1/exports', { recoveryPointId });
  try {
    await mkdir(folder, { recursive: true });
    const files: string[] = [];
    for (const disk of begun.disks) {
      const path = join(folder, `${disk.name}.vhd`);
      tell(`downloading ${disk.name} (${disk.lengthBytes} bytes) to ${path}`);
      const renew = async (): Promise<string> => {
        const again = await vault.call<Export>('POST', '/understudy/v1/exports', {
          recoveryPointId,
          exportId: begun.exportId,
        });
        return again.disks.find(({ diskId }) => diskId === disk.diskId)?.url ?? disk.url;
      };
      await download(disk, renew, path);
      files.push(path);
    }
    return files;
  } finally {
    const query = `vaultId=${encodeURIComponent(vault.armId)}`;
    await vault.call('DELETE', `/understudy/v1/exports/${begun.exportId}?${query}`);
  }
}

async function download(disk: ExportedDisk, renew: () => Promise<string>, path: string): Promise<void> {
  const part = `${path}.part`;
  const file = await open(part, 'w');
  try {
    await file.truncate(disk.lengthBytes);
    let url = disk.url;
    for (let offset = 0, attempt = 1; offset < disk.lengthBytes;) {
      const lengthBytes = Math.min(rangeBytes, disk.lengthBytes - offset);
      const bytes = await readRange(url, offset, lengthBytes);
      if (bytes !== undefined) {
        // The file is zeros already: what is zero stays a hole in it.
        if (!bytes.equals(Buffer.alloc(lengthBytes))) await file.write(bytes, 0, lengthBytes, offset);
        offset += lengthBytes;
        attempt = 1;
      } else if (attempt++ >= attemptsMax) {
        throw new Error(`${disk.name}: the storage account did not give the bytes from ${offset} on; export again`);
      } else {
        url = await renew();
      }
    }
    await file.sync();
    await file.close();
    await rename(part, path);
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(part, { force: true });
    throw error;
  }
}

/** Undefined where it failed: the caller takes a new SAS and asks again. */
async function readRange(url: string, offset: number, lengthBytes: number): Promise<Buffer | undefined> {
  try {
    const response = await fetch(url, { headers: { 'x-ms-range': `bytes=${offset}-${offset + lengthBytes - 1}` } });
    if (!response.ok) return undefined;
    const bytes = Buffer.from(await response.arrayBuffer());
    return bytes.length === lengthBytes ? bytes : undefined;
  } catch {
    return undefined; // The line dropped.
  }
}
