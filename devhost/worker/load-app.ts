import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { DevhostError, toError } from '../errors.js';
import { globFiles } from './glob.js';

const packageSchema = z.looseObject({
  main: z.string().optional(),
  type: z.enum(['module', 'commonjs']).default('commonjs'),
});

export interface EntryPoints {
  pattern: string;
  files: string[];
  isModule: (file: string) => boolean;
}

/** The files that package.json's `main` names; without one the real host stops as well. */
export function findEntryPoints(appFolder: string): EntryPoints {
  const packageFile = join(appFolder, 'package.json');
  let parsed: z.infer<typeof packageSchema>;
  try {
    parsed = packageSchema.parse(JSON.parse(readFileSync(packageFile, 'utf8')));
  } catch (error) {
    throw new DevhostError('badPackageJson', `${packageFile} cannot be read: ${toError(error).message}`, {
      cause: error,
    });
  }
  const pattern = parsed.main;
  if (pattern === undefined || pattern === '') {
    throw new DevhostError('noMain', `${packageFile} has no "main": the Functions host would find no functions`);
  }
  const files = globFiles(appFolder, pattern);
  if (files.length === 0) {
    throw new DevhostError(
      'noEntryPoint',
      `Worker was unable to load entry point "${pattern}": Found zero files matching the supplied pattern ` +
        `in ${appFolder} (is the app built?)`,
    );
  }
  const isModule = (file: string) => file.endsWith('.mjs') || (parsed.type === 'module' && !file.endsWith('.cjs'));
  return { pattern, files, isModule };
}

/** Runs the app's entry files, each once; any that throws keeps the whole app from starting. */
export async function loadEntryPoints(appFolder: string, entryPoints: EntryPoints): Promise<void> {
  const requireFrom = createRequire(join(appFolder, 'package.json'));
  for (const file of entryPoints.files) {
    const path = join(appFolder, file);
    try {
      if (entryPoints.isModule(file)) await import(pathToFileURL(path).href);
      else requireFrom(path);
    } catch (error) {
      throw new DevhostError(
        'entryPointThrew',
        `Worker was unable to load entry point "${file}": ${toError(error).message}`,
        { cause: error },
      );
    }
  }
}
