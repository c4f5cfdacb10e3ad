import { execFile } from 'node:child_process';
import { lstat, realpath } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { scriptNamePattern, type RelayCommand } from '../core/domain/relay-protocol/wire.js';
import { ScriptFailedError, ScriptMissingError } from './errors.js';

type ScriptCommand = Extract<RelayCommand, { kind: 'runScript' }>;

/** Of a script's output, for its failure's message and the log. */
const outputKeptCharacters = 2000;
const outputBytesMax = 1024 * 1024;
/** What starts files that do not start by themselves; everything else is executed as it is. */
const interpreters: Readonly<Record<string, readonly string[]>> = {
  '.ps1': ['powershell.exe', '-NoProfile', '-NonInteractive', '-File'],
  '.mjs': [process.execPath],
  '.js': [process.execPath],
};

/**
 * Runs one script of the relay's own folder, by its name and with no shell between (docs/architecture.md, rule 14). What the app
 * sends is only ever looked for there: a name with a path, a link out of the folder and anything that is no file are refused.
 * A script may run twice: the relay that died while it ran begins it again. Success is exit code 0 within the timeout.
 */
export async function runScript(folder: string, command: ScriptCommand): Promise<{ output: string }> {
  const { scriptName, timeoutSeconds, planName, groupId, commandId } = command;
  const path = await findScript(folder, scriptName);
  const [program = path, ...args] = [...(interpreters[extname(scriptName).toLowerCase()] ?? []), path];
  const context = {
    UNDERSTUDY_PLAN: planName,
    UNDERSTUDY_GROUP: groupId,
    /** The same at a second run. */
    UNDERSTUDY_RUN: commandId,
  };
  return new Promise((resolve, reject) => {
    const options = {
      cwd: folder,
      timeout: timeoutSeconds * 1000,
      killSignal: 'SIGKILL' as const,
      maxBuffer: outputBytesMax,
      shell: false,
      windowsHide: true,
      env: { PATH: process.env.PATH, SystemRoot: process.env.SystemRoot, TEMP: process.env.TEMP, ...context },
    };
    execFile(program, args, options, (error, stdout, stderr) => {
      const output = `${stdout}${stderr}`.trim().slice(-outputKeptCharacters);
      if (error === null) resolve({ output });
      else reject(new ScriptFailedError(scriptName, why(error, timeoutSeconds), output));
    });
  });
}

function why(error: Error & { code?: unknown; killed?: boolean }, timeoutSeconds: number): string {
  if (error.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') return `it wrote more than ${outputBytesMax} bytes`;
  if (error.killed === true) return `it did not end within ${timeoutSeconds} seconds and was killed`;
  return typeof error.code === 'number' ? `it ended with exit code ${error.code}` : error.message;
}

async function findScript(folder: string, scriptName: string): Promise<string> {
  if (!scriptNamePattern.test(scriptName)) throw new ScriptMissingError(scriptName, folder, 'is no plain file name');
  const path = join(folder, scriptName);
  const found = await lstat(path).catch(() => undefined);
  if (found?.isFile() !== true) throw new ScriptMissingError(scriptName, folder, 'is no file there');
  const real = await realpath(path);
  if (basename(real) !== scriptName || real !== join(await realpath(folder), scriptName)) {
    throw new ScriptMissingError(scriptName, folder, 'leads out of it');
  }
  return real;
}
