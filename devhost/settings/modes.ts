import type { HostModes } from '../contract.js';
import { DevhostError } from '../errors.js';

const help = 'strictTypes, activitiesTwice, replayEachTurn, killAfterTurns=N';

/** Reads `--mode strictTypes,killAfterTurns=5`. */
export function parseModes(text: string): HostModes {
  const modes: HostModes = { strictTypes: false, activitiesTwice: false, replayEachTurn: false, killAfterTurns: 0 };
  for (const item of text.split(',').map((part) => part.trim())) {
    if (item === '') continue;
    const turns = /^killAfterTurns=(\d+)$/.exec(item)?.[1];
    if (turns !== undefined) modes.killAfterTurns = Number(turns);
    else if (item === 'strictTypes' || item === 'activitiesTwice' || item === 'replayEachTurn') modes[item] = true;
    else throw new DevhostError('badMode', `unknown mode '${item}'; there are ${help}`);
  }
  return modes;
}
