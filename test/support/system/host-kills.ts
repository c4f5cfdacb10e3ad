import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, startSystem, type UnderstudySystem } from './understudy-system.js';

/** A host that kills itself at every turn is to be up again soon. */
const devhostRestartWaitMs = 50;
const restartTimeoutMs = 60_000;

/** A system whose host may be made to kill itself. Business time runs a little faster, for what waits for the next look. */
export const startKillableSystem = (): Promise<UnderstudySystem> => startSystem({ speed: 2, devhostRestartWaitMs });

/** From now on kill -9 of the app's host, by itself, after every turn that its engine commits: at every boundary of activities. */
export async function killAtEveryTurn(system: UnderstudySystem): Promise<void> {
  const { devhost } = system.environment.processes;
  const before = devhost.restarts;
  system.environment.setDevhostModes('killAfterTurns=1');
  await eventually('devhost is started anew', restartTimeoutMs, () =>
    Promise.resolve(devhost.restarts > before ? true : undefined),
  );
}

/** How often the host killed itself after a turn of each orchestrator, sub-orchestrations apart. */
export async function killsByWorkflow(system: UnderstudySystem): Promise<Map<string, number>> {
  const log = await readFile(join(system.folder, 'data', 'logs', 'devhost.log'), 'utf8');
  const kills = new Map<string, number>();
  for (const [, name = ''] of log.matchAll(/ killed after a turn name=(\S+)/g)) {
    kills.set(name, (kills.get(name) ?? 0) + 1);
  }
  return kills;
}
