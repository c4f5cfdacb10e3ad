import type { Clock } from '../../core/ports/clock.js';
import { mkdir } from 'node:fs/promises';
import type { StepObserver } from './log-set.js';
import { drawToken, lockSite, removeRunFile, writeRunFile } from './run-file.js';
import type { SeedOptions } from './seed.js';
import { serveSite } from './server.js';
import { Site } from './site.js';

export interface RunningSite {
  readonly port: number;
  /** Stops the guests, closes logs and disks, gives the folder back. */
  stop(): Promise<void>;
}

/** Takes the folder, starts the site and listens; run.json is written last, so that who finds it can call. */
export async function startSiteProcess(options: {
  siteFolder: string;
  clock: Clock;
  journal: boolean;
  port: number;
  seed?: SeedOptions;
  observe?: StepObserver;
}): Promise<RunningSite> {
  const { siteFolder, port: wantedPort } = options;
  await mkdir(siteFolder, { recursive: true });
  const unlock = await lockSite(siteFolder);
  try {
    await removeRunFile(siteFolder);
    const site = await Site.start(options);
    const token = drawToken();
    const server = await serveSite({ handlers: site.handlers, token, port: wantedPort });
    await writeRunFile(siteFolder, { pid: process.pid, port: server.port, token });
    return {
      port: server.port,
      stop: async () => {
        await removeRunFile(siteFolder);
        site.beginStop();
        await server.close();
        await site.stop();
        await unlock();
      },
    };
  } catch (error) {
    await unlock();
    throw error;
  }
}
