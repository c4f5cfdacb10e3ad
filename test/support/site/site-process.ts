import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';

export interface SiteProcess {
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL: a host crash. */
  kill(): Promise<void>;
  readonly child: ChildProcess;
}

/** `npm run site -- serve` as a process of its own; resolves when it says that it is ready. */
export async function spawnSite(
  t: TestContext,
  siteFolder: string,
  extra: readonly string[] = [],
): Promise<SiteProcess> {
  const child = spawn(
    process.execPath,
    ['--enable-source-maps', 'dist/scripts/site.js', 'serve', '--site', siteFolder, ...extra],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, UNDERSTUDY_CLOCK_URL: '' } },
  );
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  let said = '';
  child.stderr.on('data', (piece: Buffer) => (said += piece.toString()));
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('site ready')) resolve();
    });
    void exited.then((code) => reject(new Error(`the site ended with ${code} before it was ready: ${said}`)));
  });
  return {
    child,
    stop: () => {
      child.kill('SIGTERM');
      return exited;
    },
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
