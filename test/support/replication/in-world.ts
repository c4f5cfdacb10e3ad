import { WorkflowWorld, type WorldOptions } from './workflow-world.js';

/** A world for one scene, stopped in the end. */
export async function inWorld(options: WorldOptions, scene: (world: WorkflowWorld) => Promise<void>): Promise<void> {
  const world = await WorkflowWorld.started(options);
  try {
    await scene(world);
  } finally {
    await world.stop();
  }
}
