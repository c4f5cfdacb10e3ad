import { readdir } from 'node:fs/promises';
import { z } from 'zod';
import { asDiskId } from '../../core/domain/ids.js';
import type { ClosedCycle } from '../../core/ports/hypervisor-host.js';
import { isAbsent, readJson } from './durable-file.js';
import { vmPaths } from './site-file.js';

/** cycles/<n>.json: its rename into place is the instant at which the logs that it names are closed. */
export const cycleFile = z.object({
  version: z.literal(1),
  cycle: z.number().int().min(1),
  protectionId: z.string(),
  epoch: z.number().int().min(1),
  takenAt: z.string(),
  consistency: z.enum(['crashConsistent', 'applicationConsistent']),
  freezeFailure: z.string().optional(),
  logs: z.array(
    z.object({
      diskId: z.string(),
      file: z.string(),
      logId: z.string(),
      lengthBytes: z.number().int(),
      entryCount: z.number().int(),
    }),
  ),
});
export type CycleFile = z.infer<typeof cycleFile>;

export const toClosedCycle = (file: CycleFile): ClosedCycle => ({
  cycle: file.cycle,
  takenAt: file.takenAt,
  consistency: file.consistency,
  ...(file.freezeFailure !== undefined && { freezeFailure: file.freezeFailure }),
  logs: file.logs.map(({ diskId, lengthBytes, entryCount }) => ({ diskId: asDiskId(diskId), lengthBytes, entryCount })),
});

export const readCycleFile = (vmFolder: string, cycle: number): Promise<CycleFile | undefined> =>
  readJson(vmPaths.cycleFile(vmFolder, cycle), cycleFile);

/** All committed and not yet discarded cycles, ascending. */
export async function readCycleFiles(vmFolder: string): Promise<CycleFile[]> {
  const names = await readdir(vmPaths.cycles(vmFolder)).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw error;
  });
  const files: CycleFile[] = [];
  for (const name of names) {
    const cycle = /^(\d+)\.json$/.exec(name)?.[1];
    const file = cycle === undefined ? undefined : await readCycleFile(vmFolder, Number(cycle));
    if (file !== undefined) files.push(file);
  }
  return files.sort((a, b) => a.cycle - b.cycle);
}
