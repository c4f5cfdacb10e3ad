import { comparePoint } from './verdict.js';
import type { FaultWorld } from './world.js';

/** Compares every recovery point once, soon after it was made: retention takes most of them within hours. */
export class PointWatch {
  compared = 0;
  readonly problems: string[] = [];
  readonly #seen = new Set<string>();

  constructor(private readonly world: FaultWorld) {}

  async look(): Promise<void> {
    for (const item of await this.world.items()) {
      const points = await this.world.points(item.itemId);
      for (const point of points) {
        const key = `${item.itemId}/${point.epoch}/${point.cycle}`;
        if (point.state !== 'ready' || this.#seen.has(key)) continue;
        const problems = await comparePoint(this.world, item, point);
        // Retention may have taken it while it was read.
        const isThere = (await this.world.points(item.itemId)).some(
          ({ epoch, cycle, state }) => epoch === point.epoch && cycle === point.cycle && state === 'ready',
        );
        if (!isThere) continue;
        this.#seen.add(key);
        this.compared++;
        this.problems.push(...problems);
      }
      const newest = Math.max(0, ...points.map(({ cycle }) => cycle));
      this.world
        .vmOf(item)
        .images.forgetUnless(
          (epoch, cycle) =>
            cycle > newest - imagesKept || points.some((point) => point.epoch === epoch && point.cycle === cycle),
        );
    }
  }
}

/** Cycles behind the newest point whose images may still be asked for. */
const imagesKept = 20;
