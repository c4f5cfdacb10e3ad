/**
 * The order of effects on replica disks: one growing number made of (epoch, cycle), carried as the page blob's
 * sequence number (docs/architecture.md, rule 2). A writer holds the fence it raised; a higher one shuts it out.
 */
export interface Fence {
  /** Grows with every initial replication, resync, failover and reverse replication. 1 … 2^21 − 1. */
  epoch: number;
  /** Grows with every log switch of the item and never starts over, whatever the epoch. 0 … 2^32 − 1. */
  cycle: number;
}

const cycleSpan = 2 ** 32;
/** Epoch and cycle together stay within 53 bits, the integers that the storage client carries exactly. */
const epochMax = 2 ** 21 - 1;

export function fenceToSequenceNumber(fence: Fence): number {
  if (!Number.isInteger(fence.epoch) || fence.epoch < 0 || fence.epoch > epochMax) {
    throw new RangeError(`epoch ${fence.epoch} is not an integer from 0 to ${epochMax}`);
  }
  if (!Number.isInteger(fence.cycle) || fence.cycle < 0 || fence.cycle >= cycleSpan) {
    throw new RangeError(`cycle ${fence.cycle} is not an integer from 0 to ${cycleSpan - 1}`);
  }
  return fence.epoch * cycleSpan + fence.cycle;
}

export function fenceFromSequenceNumber(sequenceNumber: number): Fence {
  if (!Number.isSafeInteger(sequenceNumber) || sequenceNumber < 0) {
    throw new RangeError(`sequence number ${sequenceNumber} is not a safe non-negative integer`);
  }
  return { epoch: Math.floor(sequenceNumber / cycleSpan), cycle: sequenceNumber % cycleSpan };
}
