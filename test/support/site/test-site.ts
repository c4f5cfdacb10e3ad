import { cp, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Temporal } from 'temporal-polyfill';
import type { Clock } from '../../../core/ports/clock.js';
import { SiteConnection } from '../../../providers/simulated-site/connection.js';
import type { StepObserver } from '../../../providers/simulated-site/log-set.js';
import { startSiteProcess, type RunningSite } from '../../../providers/simulated-site/serve.js';

export const mib = 1024 * 1024;

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-test-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Advances one second at each look, so that instants differ and tests do not wait. */
export function steppingClock(): Clock {
  let now = Temporal.Instant.from('2030-01-01T00:00:00Z');
  return {
    now: async () => (now = now.add({ seconds: 1 })),
    waitUntil: async () => undefined,
  };
}

export interface TestSite {
  readonly siteFolder: string;
  readonly connection: SiteConnection;
  stop(): Promise<void>;
  /** Stops it if it runs, and starts it again on the same folder. */
  restart(): Promise<void>;
  /** Goes on with the folder as a kill at this moment would leave it. The guests must be silent. */
  crash(): Promise<void>;
}

/** A small site in this process: sql-01 with two disks, web-01 and app-01 with one, all guests silent. */
export async function startTestSite(
  t: TestContext,
  options: {
    journal?: boolean;
    diskSizeBytes?: number;
    clock?: Clock;
    siteFolder?: string;
    observe?: StepObserver;
  } = {},
): Promise<TestSite> {
  let running: RunningSite | undefined;
  const stop = async () => {
    const site = running;
    running = undefined;
    await site?.stop();
  };
  // Before the folder goes.
  t.after(stop);
  const siteFolder = options.siteFolder ?? join(await temporaryFolder(t), 'site');
  const clock = options.clock ?? steppingClock();
  const start = async () => {
    running = await startSiteProcess({
      siteFolder,
      clock,
      journal: options.journal ?? false,
      port: 0,
      seed: { vmCount: 3, diskSizeBytes: options.diskSizeBytes ?? 8 * mib, fillFraction: 1 / 4 },
      ...(options.observe && { observe: options.observe }),
    });
  };
  await start();
  const connection = new SiteConnection(siteFolder);
  for (const vm of ['web-01', 'sql-01', 'app-01']) await connection.call('guest', { vm, writesPerSecond: 0 });
  return {
    siteFolder,
    connection,
    stop,
    restart: async () => {
      await stop();
      await start();
    },
    crash: async () => {
      await copyKilled(siteFolder, `${siteFolder}.killed`);
      await stop();
      await rm(siteFolder, { recursive: true });
      await rename(`${siteFolder}.killed`, siteFolder);
      await start();
    },
  };
}

/** The folder of a running site as a kill would leave it: every acknowledged write has reached the operating system. */
export async function copyKilled(siteFolder: string, copy: string): Promise<void> {
  await cp(siteFolder, copy, { recursive: true });
  // They name the process that made the copy, and it lives.
  for (const name of ['serve.lock', 'run.json']) await rm(join(copy, name), { force: true });
}
