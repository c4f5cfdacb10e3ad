/** The fastest test of whether a buffer is all zeros that Node has: compare it with itself, shifted by eight bytes. */
export function isZero(bytes: Buffer): boolean {
  if (bytes.length <= 8) return bytes.every((byte) => byte === 0);
  return (
    bytes.readInt32LE(0) === 0 &&
    bytes.readInt32LE(4) === 0 &&
    Buffer.compare(bytes.subarray(0, bytes.length - 8), bytes.subarray(8)) === 0
  );
}

export interface Run {
  readonly zero: boolean;
  readonly startBytes: number;
  readonly endBytes: number;
}

/** Runs of zeros shorter than this stay in the data around them: they compress to nothing, a run of its own costs more. */
export const zeroRunMinBytes = 64 * 1024;

/** Parts the buffer into runs of zeros of at least `zeroRunMinBytes` and the rest, cut at multiples of that length. */
export function zeroRuns(bytes: Buffer): Run[] {
  const runs: Run[] = [];
  for (let startBytes = 0; startBytes < bytes.length; startBytes += zeroRunMinBytes) {
    const endBytes = Math.min(startBytes + zeroRunMinBytes, bytes.length);
    const zero = isZero(bytes.subarray(startBytes, endBytes));
    const last = runs.at(-1);
    if (last?.zero === zero) runs[runs.length - 1] = { zero, startBytes: last.startBytes, endBytes };
    else runs.push({ zero, startBytes, endBytes });
  }
  return runs;
}
