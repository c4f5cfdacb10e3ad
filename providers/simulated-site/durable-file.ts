import { open, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { z } from 'zod';
import { unreadableFile } from './errors.js';

/** Temporary names end in this; what is found under such a name at start was never committed. */
export const temporarySuffix = '.tmp';

/** The new content is there whole or not at all, also after a power failure: temporary name, flush, rename, flush of the folder. */
export async function writeWhole(path: string, content: string | Buffer, mode = 0o644): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}${temporarySuffix}`);
  try {
    const handle = await open(temporary, 'w', mode);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await flushFolder(dirname(path));
}

export const writeJsonWhole = (path: string, value: unknown, mode?: number): Promise<void> =>
  writeWhole(path, `${JSON.stringify(value, undefined, 2)}\n`, mode);

/** Makes creations, renames and deletions in the folder durable. Windows cannot open a folder; there the rename itself has to do. */
export async function flushFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Undefined when the file is absent; rejects with US5003 when it is not what the schema says. */
export async function readJson<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
): Promise<z.infer<Schema> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw unreadableFile(path, 'it is not JSON', error);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw unreadableFile(path, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'wrong shape'}`, parsed.error);
  }
  return parsed.data;
}

export const systemErrorCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

export const isAbsent = (error: unknown): boolean => systemErrorCode(error) === 'ENOENT';
