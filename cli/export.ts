import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FoundItem, Vault } from './vault-client.js';

interface ExportedDisk {
  diskId: string;
  name: string;
  sizeBytes: number;
  /** Read-only SAS of the recovery point's snapshot: a fixed VHD. */
  url: string;
}

/** Downloads the disks of a recovery point as fixed VHD files; a file appears under its name only when it is whole. */
export async function exportPoint(
  vault: Vault,
  found: FoundItem,
  point: string,
  folder: string,
  tell: (message: string) => void,
): Promise<string[]> {
  const response = await fetch(`${vault.connection.endpoint}/understudy/v1/exportRecoveryPoint`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ itemId: found.item.id, recoveryPoint: point }),
  });
  const body = (await response.json()) as { disks?: ExportedDisk[]; error?: { code: string; message: string } };
  if (!response.ok || !body.disks)
    throw new Error(body.error ? `${body.error.code}: ${body.error.message}` : `HTTP ${response.status}`);
  await mkdir(folder, { recursive: true });
  const files: string[] = [];
  for (const disk of body.disks) {
    const path = join(folder, `${disk.name.replace(/\.[^.]*$/, '')}.vhd`);
    tell(`downloading ${disk.name} (${disk.sizeBytes} bytes) to ${path}`);
    await download(disk.url, path);
    files.push(path);
  }
  return files;
}

async function download(url: string, path: string): Promise<void> {
  const part = `${path}.part`;
  try {
    const response = await fetch(url);
    if (!response.ok || !response.body)
      throw new Error(`the storage account answered HTTP ${response.status}; export again for a new link`);
    await pipeline(Readable.fromWeb(response.body), createWriteStream(part, { flush: true }));
    await rename(part, path);
  } finally {
    await rm(part, { force: true });
  }
}
