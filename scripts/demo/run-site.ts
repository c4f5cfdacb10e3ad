import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { appRoot } from '../supervisor/environment.js';

const run = promisify(execFile);

/** One verb of `npm run site`, as an operator would type it. */
export async function runSite(siteFolder: string, args: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [
    join(appRoot, 'dist/scripts/site.js'),
    ...args,
    '--site',
    siteFolder,
  ]);
  return stdout;
}
