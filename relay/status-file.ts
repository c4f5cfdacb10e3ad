import { join } from 'node:path';
import { rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { itemReport } from '../core/domain/relay-protocol/wire.js';
import { readFileIfThere } from './durable-file.js';

/** What `relay status` shows: written by the running relay at each heartbeat, for people, never read by the relay itself. */
const relayStatus = z.object({
  pid: z.number().int(),
  endpoint: z.string(),
  relayId: z.string(),
  writtenAt: z.string(),
  contact: z.enum(['connected', 'disconnected']),
  memoryRssBytes: z.number(),
  memoryRssPeakBytes: z.number(),
  items: z.array(itemReport.extend({ vmName: z.string(), missedCycleCount: z.number().int() })),
});
export type RelayStatus = z.infer<typeof relayStatus>;

const statusFile = (dataFolder: string) => join(dataFolder, 'status.json');

export async function writeStatus(dataFolder: string, status: RelayStatus): Promise<void> {
  const path = statusFile(dataFolder);
  await writeFile(`${path}.tmp`, JSON.stringify(status, undefined, 2));
  await rename(`${path}.tmp`, path);
}

export async function readStatus(dataFolder: string): Promise<RelayStatus | undefined> {
  const text = await readFileIfThere(statusFile(dataFolder));
  if (text === undefined) return undefined;
  try {
    return relayStatus.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
