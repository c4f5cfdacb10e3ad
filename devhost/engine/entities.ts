import { entityInstanceId } from './entity-batch.js';
import { LiveEntity } from './live-entity.js';
import type { EngineServices } from './services.js';
import type { EntityHead, EntityRequest } from './store.js';

/** All entities of the hub: those used since the start in memory, the others in the store. */
export class Entities {
  readonly #services: EngineServices;
  readonly #live = new Map<string, Promise<LiveEntity>>();
  readonly #loaded = new Map<string, LiveEntity>();

  constructor(services: EngineServices) {
    this.#services = services;
  }

  async takeUp(instanceId: string): Promise<void> {
    await this.#get(instanceId);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#loaded.values()].map((live) => live.close()));
  }

  async signal(request: EntityRequest): Promise<void> {
    await (await this.#get(request.target)).signal(request);
  }

  async operate(request: EntityRequest): Promise<void> {
    await (await this.#get(request.target)).operate(request);
  }

  requestSettled(request: EntityRequest): void {
    this.#loaded.get(request.target)?.requestSettled(request.requestId);
  }

  async head(name: string, key: string): Promise<EntityHead | undefined> {
    const instanceId = entityInstanceId({ name, key });
    const live = this.#loaded.get(instanceId);
    if (live !== undefined) return live.head;
    const stored = await this.#services.store.readHead(instanceId);
    return stored?.head.kind === 'entity' ? stored.head : undefined;
  }

  outboxes(): EntityRequest[] {
    return [...this.#loaded.values()].flatMap((live) => live.head?.outbox ?? []);
  }

  #get(instanceId: string): Promise<LiveEntity> {
    const known = this.#live.get(instanceId);
    if (known !== undefined) return known;
    const loading = this.#load(instanceId);
    this.#live.set(instanceId, loading);
    // A failed load is tried again by the next one who asks.
    loading.catch(() => this.#live.delete(instanceId));
    return loading;
  }

  async #load(instanceId: string): Promise<LiveEntity> {
    const loaded = await this.#services.store.load(instanceId);
    const live = new LiveEntity(this.#services, instanceId, loaded);
    this.#loaded.set(instanceId, live);
    live.begin();
    return live;
  }
}
