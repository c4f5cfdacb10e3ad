import { join } from 'node:path';
import { rm } from 'node:fs/promises';
import { z } from 'zod';
import { cycleManifest } from '../core/domain/relay-protocol/wire.js';
import { readFileIfThere, writeFileDurably } from './durable-file.js';

/**
 * What the relay must remember of an item across a kill, because neither the site's closed logs nor the app's assignment
 * tells it. Losing the file costs a repeated upload at most.
 */
const itemState = z.object({
  version: z.literal(1),
  itemId: z.string(),
  protectionId: z.string(),
  epoch: z.number().int(),
  /** The cycle that this epoch's checkpoint stands for: what the app had received when it was taken. */
  baseCycle: z.number().int().optional(),
  /** The app knows that this epoch's base has started, with this checkpoint. */
  checkpointAt: z.string().optional(),
  /** The app was told which chunks changed, and makes checksums of no others. */
  usesRecords: z.boolean().optional(),
  /** Of this epoch's resynchronization so far: bytes that differed, what they took on the line, and the checksums read. */
  resynchronization: z
    .object({ differingBytes: z.number().int(), sentBytes: z.number().int(), digestBytes: z.number().int() })
    .optional(),
  /** Business time of the last log switch: the next is due an interval later. */
  lastSwitchAt: z.string().optional(),
  lastApplicationConsistentAt: z.string().optional(),
  /** Business time at which the relay learned of the pause that lasts, and what earlier ones took since the last log switch. */
  pausedAt: z.string().optional(),
  pausedSeconds: z.number().optional(),
  /** The interval that holds; and, once it was edited, when the relay learned of that and what was missed until then. */
  interval: z
    .object({
      seconds: z.number().int(),
      edited: z.object({ at: z.string(), missedCycleCount: z.number().int() }).optional(),
    })
    .optional(),
  /** A cycle that comes late, with the intervals before it that had none: on disk before its logs are switched. */
  lateCycle: z.object({ cycle: z.number().int(), missedCycleCount: z.number().int() }).optional(),
  /** The cycle that completes the base: chosen before its logs are switched, and never changed afterwards. */
  closingCycle: z.number().int().optional(),
  /** The final cycle of a planned failover's lock: chosen when the VM was off, before its logs are switched. */
  final: z.object({ lockId: z.string(), cycle: z.number().int() }).optional(),
  /** The VM was failed back under this epoch: its tracking began anew, and what came before counts as no missed cycle. */
  failedBack: z.literal(true).optional(),
  /** Of this epoch's failback round: side images that equal the cloud's disks below, flushed, and what was fetched for it. */
  failback: z
    .object({ comparedThroughBytes: z.record(z.string(), z.number().int()), fetchedBytes: z.number().int() })
    .optional(),
  /** Intervals that passed without a cycle of their own, of all cycles announced so far. */
  missedCycleCount: z.number().int(),
  /** A manifest whose logs are uploaded: on disk before it is announced, so that a repeat is identical. */
  pendingManifest: cycleManifest.optional(),
});
export type ItemState = z.infer<typeof itemState>;

export class ItemStateStore {
  readonly #folder: string;
  constructor(dataFolder: string) {
    this.#folder = join(dataFolder, 'items');
  }

  #file(itemId: string): string {
    return join(this.#folder, `${encodeURIComponent(itemId)}.json`);
  }

  /** The stored state, or undefined where there is none, or a damaged one: what it held is found out again. */
  async load(itemId: string): Promise<ItemState | undefined> {
    const text = await readFileIfThere(this.#file(itemId));
    if (text === undefined) return undefined;
    try {
      return itemState.parse(JSON.parse(text));
    } catch {
      return undefined;
    }
  }

  async save(state: ItemState): Promise<void> {
    await writeFileDurably(this.#file(state.itemId), JSON.stringify(state));
  }

  async remove(itemId: string): Promise<void> {
    await rm(this.#file(itemId), { force: true });
  }
}

/**
 * The state to go on with under an assignment: another protection starts from nothing; a new epoch keeps the rhythm of the
 * cycles and forgets what was promised under the old one.
 */
export function stateForAssignment(
  stored: ItemState | undefined,
  assignment: { itemId: string; protectionId: string; epoch: number },
): ItemState {
  const { itemId, protectionId, epoch } = assignment;
  if (stored?.protectionId === protectionId && stored.epoch === epoch) return stored;
  const fresh: ItemState = { version: 1, itemId, protectionId, epoch, missedCycleCount: 0 };
  if (stored?.protectionId !== protectionId) return fresh;
  if (stored.failedBack === true) return { ...fresh, missedCycleCount: stored.missedCycleCount };
  const { lastSwitchAt, lastApplicationConsistentAt, missedCycleCount, pausedAt, pausedSeconds, interval } = stored;
  return {
    ...fresh,
    missedCycleCount,
    ...(pausedAt !== undefined && { pausedAt }),
    ...(pausedSeconds !== undefined && { pausedSeconds }),
    ...(interval !== undefined && { interval }),
    ...(lastSwitchAt !== undefined && { lastSwitchAt }),
    ...(lastApplicationConsistentAt !== undefined && { lastApplicationConsistentAt }),
  };
}
