import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { isAbsent, readJson, systemErrorCode, writeJsonWhole } from './durable-file.js';
import { siteLocked } from './errors.js';
import { sitePaths } from './site-file.js';

/** run.json: where the running site listens and the token that its clients show. Mode 0600; gone after a clean stop. */
const runFile = z.object({ pid: z.number().int(), port: z.number().int(), token: z.string().min(32) });
export type RunFile = z.infer<typeof runFile>;

export const readRunFile = (site: string): Promise<RunFile | undefined> => readJson(sitePaths.runFile(site), runFile);
export const writeRunFile = (site: string, run: RunFile): Promise<void> =>
  writeJsonWhole(sitePaths.runFile(site), run, 0o600);
export const removeRunFile = (site: string): Promise<void> => rm(sitePaths.runFile(site), { force: true });
export const drawToken = (): string => randomBytes(32).toString('hex');

/**
 * One process a site folder. A dead process's lock is taken over: a pid alone may have been given to another process
 * since, so its start time stands beside it. Resolves with the function that gives the lock back.
 */
export async function lockSite(site: string): Promise<() => Promise<void>> {
  const path = sitePaths.lockFile(site);
  // Linked into place with its content: a lock is never seen empty.
  const own = `${path}.${process.pid}.own`;
  await writeFile(own, `${process.pid} ${startTimeOf(process.pid) ?? ''}\n`);
  try {
    await linkLock(site, own, path);
  } finally {
    await rm(own, { force: true });
  }
  return () => rm(path, { force: true });
}

async function linkLock(site: string, own: string, path: string): Promise<void> {
  for (;;) {
    try {
      await link(own, path);
      return;
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw error;
    }
    await removeDeadLock(site, path);
  }
}

async function removeDeadLock(site: string, path: string): Promise<void> {
  const found = await readIfThere(path);
  if (found === undefined) return;
  const [pidText = '', startTime = ''] = found.trim().split(' ');
  const pid = Number(pidText);
  if (isAlive(pid, startTime)) throw siteLocked(site, pid);
  // Two may get here at once: the rename is won by one, and what it got must be the dead lock, not a fresh one.
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (isAbsent(error)) return;
    throw error;
  }
  if ((await readIfThere(aside)) !== found) {
    await rename(aside, path);
    return;
  }
  await rm(aside, { force: true });
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function isAlive(pid: number, startTime: string): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return systemErrorCode(error) === 'EPERM';
  }
  const now = startTimeOf(pid);
  return now !== 'zombie' && (now === undefined || startTime === '' || now === startTime);
}

/** Linux: field 22 of /proc/<pid>/stat, the start in clock ticks; 'zombie' for a dead one that nobody reaped. Elsewhere unknown. */
function startTimeOf(pid: number): string | undefined {
  if (process.platform !== 'linux') return undefined;
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (isAbsent(error)) return 'zombie';
    return undefined;
  }
  // The second field is the program's name in brackets and may hold anything.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? 'zombie' : fields[19];
}
