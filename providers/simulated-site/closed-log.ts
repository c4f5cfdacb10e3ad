import { join } from 'node:path';
import { otherHrl } from '../../core/dataplane/hrl/errors.js';
import { readHrlHeader } from '../../core/dataplane/hrl/reader.js';
import { openFileReader, type FileReader } from '../local-files/random-access-file.js';
import type { CycleFile } from './cycle-file.js';

/**
 * A closed log that a cycle file names, open. Its own id must be the one named there: a whole log of another cycle in its place
 * reads well and tells other changes.
 */
export async function openClosedLog(
  folder: string,
  { file: name, logId }: Pick<CycleFile['logs'][number], 'file' | 'logId'>,
): Promise<FileReader> {
  const log = await openFileReader(join(folder, name));
  try {
    const { uniqueId } = await readHrlHeader(log);
    if (uniqueId !== logId) throw otherHrl(logId, uniqueId);
    return log;
  } catch (error) {
    await log.close();
    throw error;
  }
}
