import { readFile } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readFileIfThere, writeFileDurably } from './durable-file.js';
import { DataFolderInUseError } from './errors.js';

const owner = z.object({ pid: z.number().int().positive(), startedAt: z.string() });

/**
 * Makes this process the only relay of a data folder. A dead owner is passed over at once: the start time beside its pid
 * tells it from another process that was given the same number.
 */
export async function lockDataFolder(dataFolder: string): Promise<() => void> {
  const file = join(dataFolder, 'run.json');
  const held = await readFileIfThere(file);
  if (held !== undefined) {
    const parsed = owner.safeParse(parseOrUndefined(held));
    if (parsed.success && parsed.data.pid !== process.pid && (await isAlive(parsed.data))) {
      throw new DataFolderInUseError(dataFolder, parsed.data.pid);
    }
  }
  const startedAt = (await processStart(process.pid)) ?? 'unknown';
  await writeFileDurably(file, JSON.stringify({ pid: process.pid, startedAt }));
  return () => {
    rmSync(file, { force: true });
  };
}

/** Whether the process that owns the data folder lives. */
export async function isLocked(dataFolder: string): Promise<boolean> {
  const held = await readFileIfThere(join(dataFolder, 'run.json'));
  const parsed = owner.safeParse(held === undefined ? undefined : parseOrUndefined(held));
  return parsed.success && (await isAlive(parsed.data));
}

function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function isAlive({ pid, startedAt }: z.infer<typeof owner>): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
  const start = await processStart(pid);
  return start === undefined || startedAt === 'unknown' || start === startedAt;
}

/** Clock ticks since boot at which the process started; undefined where the system has no /proc. */
async function processStart(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold blanks: fields count from behind it, and the start time is the 20th of them.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
