import { UnderstudyError } from '../../../core/domain/errors.js';
import type { Clock } from '../../../core/ports/clock.js';
import type { SiteOperation, SiteRequest, SiteResponse } from '../../../providers/simulated-site/api.js';
import { operationFailed, siteUnreachable } from '../../../providers/simulated-site/errors.js';
import type { SeedOptions } from '../../../providers/simulated-site/seed.js';
import { Site } from '../../../providers/simulated-site/site.js';
import { Life, portOf } from './life.js';

/** One life of the simulated site: the real one, on a folder that outlives it. Its guests write only what a test tells them to. */
export class SiteProcess {
  readonly life = new Life('site');
  #site: Site | undefined;

  constructor(private readonly options: { folderOf: (life: Life) => string; clock: Clock; seed: SeedOptions }) {}

  async start(): Promise<void> {
    const { folderOf, clock, seed } = this.options;
    const site = await Site.start({
      siteFolder: folderOf(this.life),
      clock: portOf(this.life, clock),
      journal: true,
      seed,
    });
    const { vms } = await site.handlers.list({});
    for (const { name, guest } of vms) {
      if (guest.writesPerSecond > 0) await site.handlers.guest({ vm: name, writesPerSecond: 0 });
    }
    this.#site = site;
  }

  get isUp(): boolean {
    return this.#site !== undefined && !this.life.isDead;
  }

  kill(): void {
    this.#site = undefined;
    this.life.kill();
  }

  /** An orderly stop: logs and disks are closed. */
  async stop(): Promise<void> {
    const site = this.#site;
    this.#site = undefined;
    site?.beginStop();
    await site?.stop();
    this.life.kill();
  }

  /** An order, as a client of the site process gives it: it gets no answer from a dead one. */
  async call<Name extends SiteOperation>(name: Name, request: SiteRequest<Name>): Promise<SiteResponse<Name>> {
    const site = this.#site;
    if (site === undefined || this.life.isDead) throw siteUnreachable('site');
    const handle = site.handlers[name] as (request: SiteRequest<Name>) => Promise<SiteResponse<Name>>;
    return new Promise((resolve, reject) => {
      this.life.onDeath(() => reject(siteUnreachable('site', new Error('the answer broke off'))));
      handle(request).then(resolve, (error: unknown) =>
        reject(error instanceof UnderstudyError ? error : operationFailed(name, error)),
      );
    });
  }
}
